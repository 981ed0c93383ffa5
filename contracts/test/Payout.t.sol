// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenEscrow} from "../src/interfaces/IRowenEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";

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
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.Swept(bob.addr, bob.addr, 2e6);
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
