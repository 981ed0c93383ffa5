// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {IRowenEscrow, Permit} from "../src/interfaces/IRowenEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {FalseToken, FeeToken, LyingToken, MuteToken, PlainToken, ShrinkingToken, SilentToken} from "./Tokens.sol";

contract LockTest is EscrowTest {
    function test_a_lock_opens_the_channel_and_moves_exactly_the_amount() public {
        usdc.mint(alice.addr, 5e6);
        vm.startPrank(alice.addr);
        usdc.approve(address(escrow), 5e6);

        vm.expectEmit(address(escrow));
        emit IRowenEscrow.Locked(alice.addr, bob.addr, session.addr, 5e6);
        escrow.lock(bob.addr, session.addr, 5e6);

        assertChannel(5e6, 0, 0);
        assertEq(usdc.balanceOf(address(escrow)), 5e6);
        assertEq(usdc.balanceOf(alice.addr), 0);
    }

    function test_a_top_up_adds_and_tells_the_new_sum() public {
        lockAsAlice(5e6);
        usdc.mint(alice.addr, 1);
        vm.startPrank(alice.addr);
        usdc.approve(address(escrow), 1);

        vm.expectEmit(address(escrow));
        emit IRowenEscrow.Locked(alice.addr, bob.addr, session.addr, 1);
        escrow.lock(bob.addr, session.addr, 1);

        assertChannel(5e6 + 1, 0, 0);
    }

    function test_the_first_lock_must_reach_the_minimum() public {
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.LockBelowMinimum.selector, MIN_LOCK - 1, MIN_LOCK));
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, MIN_LOCK - 1);
    }

    function test_a_channel_emptied_without_a_claim_opens_with_the_minimum_again() public {
        lockAsAlice(5e6);
        requestUnlockAsAlice();
        skip(UNLOCK_DELAY);
        unlockAlice();
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.LockBelowMinimum.selector, 1, MIN_LOCK));
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, 1);
    }

    function test_the_zero_address_is_nobody() public {
        vm.startPrank(alice.addr);
        vm.expectRevert(IRowenEscrow.ZeroAddress.selector);
        escrow.lock(address(0), session.addr, 5e6);
        vm.expectRevert(IRowenEscrow.ZeroAddress.selector);
        escrow.lock(bob.addr, address(0), 5e6);
    }

    function test_a_lock_of_nothing_is_refused() public {
        lockAsAlice(5e6);
        vm.expectRevert(IRowenEscrow.ZeroAmount.selector);
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, 0);
    }

    function test_a_lock_is_refused_while_an_unlock_is_pending_even_past_its_time() public {
        lockAsAlice(5e6);
        requestUnlockAsAlice();
        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        bytes memory pending = abi.encodeWithSelector(IRowenEscrow.UnlockPending.selector, aliceId(), unlockAt);
        vm.startPrank(alice.addr);
        vm.expectRevert(pending);
        escrow.lock(bob.addr, session.addr, 5e6);
        skip(2 * UNLOCK_DELAY);
        vm.expectRevert(pending);
        escrow.lock(bob.addr, session.addr, 5e6);
    }

    /// @dev The one overflow there is; no token in use has 2^96 units.
    function test_more_than_uint96_cannot_be_locked() public {
        lockAsAlice(type(uint96).max);
        vm.expectRevert(
            abi.encodeWithSelector(IRowenEscrow.LockTooLarge.selector, aliceId(), type(uint96).max, uint96(1))
        );
        vm.prank(alice.addr);
        escrow.lock(bob.addr, session.addr, 1);
    }

    // ---- Permit ----

    function test_a_permit_takes_the_place_of_an_approval() public {
        usdc.mint(alice.addr, 5e6);
        Permit memory permit = permitOf(alice, 5e6, block.timestamp);
        vm.prank(alice.addr);
        escrow.lockWithPermit(permit, aliceToBob(5e6));
        assertChannel(5e6, 0, 0);
        assertEq(usdc.allowance(alice.addr, address(escrow)), 0);
    }

    function test_a_permit_used_by_a_front_runner_still_locks() public {
        usdc.mint(alice.addr, 5e6);
        (uint8 v, bytes32 r, bytes32 s) = signPermit(alice, 5e6, block.timestamp);
        vm.prank(stranger);
        usdc.permit(alice.addr, address(escrow), 5e6, block.timestamp, v, r, s);
        vm.prank(alice.addr);
        escrow.lockWithPermit(Permit(block.timestamp, r, compact(v, s)), aliceToBob(5e6));
        assertChannel(5e6, 0, 0);
    }

    function test_a_stolen_permit_locks_nothing_of_its_owner() public {
        usdc.mint(alice.addr, 5e6);
        Permit memory permit = permitOf(alice, 5e6, block.timestamp);
        vm.expectRevert();
        vm.prank(stranger);
        escrow.lockWithPermit(permit, aliceToBob(5e6));
        assertEq(usdc.balanceOf(alice.addr), 5e6);
    }

    function testFuzz_a_bad_permit_without_allowance_locks_nothing(Permit calldata permit) public {
        usdc.mint(alice.addr, 5e6);
        vm.expectRevert();
        vm.prank(alice.addr);
        escrow.lockWithPermit(permit, aliceToBob(5e6));
        assertChannel(0, 0, 0);
        assertEq(usdc.balanceOf(alice.addr), 5e6);
    }

    function testFuzz_a_permit_for_any_amount_locks_it(uint96 amount, uint64 wait) public {
        amount = uint96(bound(amount, MIN_LOCK, type(uint96).max));
        usdc.mint(alice.addr, amount);
        uint256 deadline = block.timestamp + wait;
        Permit memory permit = permitOf(alice, amount, deadline);
        vm.prank(alice.addr);
        escrow.lockWithPermit(permit, aliceToBob(amount));
        assertChannel(amount, 0, 0);
    }

    // ---- Tokens that misbehave ----

    function lockIn(address token, bytes memory refusal) private {
        RowenEscrow other = newEscrow(IERC20(token), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        PlainToken(token).mint(alice.addr, 5e6);
        vm.startPrank(alice.addr);
        PlainToken(token).approve(address(other), 5e6);
        vm.expectRevert(refusal);
        other.lock(bob.addr, session.addr, 5e6);
        (uint96 locked,,) = other.channels(aliceId());
        assertEq(locked, 0);
        vm.stopPrank();
    }

    function test_a_token_that_keeps_a_fee_is_refused() public {
        lockIn(address(new FeeToken()), abi.encodeWithSelector(IRowenEscrow.InexactTransfer.selector, 5e6, 4.95e6));
    }

    function test_a_token_that_returns_false_is_refused() public {
        address token = address(new FalseToken());
        lockIn(token, abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, token));
    }

    function test_a_token_that_moves_nothing_is_refused() public {
        lockIn(address(new LyingToken()), abi.encodeWithSelector(IRowenEscrow.InexactTransfer.selector, 5e6, 0));
    }

    function test_a_token_that_takes_instead_of_giving_is_refused() public {
        ShrinkingToken token = new ShrinkingToken();
        RowenEscrow other = newEscrow(token, UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        token.mint(address(other), 5e6);
        token.mint(alice.addr, 5e6);
        vm.startPrank(alice.addr);
        token.approve(address(other), 5e6);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.InexactTransfer.selector, 5e6, 0));
        other.lock(bob.addr, session.addr, 5e6);
        vm.stopPrank();
    }

    function test_a_token_that_does_not_tell_balances_is_refused() public {
        MuteToken token = new MuteToken();
        RowenEscrow other = newEscrow(IERC20(address(token)), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        vm.startPrank(alice.addr);
        for (uint256 i = 0; i < 2; ++i) {
            token.setReverting(i == 0);
            vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.BalanceUnknown.selector, token));
            other.lock(bob.addr, session.addr, 5e6);
        }
        vm.stopPrank();
    }

    function test_a_token_that_returns_nothing_is_accepted() public {
        SilentToken token = new SilentToken();
        escrow = newEscrow(IERC20(address(token)), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
        token.mint(alice.addr, 5e6);
        vm.startPrank(alice.addr);
        token.approve(address(escrow), 5e6);
        escrow.lock(bob.addr, session.addr, 5e6);
        vm.stopPrank();
        escrow.claim(bob.addr, row(2e6));
        escrow.sweep(bob.addr);
        assertEq(token.balanceOf(bob.addr), 2e6);
        assertEq(token.balanceOf(address(escrow)), 3e6);
    }

    function testFuzz_locks_add_up(uint96[8] memory amounts) public {
        uint96 sum;
        for (uint256 i = 0; i < amounts.length; ++i) {
            uint96 amount = uint96(bound(amounts[i], i == 0 ? MIN_LOCK : 1, type(uint96).max / 8));
            lockAsAlice(amount);
            sum += amount;
            assertChannel(sum, 0, 0);
            assertEq(usdc.balanceOf(address(escrow)), sum);
        }
    }
}
