// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenStake, Offence, Receipt as RowenReceipt, SignedReceipt} from "../src/interfaces/IRowenStake.sol";
import {SlashingTest} from "./StakeTest.sol";

/// @notice What is an offence, what is none, and what of it costs what.
contract SlashTest is SlashingTest {
    // ---- The three offences ----

    function test_two_receipts_for_one_sequence_are_slashed() public {
        (SignedReceipt memory first, SignedReceipt memory second) = twins(3);
        vm.expectEmit(address(stake));
        emit IRowenStake.Slashed(bob.addr, reporter, Offence.Equivocation, aliceId(), 3, 75e6, 25e6);
        equivocation(first, second);
        assertSlashed(150e6);
        assertEq(usdc.balanceOf(reporter), 25e6);
        assertEq(stake.burned(), 75e6);
        assertEq(paidForTwins(3), PENALTY);
    }

    function test_a_broken_running_total_is_slashed() public {
        RowenReceipt memory second = receipt(4);
        second.total += 1;
        vm.expectEmit(address(stake));
        emit IRowenStake.Slashed(bob.addr, reporter, Offence.BrokenTotal, aliceId(), 4, 75e6, 25e6);
        brokenTotal(signed(receipt(3)), signed(second));
        assertSlashed(150e6);
    }

    function test_a_charge_for_a_failure_is_slashed() public {
        RowenReceipt memory charged = receipt(3);
        charged.status = FAILED;
        vm.expectEmit(address(stake));
        emit IRowenStake.Slashed(bob.addr, reporter, Offence.ChargedFailure, aliceId(), 3, 75e6, 25e6);
        chargedFailure(signed(charged));
        assertSlashed(150e6);
    }

    // ---- What is no offence ----

    function test_one_receipt_shown_twice_is_none() public {
        SignedReceipt memory one = signed(receipt(3));
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.SameReceipt.selector, receiptDigestOf(receipt(3))));
        equivocation(one, one);
    }

    function test_receipts_of_two_sequences_do_not_contradict_each_other() public {
        SignedReceipt memory first = signed(receipt(3));
        SignedReceipt memory second = signed(receipt(4));
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.SequencesDiffer.selector, 3, 4));
        equivocation(first, second);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.TotalsAddUp.selector, 40, 10, 50));
        brokenTotal(first, second);
    }

    function test_totals_are_compared_only_from_one_receipt_to_the_next() public {
        SignedReceipt memory first = signed(receipt(3));
        uint32[3] memory others = [uint32(3), 5, 2];
        for (uint256 i = 0; i < others.length; ++i) {
            SignedReceipt memory second = signed(receipt(others[i]));
            vm.expectRevert(abi.encodeWithSelector(IRowenStake.SequencesNotConsecutive.selector, 3, others[i]));
            brokenTotal(first, second);
        }
        first = signed(receipt(type(uint32).max));
        SignedReceipt memory zero = signed(receipt(0));
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.SequencesNotConsecutive.selector, type(uint32).max, 0));
        brokenTotal(first, zero);
    }

    function test_totals_beyond_uint96_do_not_wrap() public {
        RowenReceipt memory first = receipt(3);
        first.total = type(uint96).max;
        RowenReceipt memory second = receipt(4);
        second.amount = 10;
        second.total = 9;
        brokenTotal(signed(first), signed(second));
        assertSlashed(150e6);
    }

    function test_a_failure_that_costs_nothing_and_a_charge_for_another_ending_are_fine() public {
        RowenReceipt memory free = receipt(3);
        (free.status, free.amount) = (FAILED, 0);
        SignedReceipt memory shown = signed(free);
        vm.expectRevert(IRowenStake.NothingCharged.selector);
        chargedFailure(shown);
        for (uint8 status = 0; status < 10; ++status) {
            if (status == FAILED) continue;
            RowenReceipt memory charged = receipt(3);
            charged.status = status;
            shown = signed(charged);
            vm.expectRevert(abi.encodeWithSelector(IRowenStake.NotFailed.selector, status));
            chargedFailure(shown);
        }
    }

    function testFuzz_an_honest_log_proves_nothing(uint96[12] memory amounts, uint8 failed, uint256 pick) public {
        SignedReceipt[] memory log = new SignedReceipt[](12);
        uint96 total;
        for (uint32 i = 0; i < 12; ++i) {
            RowenReceipt memory made = receipt(i);
            if (i == failed % 16) (made.status, made.amount) = (FAILED, 0);
            else made.amount = uint96(bound(amounts[i], 0, type(uint96).max / 12));
            total += made.amount;
            made.total = total;
            log[i] = signed(made);
        }
        (uint256 a, uint256 b) = (pick % 12, (pick >> 8) % 12);
        vm.expectRevert();
        equivocation(log[a], log[b]);
        vm.expectRevert();
        brokenTotal(log[a], log[b]);
        vm.expectRevert();
        chargedFailure(log[a]);
        assertBond(250e6, 0, 0);
    }

    // ---- Once, in part, and more than once ----

    function test_a_proof_counts_once_whatever_its_order() public {
        (SignedReceipt memory first, SignedReceipt memory second) = twins(3);
        RowenReceipt memory other = receipt(3);
        other.outputHash = keccak256("a third answer");
        SignedReceipt memory third = signed(other);
        equivocation(first, second);
        bytes memory punished =
            abi.encodeWithSelector(IRowenStake.OffencePunished.selector, bob.addr, Offence.Equivocation, aliceId(), 3);
        vm.expectRevert(punished);
        equivocation(first, second);
        vm.expectRevert(punished);
        equivocation(second, first);
        vm.expectRevert(punished);
        equivocation(first, third);
        assertSlashed(150e6);
    }

    function test_each_offence_costs_its_penalty_until_nothing_is_left() public {
        slashTwins(3);
        slashTwins(4);
        assertSlashed(50e6);
        slashTwins(5);
        assertSlashed(0);
        assertEq(paidForTwins(5), 50e6);
        (SignedReceipt memory first, SignedReceipt memory second) = twins(6);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.NothingBonded.selector, bob.addr));
        equivocation(first, second);
    }

    /// @dev A provider with next to nothing at stake could otherwise report itself and be done with the proof.
    function test_what_a_small_bond_could_not_pay_the_next_one_does() public {
        slashTwins(3);
        slashTwins(4);
        slashTwins(5);
        bondBob(PENALTY);
        slashTwins(5);
        assertBond(PENALTY - 50e6, 0, 0);
        assertEq(paidForTwins(5), PENALTY);
        (SignedReceipt memory first, SignedReceipt memory second) = twins(5);
        vm.expectPartialRevert(IRowenStake.OffencePunished.selector);
        equivocation(first, second);
    }

    function test_a_pair_that_breaks_two_rules_is_two_offences() public {
        RowenReceipt memory second = receipt(4);
        (second.status, second.total) = (FAILED, 1);
        brokenTotal(signed(receipt(3)), signed(second));
        chargedFailure(signed(second));
        assertSlashed(50e6);
    }

    function test_one_provider_s_offence_costs_no_other() public {
        bondFor(stranger, PENALTY);
        slashTwins(3);
        (uint96 amount,,) = stake.bonds(stranger);
        assertEq(amount, PENALTY);
    }
}
