// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IRowenEscrow} from "../src/interfaces/IRowenEscrow.sol";
import {EscrowTest, Voucher} from "./EscrowTest.sol";

contract PayoutTest is EscrowTest {
    address private cold = makeAddr("bob's cold address");
    address private thief = makeAddr("a thief of bob's operator key");

    function setPayout(address next) private {
        vm.prank(bob.addr);
        escrow.requestPayout(next);
    }

    function assertPayout(address present, address next, uint64 applyAt) private view {
        assertEq(escrow.payoutOf(bob.addr), present, "present");
        (address next_, uint64 applyAt_) = escrow.pendingPayoutOf(bob.addr);
        assertEq(next_, next, "next");
        assertEq(applyAt_, applyAt, "applyAt");
    }

    // ---- Sweep ----

    function test_a_sweep_pays_the_provider_itself_until_it_says_otherwise() public {
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(2e6));
        // The token's own event tells of a sweep.
        vm.expectEmit(address(usdc));
        emit IERC20.Transfer(address(escrow), bob.addr, 2e6);
        vm.prank(stranger);
        assertEq(escrow.sweep(bob.addr), 2e6);
        assertEq(usdc.balanceOf(bob.addr), 2e6);
        assertEq(escrow.creditOf(bob.addr), 0);
    }

    function test_a_sweep_pays_the_payout_address() public {
        setPayout(cold);
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(2e6));
        vm.prank(stranger);
        escrow.sweep(bob.addr);
        assertEq(usdc.balanceOf(cold), 2e6);
        assertEq(usdc.balanceOf(bob.addr), 0);
    }

    function test_a_second_sweep_finds_nothing() public {
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(2e6));
        escrow.sweep(bob.addr);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.NothingToSweep.selector, bob.addr));
        escrow.sweep(bob.addr);
    }

    /// @dev Where earnings go is written down with them, so that a sweep reads one slot; it must follow every change.
    function test_what_was_earned_before_follows_the_payout_address() public {
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(1e6));
        setPayout(cold);
        escrow.sweep(bob.addr);
        assertEq(usdc.balanceOf(cold), 1e6, "the first address, set after the claim");

        escrow.claim(bob.addr, row(3e6));
        address next = makeAddr("next");
        setPayout(next);
        skip(PAYOUT_DELAY);
        escrow.claim(bob.addr, row(4e6));
        escrow.applyPayout(bob.addr);
        assertEq(escrow.creditOf(bob.addr), 3e6);
        escrow.sweep(bob.addr);
        assertEq(usdc.balanceOf(next), 3e6, "the next one, in force after two claims");

        escrow.claim(bob.addr, row(5e6));
        escrow.sweep(bob.addr);
        assertEq(usdc.balanceOf(next), 4e6, "and after it");
        assertEq(usdc.balanceOf(bob.addr), 0);
    }

    function test_a_payout_address_that_was_vetoed_gets_nothing_earned_before() public {
        setPayout(cold);
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(1e6));
        setPayout(thief);
        vm.prank(cold);
        escrow.vetoPayout(bob.addr);
        escrow.sweep(bob.addr);
        assertEq(usdc.balanceOf(cold), 1e6);
    }

    /// @dev Of a token with that many units. Nothing is lost: what was claimed before can be swept.
    function test_a_credit_that_would_not_fit_is_refused() public {
        lockFrom(stranger, bob.addr, session.addr, type(uint96).max);
        Voucher memory all = voucher(type(uint96).max);
        all.payer = stranger;
        escrow.claim(bob.addr, sign(all, session.privateKey));
        lockAsAlice(5e6);
        bytes memory more = row(1e6);
        vm.expectRevert(
            abi.encodeWithSelector(IRowenEscrow.CreditTooLarge.selector, bob.addr, uint256(type(uint96).max) + 1e6)
        );
        escrow.claim(bob.addr, more);
        assertEq(escrow.sweep(bob.addr), type(uint96).max);
        assertEq(escrow.claim(bob.addr, more), 1e6);
    }

    // ---- Payout address ----

    function test_the_first_payout_address_counts_at_once() public {
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.PayoutChanged(bob.addr, cold);
        setPayout(cold);
        assertPayout(cold, address(0), 0);
    }

    function test_the_next_one_waits() public {
        setPayout(cold);
        address next = makeAddr("next");
        uint64 applyAt = uint64(block.timestamp) + PAYOUT_DELAY;
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.PayoutRequested(bob.addr, next, applyAt);
        setPayout(next);
        assertPayout(cold, next, applyAt);

        vm.warp(applyAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.PayoutTooEarly.selector, applyAt, applyAt - 1));
        escrow.applyPayout(bob.addr);

        vm.warp(applyAt);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.PayoutChanged(bob.addr, next);
        vm.prank(stranger);
        escrow.applyPayout(bob.addr);
        assertPayout(next, address(0), 0);
    }

    function test_a_request_is_applied_once() public {
        setPayout(cold);
        setPayout(makeAddr("next"));
        skip(PAYOUT_DELAY);
        escrow.applyPayout(bob.addr);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.PayoutNotPending.selector, bob.addr));
        escrow.applyPayout(bob.addr);
    }

    function test_a_second_request_starts_the_delay_again() public {
        setPayout(cold);
        setPayout(makeAddr("next"));
        skip(PAYOUT_DELAY - 1);
        setPayout(thief);
        skip(1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IRowenEscrow.PayoutTooEarly.selector, block.timestamp - 1 + PAYOUT_DELAY, block.timestamp
            )
        );
        escrow.applyPayout(bob.addr);
    }

    function test_a_thief_of_the_operator_key_waits_in_view_of_the_owner_who_vetoes() public {
        setPayout(cold);
        setPayout(thief);
        skip(PAYOUT_DELAY);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.PayoutVetoed(bob.addr, thief);
        vm.prank(cold);
        escrow.vetoPayout(bob.addr);
        assertPayout(cold, address(0), 0);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.PayoutNotPending.selector, bob.addr));
        escrow.applyPayout(bob.addr);
    }

    function test_only_the_present_payout_address_vetoes() public {
        setPayout(cold);
        setPayout(thief);
        address[3] memory others = [bob.addr, thief, stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.NotPayoutAddress.selector, cold, others[i]));
            vm.prank(others[i]);
            escrow.vetoPayout(bob.addr);
        }
    }

    function test_there_is_nothing_to_veto_without_a_request() public {
        setPayout(cold);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.PayoutNotPending.selector, bob.addr));
        vm.prank(cold);
        escrow.vetoPayout(bob.addr);
    }

    function test_nobody_sets_the_payout_address_of_another() public {
        vm.prank(thief);
        escrow.requestPayout(thief);
        assertPayout(bob.addr, address(0), 0);
    }

    function test_the_zero_address_gets_nothing() public {
        vm.expectRevert(IRowenEscrow.ZeroAddress.selector);
        setPayout(address(0));
    }
}
