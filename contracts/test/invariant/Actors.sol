// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CommonBase} from "forge-std/Base.sol";
import {StdUtils} from "forge-std/StdUtils.sol";
import {Vm} from "forge-std/Vm.sol";

import {TestUSDC} from "../../src/test-token/TestUSDC.sol";

/// @notice Providers with keys, time that passes, dust, and promises that are checked in every call.
abstract contract Actors is CommonBase, StdUtils {
    uint256 public immutable PROVIDERS;
    TestUSDC public immutable usdc;
    bytes32 internal immutable _domain;

    Vm.Wallet[] internal _providers;
    uint256 public donated;

    constructor(uint256 providers, TestUSDC usdc_, bytes32 domain) {
        (PROVIDERS, usdc, _domain) = (providers, usdc_, domain);
        for (uint256 i = 0; i < providers; ++i) {
            _providers.push(vm.createWallet(uint256(keccak256(abi.encode("provider", i)))));
        }
    }

    function pass(uint256 time) public {
        vm.warp(block.timestamp + bound(time, 1, 3 days));
    }

    function providerAt(uint256 index) external view returns (address) {
        return _providers[index].addr;
    }

    /// @dev Dust that nobody owes anything for.
    function give(address to, uint256 amount) internal {
        usdc.mint(to, amount);
        donated += amount;
    }

    /// @dev `fail_on_revert` turns a broken promise into a failed run.
    function check(bool isTrue, string memory promise_) internal pure {
        require(isTrue, promise_);
    }
}
