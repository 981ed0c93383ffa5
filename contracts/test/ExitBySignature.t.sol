// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenEscrow} from "../src/interfaces/IRowenEscrow.sol";
import {Funding} from "./Funding.sol";

contract ExitBySignatureTest is Funding {
    uint64 private deadline;

    function setUp() public override {
        super.setUp();
        lockAsAlice(5e6);
        deadline = uint64(block.timestamp) + 1 days;
    }

    function requestFor(bytes memory signature) private {
        vm.prank(stranger);
        escrow.requestUnlockFor(alice.addr, bob.addr, session.addr, deadline, signature);
    }

    function cancelFor(uint64 unlockAt, bytes memory signature) private {
        vm.prank(stranger);
        escrow.cancelUnlockFor(alice.addr, bob.addr, session.addr, unlockAt, deadline, signature);
    }

    function due() private view returns (uint64) {
        return uint64(block.timestamp) + UNLOCK_DELAY;
    }

    function test_a_payer_without_gas_leaves_with_all_its_money() public {
        bytes memory signature = signRequestUnlock(alice, deadline);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.UnlockRequested(aliceId(), due());
        requestFor(signature);
        assertChannel(5e6, 0, due());
        skip(UNLOCK_DELAY);
        vm.prank(stranger);
        unlockAlice();
        assertEq(usdc.balanceOf(alice.addr), 5e6);
        assertEq(usdc.balanceOf(stranger), 0);
    }

    function test_a_request_works_once() public {
        bytes memory signature = signRequestUnlock(alice, deadline);
        requestFor(signature);
        vm.prank(alice.addr);
        escrow.cancelUnlock(bob.addr, session.addr);
        bytes32 digest = requestUnlockDigestOf(alice.addr, deadline);
        assertTrue(escrow.isAuthorizationUsed(alice.addr, digest));
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.AuthorizationUsed.selector, alice.addr, digest));
        requestFor(signature);
        assertChannel(5e6, 0, 0);
    }

    function test_requests_that_differ_in_their_deadline_both_work() public {
        requestFor(signRequestUnlock(alice, deadline));
        cancelFor(due(), signCancelUnlock(alice, due(), deadline));
        ++deadline;
        requestFor(signRequestUnlock(alice, deadline));
        assertChannel(5e6, 0, due());
    }

    function test_a_request_is_good_until_its_deadline() public {
        bytes memory signature = signRequestUnlock(alice, deadline);
        vm.warp(uint256(deadline) + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IRowenEscrow.AuthorizationExpired.selector, deadline, uint256(deadline) + 1)
        );
        requestFor(signature);
        vm.warp(deadline);
        requestFor(signature);
    }

    function test_the_rules_of_a_request_hold_and_nothing_is_used_up() public {
        bytes memory signature = signRequestUnlock(alice, deadline);
        requestUnlockAsAlice();
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.UnlockPending.selector, aliceId(), due()));
        requestFor(signature);
        assertFalse(escrow.isAuthorizationUsed(alice.addr, requestUnlockDigestOf(alice.addr, deadline)));
    }

    function test_only_the_payer_s_signature_counts() public {
        bytes32 digest = requestUnlockDigestOf(alice.addr, deadline);
        bytes memory refusal = abi.encodeWithSelector(IRowenEscrow.AuthorizationInvalid.selector, alice.addr, digest);
        bytes[3] memory others = [signRequestUnlock(session, deadline), signRequestUnlock(bob, deadline), bytes("")];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert(refusal);
            requestFor(others[i]);
        }
        assertChannel(5e6, 0, 0);
    }

    /// @dev An invalid signature recovers to the zero address, which must not pass for a payer.
    function test_an_invalid_signature_speaks_for_nobody() public {
        bytes32 digest = escrow.requestUnlockDigest(address(0), bob.addr, session.addr, deadline);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.AuthorizationInvalid.selector, address(0), digest));
        escrow.requestUnlockFor(address(0), bob.addr, session.addr, deadline, new bytes(65));
    }

    function test_a_request_is_no_cancellation_and_a_cancellation_no_request() public {
        bytes memory cancellation = signCancelUnlock(alice, due(), deadline);
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        requestFor(cancellation);
        bytes memory request = signRequestUnlock(alice, deadline);
        requestUnlockAsAlice();
        uint64 unlockAt = due();
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        cancelFor(unlockAt, request);
    }

    function test_a_cancellation_by_signature_takes_the_request_back() public {
        requestUnlockAsAlice();
        uint64 unlockAt = due();
        bytes memory signature = signCancelUnlock(alice, unlockAt, deadline);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.UnlockCancelled(aliceId());
        cancelFor(unlockAt, signature);
        assertChannel(5e6, 0, 0);
    }

    /// @dev A sender that holds a cancellation back must not be able to keep the payer in for longer.
    function test_a_cancellation_held_back_stops_no_later_request() public {
        requestUnlockAsAlice();
        uint64 first = due();
        bytes memory heldBack = signCancelUnlock(alice, first, deadline);
        vm.prank(alice.addr);
        escrow.cancelUnlock(bob.addr, session.addr);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.OtherUnlockPending.selector, aliceId(), first, 0));
        cancelFor(first, heldBack);

        skip(1);
        requestUnlockAsAlice();
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.OtherUnlockPending.selector, aliceId(), first, due()));
        cancelFor(first, heldBack);
        assertChannel(5e6, 0, due());
    }

    function test_a_cancellation_of_nothing_is_refused() public {
        bytes memory signature = signCancelUnlock(alice, 0, deadline);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.UnlockNotPending.selector, aliceId()));
        cancelFor(0, signature);
    }

    function test_a_cancellation_works_once_even_within_one_second() public {
        requestUnlockAsAlice();
        bytes memory signature = signCancelUnlock(alice, due(), deadline);
        cancelFor(due(), signature);
        requestUnlockAsAlice();
        uint64 unlockAt = due();
        vm.expectPartialRevert(IRowenEscrow.AuthorizationUsed.selector);
        cancelFor(unlockAt, signature);
    }

    function testFuzz_a_changed_request_does_nothing(uint256 field, uint256 change) public {
        bytes memory signature = signRequestUnlock(alice, deadline);
        (address payer, address provider, address signer, uint64 until) = (alice.addr, bob.addr, session.addr, deadline);
        (field, change) = (bound(field, 0, 4), bound(change, 1, 1e6));
        if (field == 0) payer = address(uint160(payer) ^ uint160(change));
        if (field == 1) provider = address(uint160(provider) ^ uint160(change));
        if (field == 2) signer = address(uint160(signer) ^ uint160(change));
        if (field == 3) until += uint64(change);
        if (field == 4) signature[change % 65] ^= bytes1(uint8(1 + change % 255));
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        escrow.requestUnlockFor(payer, provider, signer, until, signature);
    }

    function testFuzz_a_changed_cancellation_does_nothing(uint256 field, uint256 change) public {
        requestUnlockAsAlice();
        uint64 unlockAt = due();
        bytes memory signature = signCancelUnlock(alice, unlockAt, deadline);
        (address payer, address provider, address signer, uint64 until) = (alice.addr, bob.addr, session.addr, deadline);
        (field, change) = (bound(field, 0, 5), bound(change, 1, 1e6));
        if (field == 0) payer = address(uint160(payer) ^ uint160(change));
        if (field == 1) provider = address(uint160(provider) ^ uint160(change));
        if (field == 2) signer = address(uint160(signer) ^ uint160(change));
        if (field == 3) until += uint64(change);
        if (field == 4) signature[change % 65] ^= bytes1(uint8(1 + change % 255));
        if (field == 5) unlockAt += uint64(change);
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        escrow.cancelUnlockFor(payer, provider, signer, unlockAt, until, signature);
        assertChannel(5e6, 0, due());
    }

    function test_signatures_for_another_escrow_or_chain_do_nothing() public {
        domain = domainOf(address(usdc), block.chainid);
        bytes memory elsewhere = signRequestUnlock(alice, deadline);
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        requestFor(elsewhere);
        domain = domainOf(address(escrow), block.chainid + 1);
        elsewhere = signRequestUnlock(alice, deadline);
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        requestFor(elsewhere);
    }

    /// @dev Nothing a stranger can send moves the day on which a payer's money is free.
    function testFuzz_no_stranger_delays_an_unlock(uint256 seed, uint96 dust) public {
        requestUnlockAsAlice();
        uint64 unlockAt = due();
        dust = uint96(bound(dust, 1, 10e6));
        usdc.mint(stranger, 100e6);
        vm.startPrank(stranger);
        usdc.approve(address(escrow), type(uint256).max);
        bytes[] memory calls = new bytes[](8);
        calls[0] = abi.encodeCall(escrow.lock, (bob.addr, session.addr, dust));
        calls[1] = abi.encodeCall(escrow.cancelUnlock, (bob.addr, session.addr));
        calls[2] = abi.encodeCall(escrow.requestUnlock, (bob.addr, session.addr));
        calls[3] = abi.encodeCall(
            escrow.requestUnlockFor, (alice.addr, bob.addr, session.addr, deadline, signRequestUnlock(bob, deadline))
        );
        calls[4] = abi.encodeCall(
            escrow.cancelUnlockFor,
            (alice.addr, bob.addr, session.addr, unlockAt, deadline, signCancelUnlock(bob, unlockAt, deadline))
        );
        calls[5] = abi.encodeCall(escrow.lockFor, (lockOf(dust, 0), signLock(alice, lockOf(dust, 0))));
        calls[6] =
            abi.encodeCall(escrow.lockWithAuthorization, (lockOf(dust, 0), signAuthorization(alice, lockOf(dust, 0))));
        calls[7] = abi.encodeCall(escrow.sweep, (bob.addr));
        for (uint256 i = 0; i < 8; ++i) {
            (bool done,) = address(escrow).call(calls[(seed >> (i * 8)) % 8]);
            done; // whatever came of it
        }
        vm.stopPrank();
        assertChannel(5e6, 0, unlockAt);
        vm.warp(unlockAt);
        unlockAlice();
        assertEq(usdc.balanceOf(alice.addr), 5e6);
    }

    function testFuzz_digests_are_the_specification_s(address payer, uint64 unlockAt, uint64 until) public view {
        assertEq(escrow.requestUnlockDigest(payer, bob.addr, session.addr, until), requestUnlockDigestOf(payer, until));
        assertEq(
            escrow.cancelUnlockDigest(payer, bob.addr, session.addr, unlockAt, until),
            cancelUnlockDigestOf(payer, unlockAt, until)
        );
    }
}
