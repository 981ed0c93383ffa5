// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Everything here is wrong on purpose. Slither analyses it beside the real contracts, and must say so.
contract Planted {
    mapping(address account => uint256) private _balances;
    address private immutable _owner = msg.sender;

    function deposit() external payable {
        _balances[msg.sender] += msg.value;
    }

    function enterAgain() external {
        (bool isPaid,) = msg.sender.call{value: _balances[msg.sender]}("");
        require(isPaid);
        _balances[msg.sender] = 0;
    }

    function becomeAnything(address code, bytes calldata data) external {
        (bool isDone,) = code.delegatecall(data);
        require(isDone);
    }

    function trustWhoPaysGas() external view {
        require(tx.origin == _owner);
    }

    function giveAway(address payable to) external {
        to.transfer(address(this).balance);
    }

    function end() external {
        selfdestruct(payable(msg.sender));
    }
}
