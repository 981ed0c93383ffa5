// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Test} from "forge-std/Test.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {RowenStake} from "../src/RowenStake.sol";
import {IRowenEscrow} from "../src/interfaces/IRowenEscrow.sol";
import {TestUSDC} from "../src/test-token/TestUSDC.sol";

/// @notice Deploys what a test is about: the contracts as forge has just compiled them, or, with `ROWEN_SHIPPED=true`, the
/// committed bytecode that Python deploys.
/// @dev The two come of the same sources (`tests/unit/test_abi.py`) by different ways through the compiler: see
/// `docs/decisions`. `make test` and CI take the second; coverage, mutants and a first look at a change take the first.
abstract contract Deploying is Test {
    function isShipped() internal view returns (bool) {
        return vm.envOr("ROWEN_SHIPPED", false);
    }

    function newUsdc() internal virtual returns (TestUSDC) {
        return isShipped() ? TestUSDC(create("TestUSDC", "")) : new TestUSDC();
    }

    function newEscrow(IERC20 token, uint64 unlockDelay, uint64 payoutDelay, uint96 minLock)
        internal
        returns (RowenEscrow)
    {
        if (!isShipped()) return new RowenEscrow(token, unlockDelay, payoutDelay, minLock);
        return RowenEscrow(create("RowenEscrow", abi.encode(token, unlockDelay, payoutDelay, minLock)));
    }

    function newStake(IRowenEscrow escrow_, uint64 unbondDelay, uint96 penalty) internal returns (RowenStake) {
        if (!isShipped()) return new RowenStake(escrow_, unbondDelay, penalty);
        return RowenStake(create("RowenStake", abi.encode(escrow_, unbondDelay, penalty)));
    }

    /// @dev The code that Python ships, before the constructor ran (`bytecode`) or after (`deployedBytecode`).
    function shipped(string memory name, string memory what) internal view returns (bytes memory) {
        // forge-lint: disable-next-line(unsafe-cheatcode)
        string memory json = vm.readFile(string.concat("../node/rowen/chain/abi/", name, ".json"));
        return vm.parseJsonBytes(json, string.concat(".", what));
    }

    function create(string memory name, bytes memory arguments) private returns (address made) {
        bytes memory code = bytes.concat(shipped(name, "bytecode"), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
            if iszero(made) {
                let reason := mload(0x40)
                returndatacopy(reason, 0, returndatasize())
                revert(reason, returndatasize())
            }
        }
    }
}
