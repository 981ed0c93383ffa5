// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Vm} from "forge-std/Test.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {RowenStake} from "../src/RowenStake.sol";
import {IRowenEscrow} from "../src/interfaces/IRowenEscrow.sol";
import {IRowenStake, Offence, Receipt as RowenReceipt, SignedReceipt} from "../src/interfaces/IRowenStake.sol";
import {StakeTest} from "./StakeTest.sol";
import {FalseToken, FeeToken, HookToken, PlainToken, StrictToken} from "./Tokens.sol";
import {FickleWallet} from "./Wallets.sol";

contract BondTest is StakeTest {
    function test_the_parameters_are_what_was_deployed() public view {
        assertEq(address(stake.escrow()), address(escrow));
        assertEq(address(stake.token()), address(usdc));
        assertEq(stake.unbondDelay(), UNBOND_DELAY);
        assertEq(stake.penalty(), PENALTY);
    }

    /// @dev Tests are linked at run time, where a `new` that reverts as expected ends its test, and the rest would be skipped
    /// in silence. Inside a call of its own it does not.
    function deploy(IRowenEscrow escrow_, uint64 unbondDelay, uint96 penalty) external {
        newStake(escrow_, unbondDelay, penalty);
    }

    function test_the_delay_is_strictly_longer_than_the_escrow_s() public {
        uint64[3] memory bad = [UNLOCK_DELAY - 1, UNLOCK_DELAY, uint64(180 days) + 1];
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    IRowenStake.UnbondDelayOutOfRange.selector, bad[i], UNLOCK_DELAY, uint64(180 days)
                )
            );
            this.deploy(escrow, bad[i], PENALTY);
        }
        this.deploy(escrow, UNLOCK_DELAY + 1, PENALTY);
        this.deploy(escrow, 180 days, PENALTY);
    }

    function test_an_escrow_without_code_and_a_penalty_of_nothing_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.EscrowHasNoCode.selector, stranger));
        this.deploy(IRowenEscrow(stranger), UNBOND_DELAY, PENALTY);
        vm.expectRevert(IRowenStake.ZeroAmount.selector);
        this.deploy(escrow, UNBOND_DELAY, 0);
    }

    function test_anybody_bonds_for_a_provider() public {
        usdc.mint(cold, 150e6);
        vm.startPrank(cold);
        usdc.approve(address(stake), 150e6);
        vm.expectEmit(address(stake));
        emit IRowenStake.Bonded(bob.addr, cold, 150e6, 150e6);
        stake.bond(bob.addr, 150e6);
        vm.stopPrank();
        assertBond(150e6, 0, 0);
        assertEq(stake.activeOf(bob.addr), 150e6);
        assertEq(usdc.balanceOf(address(stake)), 150e6);
    }

    function test_a_bond_covers_a_penalty_at_least() public {
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.BondBelowPenalty.selector, PENALTY - 1, PENALTY));
        stake.bond(bob.addr, PENALTY - 1);
        bondBob(PENALTY);
        bondBob(1);
        assertBond(PENALTY + 1, 0, 0);
    }

    function test_nobody_and_nothing_are_refused() public {
        vm.expectRevert(IRowenStake.ZeroAddress.selector);
        stake.bond(address(0), PENALTY);
        vm.expectRevert(IRowenStake.ZeroAmount.selector);
        stake.bond(bob.addr, 0);
        bondBob(PENALTY);
        vm.expectRevert(IRowenStake.ZeroAmount.selector);
        requestUnbondAsBob(0);
    }

    function test_a_bond_returns_to_the_payout_address_after_the_delay() public {
        bondBob(150e6);
        uint64 leaveAt = uint64(block.timestamp) + UNBOND_DELAY;
        vm.expectEmit(address(stake));
        emit IRowenStake.UnbondRequested(bob.addr, 60e6, leaveAt);
        requestUnbondAsBob(60e6);
        assertBond(150e6, 60e6, leaveAt);
        assertEq(stake.activeOf(bob.addr), 90e6);

        vm.warp(leaveAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.UnbondTooEarly.selector, leaveAt, leaveAt - 1));
        stake.withdraw(bob.addr);

        vm.warp(leaveAt);
        vm.expectEmit(address(stake));
        emit IRowenStake.Withdrawn(bob.addr, cold, 60e6);
        vm.prank(stranger);
        assertEq(stake.withdraw(bob.addr), 60e6);
        assertBond(90e6, 0, 0);
        assertEq(usdc.balanceOf(cold), 60e6);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.UnbondNotPending.selector, bob.addr));
        stake.withdraw(bob.addr);
    }

    function test_a_second_request_adds_and_starts_the_delay_again() public {
        bondBob(150e6);
        requestUnbondAsBob(60e6);
        skip(UNBOND_DELAY - 1);
        requestUnbondAsBob(90e6);
        assertBond(150e6, 150e6, uint64(block.timestamp) + UNBOND_DELAY);
        skip(1);
        vm.expectRevert();
        stake.withdraw(bob.addr);
    }

    function test_no_more_leaves_than_there_is() public {
        bondBob(150e6);
        requestUnbondAsBob(60e6);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.UnbondExceedsBond.selector, 90e6 + 1, 90e6));
        requestUnbondAsBob(90e6 + 1);
    }

    function test_a_request_is_taken_back() public {
        bondBob(150e6);
        requestUnbondAsBob(60e6);
        vm.expectEmit(address(stake));
        emit IRowenStake.UnbondCancelled(bob.addr);
        vm.prank(bob.addr);
        stake.cancelUnbond(bob.addr);
        assertBond(150e6, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.UnbondNotPending.selector, bob.addr));
        vm.prank(bob.addr);
        stake.cancelUnbond(bob.addr);
    }

    /// @dev An operator key that is lost must not take the bond with it.
    function test_the_payout_address_unbonds_too_and_strangers_do_not() public {
        bondBob(150e6);
        vm.startPrank(cold);
        stake.requestUnbond(bob.addr, 60e6);
        stake.cancelUnbond(bob.addr);
        vm.stopPrank();
        address[3] memory others = [alice.addr, stranger, address(escrow)];
        for (uint256 i = 0; i < others.length; ++i) {
            bytes memory refusal = abi.encodeWithSelector(IRowenStake.NotProvider.selector, bob.addr, others[i]);
            vm.startPrank(others[i]);
            vm.expectRevert(refusal);
            stake.requestUnbond(bob.addr, 1);
            vm.expectRevert(refusal);
            stake.cancelUnbond(bob.addr);
            vm.stopPrank();
        }
    }

    /// @dev Threat 59: the operator key is hot. Its thief can start the way out, which ends at the cold address.
    function test_a_thief_of_the_operator_key_does_not_get_the_bond() public {
        bondBob(150e6);
        requestUnbondAsBob(150e6);
        vm.prank(bob.addr);
        escrow.requestPayout(stranger);
        vm.prank(cold);
        escrow.vetoPayout(bob.addr);
        skip(UNBOND_DELAY);
        stake.withdraw(bob.addr);
        assertEq(usdc.balanceOf(cold), 150e6);
    }

    function testFuzz_a_stranger_s_dust_leaves_a_withdrawal_as_it_is(uint96 dust) public {
        bondBob(150e6);
        requestUnbondAsBob(150e6);
        uint64 leaveAt = uint64(block.timestamp) + UNBOND_DELAY;
        dust = uint96(bound(dust, 1, 1e12));
        skip(UNBOND_DELAY - 1);
        bondBob(dust);
        assertBond(150e6 + dust, 150e6, leaveAt);
        skip(1);
        assertEq(stake.withdraw(bob.addr), 150e6);
    }

    function bondIn(address token, bytes memory refusal) private {
        RowenEscrow other = newEscrow(IERC20(token), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        RowenStake its = newStake(other, UNBOND_DELAY, PENALTY);
        PlainToken(token).mint(address(this), PENALTY);
        PlainToken(token).approve(address(its), PENALTY);
        vm.expectRevert(refusal);
        its.bond(bob.addr, PENALTY);
    }

    function test_tokens_that_keep_a_fee_or_refuse_bond_nothing() public {
        bondIn(address(new FeeToken()), abi.encodeWithSelector(IRowenStake.InexactTransfer.selector, PENALTY, 99e6));
        address token = address(new FalseToken());
        bondIn(token, abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, token));
    }
}

contract SlashTest is StakeTest {
    function setUp() public override {
        super.setUp();
        bondBob(250e6);
    }

    function assertSlashed(uint96 left) private view {
        assertBond(left, 0, 0);
        assertEq(usdc.balanceOf(reporter) + stake.burned() + left, 250e6);
        assertEq(usdc.balanceOf(address(stake)), left + stake.burned());
    }

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

    // ---- Whose word counts ----

    function test_only_the_provider_s_signatures_count() public {
        (SignedReceipt memory first, SignedReceipt memory second) = twins(3);
        RowenReceipt memory next = receipt(4);
        (next.total, next.status) = (1, FAILED);
        SignedReceipt memory forgedTwin = signReceipt(second.receipt, alice.privateKey);
        SignedReceipt memory forgedNext = signReceipt(next, alice.privateKey);
        SignedReceipt memory forgedFirst = signReceipt(first.receipt, alice.privateKey);
        bytes memory refusal = abi.encodeWithSelector(IRowenStake.ReceiptSignerMismatch.selector, bob.addr, alice.addr);
        vm.expectRevert(refusal);
        equivocation(first, forgedTwin);
        vm.expectRevert(refusal);
        equivocation(forgedTwin, first);
        vm.expectRevert(refusal);
        brokenTotal(first, forgedNext);
        SignedReceipt memory honestNext = signed(next);
        vm.expectRevert(refusal);
        brokenTotal(forgedFirst, honestNext);
        vm.expectRevert(refusal);
        chargedFailure(forgedNext);
        (forgedTwin.r, forgedTwin.vs) = (0, 0);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.ReceiptSignerMismatch.selector, bob.addr, address(0)));
        equivocation(first, forgedTwin);
    }

    function test_nobody_is_not_slashed_for_a_signature_that_recovers_nobody() public {
        bondFor(address(0xdead), PENALTY);
        bytes32 id = escrow.channelId(alice.addr, address(0), session.addr);
        RowenReceipt memory first = receipt(3);
        first.channelId = id;
        RowenReceipt memory second = receipt(3);
        (second.channelId, second.segment) = (id, 9);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.ReceiptSignerMismatch.selector, address(0), address(0)));
        stake.slashEquivocation(
            alice.addr, address(0), session.addr, SignedReceipt(first, 0, 0), SignedReceipt(second, 0, 0)
        );
    }

    /// @dev Whoever signs about a channel it has no part in contradicts nobody.
    function test_receipts_for_a_channel_that_is_not_the_provider_s_prove_nothing() public {
        (SignedReceipt memory first, SignedReceipt memory second) = twins(3);
        bytes32 id = escrow.channelId(stranger, bob.addr, session.addr);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.ChannelMismatch.selector, id, aliceId()));
        stake.slashEquivocation(stranger, bob.addr, session.addr, first, second);

        RowenReceipt memory foreign = receipt(3);
        foreign.channelId = escrow.channelId(alice.addr, stranger, session.addr);
        second = signed(foreign);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.ChannelMismatch.selector, aliceId(), foreign.channelId));
        equivocation(first, second);
    }

    function test_receipts_for_another_escrow_or_chain_prove_nothing() public {
        (SignedReceipt memory here,) = twins(3);
        bytes32[2] memory elsewhere =
            [domainOf(address(stake), block.chainid), domainOf(address(escrow), block.chainid + 1)];
        for (uint256 i = 0; i < elsewhere.length; ++i) {
            domain = elsewhere[i];
            (, SignedReceipt memory other) = twins(3);
            vm.expectPartialRevert(IRowenStake.ReceiptSignerMismatch.selector);
            equivocation(here, other);
        }
    }

    function testFuzz_a_changed_receipt_proves_nothing(uint256 field, uint256 change) public {
        (SignedReceipt memory first, SignedReceipt memory second) = twins(3);
        RowenReceipt memory r = second.receipt;
        (field, change) = (bound(field, 0, 17), bound(change, 1, type(uint8).max));
        if (field == 0) r.channelId ^= bytes32(change);
        if (field == 1) r.sequence ^= uint32(change);
        if (field == 2) r.orderHash ^= bytes32(change);
        if (field == 3) r.segment ^= uint32(change);
        if (field == 4) r.status ^= uint8(change);
        if (field == 5) r.inputUnits ^= uint32(change);
        if (field == 6) r.cachedUnits ^= uint32(change);
        if (field == 7) r.outputUnits ^= uint32(change);
        if (field == 8) r.amount ^= uint96(change);
        if (field == 9) r.total ^= uint96(change);
        if (field == 10) r.outputHash ^= bytes32(change);
        if (field == 11) r.startedAtMs ^= uint64(change);
        if (field == 12) r.finishedAtMs ^= uint64(change);
        if (field == 13) r.gpuMs ^= uint64(change);
        if (field == 14) r.energyMj ^= uint64(change);
        if (field == 15) r.energySource ^= uint8(change);
        if (field == 16) second.r ^= bytes32(change);
        if (field == 17) second.vs ^= bytes32(change);
        vm.expectRevert();
        equivocation(first, second);
        assertBond(250e6, 0, 0);
    }

    /// @dev Else code at the operator's address could disown what its key signed.
    function test_a_provider_that_delegates_is_still_slashed() public {
        (SignedReceipt memory first, SignedReceipt memory second) = twins(3);
        vm.signAndAttachDelegation(address(new FickleWallet()), bob.privateKey);
        vm.prank(stranger);
        escrow.channelId(stranger, stranger, stranger);
        assertEq(bob.addr.code.length, 23, "delegated");
        equivocation(first, second);
        assertSlashed(150e6);
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

    // ---- Leaving does not help ----

    function test_funds_that_are_leaving_are_slashed_even_past_their_time() public {
        requestUnbondAsBob(250e6);
        uint64 leaveAt = uint64(block.timestamp) + UNBOND_DELAY;
        slashTwins(3);
        assertBond(150e6, 150e6, leaveAt);
        skip(10 * UNBOND_DELAY);
        slashTwins(4);
        assertBond(50e6, 50e6, leaveAt);
        assertEq(stake.withdraw(bob.addr), 50e6);
        assertEq(usdc.balanceOf(cold), 50e6);
    }

    function test_what_is_active_goes_before_what_is_leaving() public {
        requestUnbondAsBob(100e6);
        uint64 leaveAt = uint64(block.timestamp) + UNBOND_DELAY;
        slashTwins(3);
        assertBond(150e6, 100e6, leaveAt);
        slashTwins(4);
        assertBond(50e6, 50e6, leaveAt);
        assertEq(stake.activeOf(bob.addr), 0);
    }

    function test_a_slash_that_leaves_nothing_ends_the_withdrawal() public {
        requestUnbondAsBob(250e6);
        for (uint32 i = 3; i < 6; ++i) {
            slashTwins(i);
        }
        assertBond(0, 0, 0);
        skip(UNBOND_DELAY);
        vm.expectRevert(abi.encodeWithSelector(IRowenStake.UnbondNotPending.selector, bob.addr));
        stake.withdraw(bob.addr);
    }

    /// @dev The proof is in the mempool; the provider sees it and does what it can in front of it.
    function testFuzz_no_move_in_front_of_a_proof_saves_the_bond(uint8 moves, uint96 amount) public {
        for (uint256 i = 0; i < 4; ++i) {
            vm.startPrank(bob.addr);
            uint8 move = (moves >> (i * 2)) & 3;
            amount = uint96(bound(amount, 1, 250e6));
            if (move == 0) try stake.requestUnbond(bob.addr, amount) {} catch {}
            if (move == 1) try stake.cancelUnbond(bob.addr) {} catch {}
            if (move == 2) try stake.withdraw(bob.addr) {} catch {}
            if (move == 3) escrow.requestPayout(stranger);
            vm.stopPrank();
        }
        slashTwins(3);
        (uint96 left,,) = stake.bonds(bob.addr);
        assertEq(left, 150e6);
    }

    // ---- Slashing oneself never pays ----

    /// @dev Whatever a provider proves against itself, in whatever order and bond, it ends up poorer than by waiting, and
    /// by at least three times what it gets.
    function testFuzz_slashing_oneself_never_pays(uint96 penalty, uint96 bonded, uint8 offences) public {
        penalty = uint96(bound(penalty, 1, type(uint96).max));
        bonded = uint96(bound(bonded, penalty, type(uint96).max));
        stake = newStake(escrow, UNBOND_DELAY, penalty);
        bondBob(bonded);
        for (uint32 i = 0; i < offences % 8; ++i) {
            (SignedReceipt memory first, SignedReceipt memory second) = twins(i);
            vm.prank(bob.addr);
            try stake.slashEquivocation(alice.addr, bob.addr, session.addr, first, second) {} catch {}
        }
        (uint96 left,,) = stake.bonds(bob.addr);
        uint256 reward = usdc.balanceOf(bob.addr);
        uint256 lost = bonded - left;
        assertEq(reward + stake.burned(), lost);
        assertLe(3 * reward, stake.burned(), "the reward is a third of what is burned at most");
        if (lost != 0) assertLt(left + reward, bonded, "poorer than before");
        if (lost != 0) assertLt(reward, stake.burned());
    }

    /// @dev To copy a report, or to be first with it oneself, moves the reward and saves nothing.
    function test_a_provider_that_reports_itself_first_loses_three_quarters_all_the_same() public {
        (SignedReceipt memory first, SignedReceipt memory second) = twins(3);
        vm.prank(bob.addr);
        stake.slashEquivocation(alice.addr, bob.addr, session.addr, first, second);
        assertEq(usdc.balanceOf(bob.addr), 25e6);
        assertBond(150e6, 0, 0);
        assertEq(stake.burned(), 75e6);
    }

    /// @dev AntSeed: slashing could be called only while the accused was leaving. Here it works whenever there is a bond.
    function testFuzz_antseed_slashing_does_not_wait_for_the_accused_to_unstake(uint32 wait, bool isLeaving) public {
        skip(wait);
        if (isLeaving) requestUnbondAsBob(250e6);
        skip(wait);
        slashTwins(3);
        (uint96 left,,) = stake.bonds(bob.addr);
        assertEq(left, 150e6);
    }

    // ---- Shared vectors ----

    /// @dev Python made these; a third implementation checks them too.
    function test_the_shared_receipts_have_the_shared_digests() public {
        string memory json = vm.readFile("../docs/vectors/receipts.json");
        vm.chainId(vm.parseJsonUint(json, ".domain.chainId"));
        address verifying = vm.parseJsonAddress(json, ".domain.verifyingContract");
        vm.etch(verifying, hex"00");
        vm.mockCall(verifying, abi.encodeCall(IRowenEscrow.unlockDelay, ()), abi.encode(1));
        vm.mockCall(verifying, abi.encodeCall(IRowenEscrow.token, ()), abi.encode(usdc));
        stake = newStake(IRowenEscrow(verifying), UNBOND_DELAY, PENALTY);
        for (uint256 i = 0; i < 11; ++i) {
            string memory path = string.concat(".receipts[", vm.toString(i), "]");
            RowenReceipt memory made =
                abi.decode(vm.parseJsonBytes(json, string.concat(path, ".words")), (RowenReceipt));
            assertEq(stake.receiptDigest(made), vm.parseJsonBytes32(json, string.concat(path, ".digest")));
            assertEq(made.total, vm.parseJsonUint(json, string.concat(path, ".fields.total")));
            assertEq(made.energySource, vm.parseJsonUint(json, string.concat(path, ".fields.energySource")));
        }
    }

    // ---- Tokens that misbehave ----

    function test_a_token_that_calls_back_enters_nothing() public {
        HookToken token = new HookToken();
        escrow = newEscrow(token, UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
        stake = newStake(escrow, UNBOND_DELAY, PENALTY);
        token.mint(address(this), 10 * PENALTY);
        token.approve(address(stake), 10 * PENALTY);
        stake.bond(bob.addr, 5 * PENALTY);
        requestUnbondAsBob(PENALTY);
        skip(UNBOND_DELAY);

        (SignedReceipt memory first, SignedReceipt memory second) = twins(9);
        RowenReceipt memory charged = receipt(9);
        charged.status = FAILED;
        bytes[] memory calls = new bytes[](5);
        calls[0] = abi.encodeCall(stake.withdraw, (bob.addr));
        calls[1] = abi.encodeCall(stake.bond, (bob.addr, 1));
        calls[2] = abi.encodeCall(stake.slashEquivocation, (alice.addr, bob.addr, session.addr, first, second));
        calls[3] = abi.encodeCall(stake.slashBrokenTotal, (alice.addr, bob.addr, session.addr, first, second));
        calls[4] = abi.encodeCall(stake.slashChargedFailure, (alice.addr, bob.addr, session.addr, signed(charged)));
        for (uint32 i = 0; i < calls.length; ++i) {
            for (uint256 from = 0; from < 3; ++from) {
                uint256 clean = vm.snapshotState();
                token.setHook(address(stake), calls[i]);
                if (from == 0) stake.bond(bob.addr, 1);
                else if (from == 1) slashTwins(i);
                else stake.withdraw(bob.addr);
                assertFalse(token.hookSucceeded());
                assertEq(
                    token.hookResult(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
                );
                vm.revertToState(clean);
            }
        }
    }

    /// @dev Some tokens revert on a transfer of 0: the reward for a penalty of 3 units.
    function test_a_reward_that_rounds_to_nothing_does_not_stop_the_slash() public {
        StrictToken token = new StrictToken();
        escrow = newEscrow(IERC20(address(token)), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
        stake = newStake(escrow, UNBOND_DELAY, 3);
        token.mint(address(this), 3);
        token.approve(address(stake), 3);
        stake.bond(bob.addr, 3);
        slashTwins(1);
        assertEq(stake.burned(), 3);
    }

    /// @dev Burned tokens stay here, so no frozen address can stop a slash; a frozen reporter stops only itself.
    function test_a_frozen_reporter_stops_only_itself() public {
        StrictToken token = new StrictToken();
        escrow = newEscrow(IERC20(address(token)), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
        stake = newStake(escrow, UNBOND_DELAY, PENALTY);
        token.mint(address(this), PENALTY);
        token.approve(address(stake), PENALTY);
        stake.bond(bob.addr, PENALTY);
        token.freeze(reporter);
        token.freeze(address(0xdead));
        (SignedReceipt memory first, SignedReceipt memory second) = twins(1);
        vm.expectRevert();
        equivocation(first, second);
        stake.slashEquivocation(alice.addr, bob.addr, session.addr, first, second);
        assertEq(token.balanceOf(address(this)), 25e6);
    }
}
