// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {LockPart, Permit} from "../src/interfaces/IRowenEscrow.sol";
import {Funding} from "./Funding.sol";
import {HookToken} from "./Tokens.sol";

/// @notice A token that calls back in the middle of a transfer gains nothing.
contract ReentrancyTest is Funding {
    HookToken private token;

    function setUp() public override {
        super.setUp();
        token = new HookToken();
        escrow = newEscrow(token, UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
        token.mint(alice.addr, 50e6);
        vm.startPrank(alice.addr);
        token.approve(address(escrow), 50e6);
        escrow.lock(bob.addr, session.addr, 5e6);
        vm.stopPrank();
        escrow.claim(bob.addr, row(2e6));
    }

    function entries() private view returns (bytes[] memory calls) {
        calls = new bytes[](11);
        calls[0] = abi.encodeCall(escrow.sweep, (bob.addr));
        calls[1] = abi.encodeCall(escrow.unlock, (alice.addr, bob.addr, session.addr));
        calls[2] = abi.encodeCall(escrow.lock, (bob.addr, session.addr, 1e6));
        calls[3] = abi.encodeCall(escrow.lockWithPermit, (Permit(0, 0, 0), aliceToBob(1e6)));
        (bytes32 r, bytes32 vs) = vm.signCompact(bob.privateKey, releaseDigestOf(aliceId(), 0, type(uint64).max));
        calls[4] = abi.encodeCall(escrow.release, (alice.addr, session.addr, bob.addr, 0, type(uint64).max, r, vs));
        calls[5] = abi.encodeCall(escrow.lockMany, (new LockPart[](1)));
        bytes memory signature = signLock(alice, lockOf(1e6, 0));
        calls[6] = abi.encodeCall(escrow.lockFor, (lockOf(1e6, 0), signature));
        calls[7] = abi.encodeCall(escrow.lockWithAuthorization, (lockOf(1e6, 0), signature));
        calls[8] = abi.encodeCall(escrow.lockWithPermit2, (lockOf(1e6, 0), signature));
        calls[9] = abi.encodeCall(escrow.requestUnlockFor, (alice.addr, bob.addr, session.addr, 0, signature));
        calls[10] = abi.encodeCall(escrow.cancelUnlockFor, (alice.addr, bob.addr, session.addr, 0, 0, signature));
    }

    function assertRefused() private view {
        assertFalse(token.hookSucceeded());
        assertEq(token.hookResult(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
    }

    function test_nothing_that_moves_tokens_can_be_entered_from_a_sweep() public {
        bytes[] memory calls = entries();
        for (uint96 i = 0; i < calls.length; ++i) {
            token.setHook(address(escrow), calls[i]);
            escrow.sweep(bob.addr);
            assertRefused();
            escrow.claim(bob.addr, row(2e6 + 1 + i));
        }
    }

    function test_nothing_that_moves_tokens_can_be_entered_from_a_lock() public {
        bytes[] memory calls = entries();
        for (uint256 i = 0; i < calls.length; ++i) {
            token.setHook(address(escrow), calls[i]);
            vm.prank(alice.addr);
            escrow.lock(bob.addr, session.addr, 1e6);
            assertRefused();
        }
    }

    function test_nothing_that_moves_tokens_can_be_entered_from_a_relayed_lock() public {
        bytes[] memory calls = entries();
        for (uint256 i = 0; i < calls.length; ++i) {
            token.setHook(address(escrow), calls[i]);
            escrow.lockFor(lockOf(1e5, bytes32(i)), signLock(alice, lockOf(1e5, bytes32(i))));
            assertRefused();
        }
        vm.startPrank(alice.addr);
        token.approve(PERMIT2, type(uint256).max);
        LockPart[] memory parts = new LockPart[](1);
        parts[0] = LockPart(bob.addr, session.addr, 1e5);
        for (uint256 i = 0; i < calls.length; ++i) {
            token.setHook(address(escrow), calls[i]);
            escrow.lockMany(parts);
            assertRefused();
        }
        vm.stopPrank();
    }

    function test_nothing_that_moves_tokens_can_be_entered_from_a_refund() public {
        bytes[] memory calls = entries();
        requestUnlockAsAlice();
        skip(UNLOCK_DELAY);
        for (uint256 i = 0; i < calls.length; ++i) {
            uint256 snapshot = vm.snapshotState();
            token.setHook(address(escrow), calls[i]);
            unlockAlice();
            assertRefused();
            vm.revertToState(snapshot);
            token.setHook(address(escrow), calls[i]);
            releaseAlice(3e6, uint64(block.timestamp));
            assertRefused();
            vm.revertToState(snapshot);
        }
    }

    /// @dev A claim moves no token, so it needs no guard: from inside a transfer it does what it would do after it.
    function test_a_claim_from_inside_a_sweep_is_paid_by_the_next_sweep() public {
        token.setHook(address(escrow), abi.encodeCall(escrow.claim, (bob.addr, row(3e6))));
        assertEq(escrow.sweep(bob.addr), 2e6);
        assertTrue(token.hookSucceeded());
        assertEq(escrow.sweep(bob.addr), 1e6);
        assertEq(token.balanceOf(bob.addr), 3e6);
        assertEq(token.balanceOf(address(escrow)), 2e6);
    }
}
