// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenEscrow} from "../src/interfaces/IRowenEscrow.sol";
import {IRowenStake} from "../src/interfaces/IRowenStake.sol";
import {StakeTest} from "./StakeTest.sol";

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
}
