// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {TestUSDC} from "../src/test-token/TestUSDC.sol";

/// @notice A token with open minting, and the ways real tokens differ from it.
contract PlainToken is ERC20("Plain", "PLAIN") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @notice Keeps a hundredth of every transfer.
contract FeeToken is PlainToken {
    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0)) super._update(to, address(0xfee), value / 100);
    }
}

/// @notice Says no by returning false instead of reverting.
contract FalseToken is PlainToken {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}

/// @notice Says yes and moves nothing.
contract LyingToken is PlainToken {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return true;
    }
}

/// @notice Takes from whoever receives.
contract ShrinkingToken is PlainToken {
    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0)) super._update(from, to, value);
        else super._update(to, address(0xfee), value);
    }
}

/// @notice Transfers what it is asked to and does not say who holds what: it answers nothing, or reverts.
contract MuteToken {
    bool private _isReverting;

    function setReverting(bool isReverting) external {
        _isReverting = isReverting;
    }

    function balanceOf(address) external view {
        require(!_isReverting, "not telling");
    }

    function transferFrom(address, address, uint256) external pure returns (bool) {
        return true;
    }
}

/// @notice Refuses to transfer nothing, as some tokens do, and to pay a frozen account, as USDC does.
contract StrictToken is PlainToken {
    mapping(address account => bool) public isFrozen;

    function freeze(address account) external {
        isFrozen[account] = true;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(value != 0, "a transfer of 0");
        require(!isFrozen[from] && !isFrozen[to], "frozen");
        super._update(from, to, value);
    }
}

/// @notice Returns nothing at all, as USDT does.
contract SilentToken {
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external {
        allowance[msg.sender][spender] = amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @notice Calls somebody in the middle of every transfer, as ERC-777 does.
contract HookToken is PlainToken {
    address private _target;
    bytes private _data;
    bool public hookSucceeded;
    bytes public hookResult;

    function setHook(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (_target == address(0)) return;
        address target = _target;
        _target = address(0);
        (hookSucceeded, hookResult) = target.call(_data);
    }
}

/// @notice TestUSDC with such a call: made once, in the middle of the next transfer between two accounts.
contract HookUSDC is TestUSDC {
    address private _target;
    bytes private _data;
    uint256 public attempts;
    uint256 public successes;

    function setHook(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (_target == address(0) || from == address(0)) return;
        address target = _target;
        _target = address(0);
        ++attempts;
        (bool done,) = target.call(_data);
        if (done) ++successes;
    }
}
