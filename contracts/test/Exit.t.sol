// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {IRowenEscrow} from "../src/interfaces/IRowenEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {StrictToken} from "./Tokens.sol";

contract UnlockTest is EscrowTest {
    function test_an_unlock_returns_what_is_not_claimed_to_the_payer_only() public {
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(2e6));

        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.UnlockRequested(aliceId(), unlockAt);
        requestUnlockAsAlice();
        assertChannel(5e6, 2e6, unlockAt);

        vm.warp(unlockAt);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.Unlocked(aliceId(), 3e6);
        vm.prank(stranger);
        unlockAlice();
        assertChannel(2e6, 2e6, 0);
        assertEq(usdc.balanceOf(alice.addr), 3e6);
        assertEq(usdc.balanceOf(stranger), 0);
    }

    function test_an_unlock_waits_to_the_second() public {
        lockAsAlice(5e6);
        requestUnlockAsAlice();
        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        vm.warp(unlockAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.UnlockTooEarly.selector, unlockAt, unlockAt - 1));
        unlockAlice();
    }

    function test_an_unlock_needs_a_request() public {
        lockAsAlice(5e6);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.UnlockNotPending.selector, aliceId()));
        unlockAlice();
    }

    function test_an_unlock_happens_once() public {
        lockAsAlice(5e6);
        requestUnlockAsAlice();
        skip(UNLOCK_DELAY);
        unlockAlice();
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.UnlockNotPending.selector, aliceId()));
        unlockAlice();
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.NothingLocked.selector, aliceId()));
        requestUnlockAsAlice();
    }

    function test_only_the_payer_asks_for_its_channel() public {
        lockAsAlice(5e6);
        address[3] memory others = [session.addr, bob.addr, stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert();
            vm.prank(others[i]);
            escrow.requestUnlock(bob.addr, session.addr);
        }
        requestUnlockAsAlice();
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert();
            vm.prank(others[i]);
            escrow.cancelUnlock(bob.addr, session.addr);
        }
    }

    function test_a_second_request_does_not_move_the_first() public {
        lockAsAlice(5e6);
        requestUnlockAsAlice();
        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        skip(60);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.UnlockPending.selector, aliceId(), unlockAt));
        requestUnlockAsAlice();
    }

    function test_a_request_taken_back_waits_its_full_delay_again() public {
        lockAsAlice(5e6);
        requestUnlockAsAlice();
        skip(UNLOCK_DELAY - 1);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.UnlockCancelled(aliceId());
        vm.prank(alice.addr);
        escrow.cancelUnlock(bob.addr, session.addr);
        assertChannel(5e6, 0, 0);
        lockAsAlice(1);

        requestUnlockAsAlice();
        skip(UNLOCK_DELAY - 1);
        vm.expectRevert();
        unlockAlice();
    }

    function test_there_is_nothing_to_cancel_without_a_request() public {
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.UnlockNotPending.selector, aliceId()));
        vm.prank(alice.addr);
        escrow.cancelUnlock(bob.addr, session.addr);
    }

    function test_a_channel_claimed_to_the_end_still_closes() public {
        StrictToken token = new StrictToken();
        escrow = newEscrow(IERC20(address(token)), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
        token.mint(alice.addr, 5e6);
        vm.startPrank(alice.addr);
        token.approve(address(escrow), 5e6);
        escrow.lock(bob.addr, session.addr, 5e6);
        vm.stopPrank();
        requestUnlockAsAlice();
        escrow.claim(bob.addr, row(5e6));
        skip(UNLOCK_DELAY);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.Unlocked(aliceId(), 0);
        unlockAlice();
        assertChannel(5e6, 5e6, 0);
    }

    function test_a_frozen_account_holds_up_nobody_else() public {
        StrictToken token = new StrictToken();
        escrow = newEscrow(IERC20(address(token)), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
        token.mint(alice.addr, 5e6);
        vm.startPrank(alice.addr);
        token.approve(address(escrow), 5e6);
        escrow.lock(bob.addr, session.addr, 5e6);
        vm.stopPrank();
        requestUnlockAsAlice();
        token.freeze(alice.addr);
        skip(UNLOCK_DELAY);
        vm.expectRevert();
        unlockAlice();
        escrow.claim(bob.addr, row(5e6));
        escrow.sweep(bob.addr);
        assertEq(token.balanceOf(bob.addr), 5e6);
    }

    /// @dev `claimed` survives, so nothing that was paid before can be paid again from the new funds.
    function test_old_vouchers_are_worthless_on_a_channel_opened_again() public {
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(2e6));
        requestUnlockAsAlice();
        skip(UNLOCK_DELAY);
        unlockAlice();
        lockAsAlice(5e6);
        assertChannel(7e6, 2e6, 0);
        assertEq(escrow.claim(bob.addr, row(2e6)), 0);
        assertEq(escrow.claim(bob.addr, row(7e6)), 5e6);
    }

    function testFuzz_nothing_is_lost_between_payer_and_provider(uint96 locked, uint96 claimed, uint96 after_) public {
        locked = uint96(bound(locked, MIN_LOCK, type(uint96).max));
        claimed = uint96(bound(claimed, 0, locked - 1));
        after_ = uint96(bound(after_, 0, locked));
        lockAsAlice(locked);
        escrow.claim(bob.addr, row(claimed));
        requestUnlockAsAlice();
        escrow.claim(bob.addr, row(after_));
        skip(UNLOCK_DELAY);
        unlockAlice();
        uint96 paid = claimed > after_ ? claimed : after_;
        assertEq(usdc.balanceOf(alice.addr), locked - paid);
        assertEq(escrow.creditOf(bob.addr), paid);
        assertChannel(paid, paid, 0);
    }
}

contract ReleaseTest is EscrowTest {
    uint64 private deadline;

    function setUp() public override {
        super.setUp();
        deadline = uint64(block.timestamp) + 600;
        lockAsAlice(5e6);
    }

    function expectMismatch() private {
        vm.expectPartialRevert(IRowenEscrow.ReleaseSignerMismatch.selector);
    }

    function test_a_release_refunds_at_once_and_keeps_what_was_earned_claimable() public {
        escrow.claim(bob.addr, row(1e6));
        requestUnlockAsAlice();
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.Released(aliceId(), 3e6);
        vm.prank(stranger);
        releaseAlice(2e6, deadline);
        assertChannel(2e6, 1e6, uint64(block.timestamp) + UNLOCK_DELAY);
        assertEq(usdc.balanceOf(alice.addr), 3e6);
        assertTrue(escrow.isReleaseUsed(escrow.releaseDigest(aliceId(), 2e6, deadline)));
        assertEq(escrow.claim(bob.addr, row(2e6)), 1e6);
    }

    function test_a_release_of_all_that_is_unclaimed_ends_a_pending_unlock() public {
        escrow.claim(bob.addr, row(2e6));
        requestUnlockAsAlice();
        releaseAlice(2e6, deadline);
        assertChannel(2e6, 2e6, 0);
        lockAsAlice(1);
        assertChannel(2e6 + 1, 2e6, 0);
    }

    /// @dev Else a provider could end every request just before it is due, by a release that gives nothing back.
    function test_a_release_of_nothing_keeps_no_payer_in() public {
        requestUnlockAsAlice();
        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        vm.warp(unlockAt - 1);
        releaseAlice(5e6, unlockAt);
        assertChannel(5e6, 0, unlockAt);
        vm.warp(unlockAt);
        releaseAlice(5e6 - 1, unlockAt);
        unlockAlice();
        assertEq(usdc.balanceOf(alice.addr), 5e6);
    }

    /// @dev Whatever the provider claims and releases, the payer leaves when it was told, with what is not claimed.
    function testFuzz_no_provider_delays_a_payer_that_leaves(uint96[6] memory totals, uint8 moves) public {
        requestUnlockAsAlice();
        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        for (uint64 i = 0; i < totals.length; ++i) {
            skip(UNLOCK_DELAY / 6 - 1);
            (uint96 held,,) = escrow.channels(aliceId());
            uint96 total = uint96(bound(totals[i], 0, held));
            if ((moves >> i) & 1 == 0) escrow.claim(bob.addr, row(total));
            else releaseAlice(total, unlockAt + i);
        }
        (uint96 locked, uint96 claimed, uint64 pending) = escrow.channels(aliceId());
        assertTrue(pending == unlockAt || (pending == 0 && locked == claimed));
        vm.warp(unlockAt);
        if (pending != 0) unlockAlice();
        assertEq(usdc.balanceOf(alice.addr), 5e6 - claimed);
    }

    function test_a_release_below_what_was_claimed_keeps_what_was_claimed() public {
        escrow.claim(bob.addr, row(3e6));
        releaseAlice(1e6, deadline);
        assertChannel(3e6, 3e6, 0);
        assertEq(usdc.balanceOf(alice.addr), 2e6);
    }

    /// @dev Else the payer could lock anew, be served, and leave at once with the old signature.
    function test_a_release_works_once() public {
        releaseAlice(0, deadline);
        lockAsAlice(5e6);
        vm.expectRevert(
            abi.encodeWithSelector(IRowenEscrow.ReleaseUsed.selector, releaseDigestOf(aliceId(), 0, deadline))
        );
        this.releaseAliceExternally(0, deadline);
        assertChannel(5e6, 0, 0);
    }

    function releaseAliceExternally(uint96 total, uint64 deadline_) external {
        releaseAlice(total, deadline_);
    }

    function test_two_releases_that_differ_in_their_deadline_both_work() public {
        releaseAlice(0, deadline);
        lockAsAlice(5e6);
        releaseAlice(0, deadline + 1);
        assertChannel(0, 0, 0);
    }

    function test_a_release_is_good_until_its_deadline() public {
        vm.warp(deadline);
        releaseAlice(0, deadline);
        lockAsAlice(5e6);
        vm.warp(uint256(deadline) + 2);
        vm.expectRevert(
            abi.encodeWithSelector(IRowenEscrow.ReleaseExpired.selector, deadline + 1, uint256(deadline) + 2)
        );
        this.releaseAliceExternally(0, deadline + 1);
    }

    function test_a_release_cannot_keep_more_than_is_locked() public {
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.ReleaseExceedsLock.selector, 5e6 + 1, 5e6));
        this.releaseAliceExternally(5e6 + 1, deadline);
        releaseAlice(5e6, deadline);
        assertChannel(5e6, 0, 0);
    }

    function test_only_the_provider_releases() public {
        bytes32 digest = releaseDigestOf(aliceId(), 0, deadline);
        uint256[2] memory keys = [alice.privateKey, session.privateKey];
        for (uint256 i = 0; i < keys.length; ++i) {
            (bytes32 r, bytes32 vs) = vm.signCompact(keys[i], digest);
            vm.expectRevert(
                abi.encodeWithSelector(IRowenEscrow.ReleaseSignerMismatch.selector, bob.addr, vm.addr(keys[i]))
            );
            escrow.release(alice.addr, session.addr, bob.addr, 0, deadline, r, vs);
        }
    }

    function test_a_voucher_is_no_release() public {
        lockFrom(alice.addr, bob.addr, bob.addr, 5e6);
        (bytes32 r, bytes32 vs) = vm.signCompact(bob.privateKey, digestOf(voucher(0)));
        expectMismatch();
        escrow.release(alice.addr, bob.addr, bob.addr, 0, deadline, r, vs);
    }

    /// @dev An invalid signature recovers to the zero address, which must not pass for a provider.
    function test_an_invalid_signature_releases_nothing_for_the_zero_provider() public {
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.ReleaseSignerMismatch.selector, address(0), address(0)));
        escrow.release(alice.addr, session.addr, address(0), 0, deadline, 0, 0);
    }

    function testFuzz_a_changed_release_refunds_nothing(uint256 field, uint256 change) public {
        (bytes32 r, bytes32 vs) = vm.signCompact(bob.privateKey, releaseDigestOf(aliceId(), 1e6, deadline));
        (address payer, address signer, address provider) = (alice.addr, session.addr, bob.addr);
        (uint96 total, uint64 until) = (1e6, deadline);
        change = bound(change, 1, 1e6);
        field = bound(field, 0, 6);
        if (field == 0) payer = address(uint160(payer) ^ uint160(change));
        if (field == 1) signer = address(uint160(signer) ^ uint160(change));
        if (field == 2) provider = address(uint160(provider) ^ uint160(change));
        if (field == 3) total += uint96(change);
        if (field == 4) until += uint64(change);
        if (field == 5) r = bytes32(uint256(r) ^ change);
        if (field == 6) vs = bytes32(uint256(vs) ^ change);
        expectMismatch();
        escrow.release(payer, signer, provider, total, until, r, vs);
        assertChannel(5e6, 0, 0);
    }

    function testFuzz_a_release_keeps_the_greater_of_claimed_and_total(uint96 claimed, uint96 total) public {
        claimed = uint96(bound(claimed, 0, 5e6));
        total = uint96(bound(total, 0, 5e6));
        escrow.claim(bob.addr, row(claimed));
        releaseAlice(total, deadline);
        uint96 kept = total > claimed ? total : claimed;
        assertChannel(kept, claimed, 0);
        assertEq(usdc.balanceOf(alice.addr), 5e6 - kept);
        assertEq(usdc.balanceOf(address(escrow)), kept);
    }
}
