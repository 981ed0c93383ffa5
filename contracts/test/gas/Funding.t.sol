// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Test.sol";

import {Lock, LockPart, Permit} from "../../src/interfaces/IRowenEscrow.sol";
import {Funding} from "../Funding.sol";
import {GasTest} from "./GasTest.sol";

/// @notice Every way in and out, in the state that a deployment is in after its first day.
/// @dev The escrow holds tokens before and after; so do the payer, and where a payout goes. An approval is for exactly
/// what is locked, as wallets propose by default. "first" is the payer's first permit or authorization, on a new channel;
/// "next" is a later one, on the same channel. What an authorization of ERC-3009 or Permit2 costs is mostly that the token
/// keeps each nonce in a slot of its own, or 256 of them in one.
/// forge-config: default.isolate = true
contract FundingGasTest is GasTest, Funding {
    address private otherKey = makeAddr("another session key");

    function setUp() public override(GasTest, Funding) {
        super.setUp();
        lockFrom(stranger, bob.addr, session.addr, LOCKED);
        usdc.mint(alice.addr, 1000 * LOCKED);
        usdc.mint(bob.addr, 1);
    }

    function approve(uint256 amount) private {
        vm.prank(alice.addr);
        usdc.approve(address(escrow), amount);
    }

    function test_locking() public {
        approve(LOCKED);
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, LOCKED);
        record("lock, new channel");
        approve(LOCKED);
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, LOCKED);
        record("lock, top-up");
    }

    function test_locking_out_of_a_larger_allowance() public {
        approve(3 * LOCKED);
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, LOCKED);
        record("lock, new channel, allowance left");
        approve(type(uint256).max);
        vm.prank(alice.addr);
        escrow.lock(bob.addr, otherKey, LOCKED);
        record("lock, new channel, endless allowance");
    }

    /// @dev A balance that goes to zero is refunded.
    function test_all_that_somebody_has() public {
        vm.prank(alice.addr);
        usdc.transfer(stranger, 999 * LOCKED);
        approve(LOCKED);
        uint256 clean = vm.snapshotState();
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, LOCKED);
        record("lock, new channel, the payer's last");
        vm.revertToState(clean);
        approve(0);
        Permit memory permit = permitOf(alice, LOCKED, block.timestamp);
        vm.prank(alice.addr);
        escrow.lockWithPermit(permit, aliceToBob(LOCKED));
        record("lockWithPermit, first, the payer's last");
        requestUnlockAsStranger();
        skip(UNLOCK_DELAY);
        escrow.unlock(stranger, bob.addr, session.addr);
        escrow.claim(bob.addr, row(LOCKED));
        escrow.sweep(bob.addr);
        record("sweep, the escrow's last");
    }

    function requestUnlockAsStranger() private {
        vm.prank(stranger);
        escrow.requestUnlock(bob.addr, session.addr);
    }

    function test_locking_many() public {
        LockPart[] memory parts = new LockPart[](10);
        for (uint256 i = 0; i < parts.length; ++i) {
            parts[i] = LockPart(address(uint160(0xb0b + i)), session.addr, LOCKED);
        }
        approve(10 * LOCKED);
        vm.prank(alice.addr);
        escrow.lockMany(parts);
        vm.snapshotValue("Gas", "lockMany, per new channel of 10", transactionGas() / 10);
    }

    function test_locking_with_a_permit() public {
        Permit memory permit = permitOf(alice, LOCKED, block.timestamp);
        vm.prank(alice.addr);
        escrow.lockWithPermit(permit, aliceToBob(LOCKED));
        record("lockWithPermit, first");
        permit = permitOf(alice, LOCKED, block.timestamp);
        vm.prank(alice.addr);
        escrow.lockWithPermit(permit, aliceToBob(LOCKED));
        record("lockWithPermit, next");
    }

    /// @dev Both uses of one way, each sent by a stranger.
    function recordTwice(
        string memory name,
        function(Lock memory, bytes memory) external send,
        function(Vm.Wallet memory, Lock memory) view returns (bytes memory) sign
    ) private {
        for (uint256 i = 0; i < 2; ++i) {
            Lock memory wanted = lockOf(LOCKED, bytes32(i));
            bytes memory signature = sign(alice, wanted);
            vm.prank(stranger);
            send(wanted, signature);
            record(string.concat(name, i == 0 ? ", first" : ", next"));
        }
    }

    function test_locking_by_signature() public {
        for (uint256 i = 0; i < 2; ++i) {
            Lock memory wanted = lockOf(LOCKED, bytes32(i));
            bytes memory signature = signLock(alice, wanted);
            approve(LOCKED);
            vm.prank(stranger);
            escrow.lockFor(wanted, signature);
            record(i == 0 ? "lockFor, first" : "lockFor, next");
        }
    }

    function test_locking_with_an_authorization() public {
        recordTwice("lockWithAuthorization", escrow.lockWithAuthorization, signAuthorization);
    }

    function test_locking_with_permit2() public {
        vm.prank(alice.addr);
        usdc.approve(PERMIT2, type(uint256).max);
        recordTwice("lockWithPermit2", escrow.lockWithPermit2, signPermit2);
    }

    function test_sweeping() public {
        address payout = makeAddr("payout");
        usdc.mint(payout, 1);
        vm.prank(bob.addr);
        escrow.requestPayout(payout);
        lockAsAlice(LOCKED);
        escrow.claim(bob.addr, row(LOCKED));
        escrow.sweep(bob.addr);
        record("sweep");
    }

    function test_leaving() public {
        lockAsAlice(2 * LOCKED);
        escrow.claim(bob.addr, row(LOCKED));
        requestUnlockAsAlice();
        record("requestUnlock");
        vm.warp(block.timestamp + UNLOCK_DELAY);
        unlockAlice();
        record("unlock");
        lockAsAlice(LOCKED);
        releaseAlice(LOCKED, uint64(block.timestamp));
        record("release");
    }

    function test_leaving_by_signature() public {
        lockAsAlice(LOCKED);
        uint64 deadline = uint64(block.timestamp) + 1 hours;
        bytes memory signature = signRequestUnlock(alice, deadline);
        escrow.requestUnlockFor(alice.addr, bob.addr, session.addr, deadline, signature);
        record("requestUnlockFor");
        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        signature = signCancelUnlock(alice, unlockAt, deadline);
        escrow.cancelUnlockFor(alice.addr, bob.addr, session.addr, unlockAt, deadline, signature);
        record("cancelUnlockFor");
    }
}
