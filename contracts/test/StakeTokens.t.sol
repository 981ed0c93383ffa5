// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {RowenStake} from "../src/RowenStake.sol";
import {IRowenStake, Receipt as RowenReceipt, SignedReceipt} from "../src/interfaces/IRowenStake.sol";
import {SlashingTest} from "./StakeTest.sol";
import {FalseToken, FeeToken, HookToken, PlainToken, StrictToken} from "./Tokens.sol";

/// @notice Tokens that misbehave.
contract StakeTokensTest is SlashingTest {
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
