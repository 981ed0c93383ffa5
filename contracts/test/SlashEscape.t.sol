// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenStake, SignedReceipt} from "../src/interfaces/IRowenStake.sol";
import {SlashingTest} from "./StakeTest.sol";

/// @notice Neither leaving nor reporting oneself saves a bond.
contract SlashEscapeTest is SlashingTest {
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
}
