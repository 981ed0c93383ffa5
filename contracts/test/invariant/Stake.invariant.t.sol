// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RowenStake} from "../../src/RowenStake.sol";
import {EscrowTest} from "../EscrowTest.sol";
import {Actors} from "./Actors.sol";
import {StakeBook, Stakes} from "./Stakes.sol";

/// @notice The sentences of S1 … S12 are in the README beside this file.
contract StakeInvariants is EscrowTest {
    RowenStake private stake;
    Stakes private stakes;

    function setUp() public override {
        super.setUp();
        stake = newStake(escrow, 7 days, 100e6);
        stakes = new Stakes(stake, usdc, domain);
        bytes4[] memory actions = new bytes4[](11);
        actions[0] = Stakes.bond.selector;
        actions[1] = Stakes.requestUnbond.selector;
        actions[2] = Stakes.cancelUnbond.selector;
        actions[3] = Stakes.withdraw.selector;
        actions[4] = Stakes.prove.selector;
        actions[5] = Stakes.accuse.selector;
        actions[6] = Stakes.donate.selector;
        actions[7] = Actors.pass.selector;
        // Twice as often: without bonds and proofs the others have nothing to do.
        actions[8] = Stakes.bond.selector;
        actions[9] = Stakes.prove.selector;
        actions[10] = Actors.pass.selector;
        targetContract(address(stakes));
        targetSelector(FuzzSelector(address(stakes), actions));
    }

    /// @dev One campaign for all: each would make the same calls.
    function invariant_the_books_balance() public view {
        uint256 held = stakes.burned() + stakes.donated();
        assertEq(stake.burned(), stakes.burned(), "S2");
        for (uint256 i = 0; i < stakes.PROVIDERS(); ++i) {
            held += checkedProvider(i);
        }
        assertEq(usdc.balanceOf(address(stake)), held, "S1");
    }

    function checkedProvider(uint256 index) private view returns (uint256) {
        (StakeBook memory account, address provider) = stakes.accountAt(index);
        (uint96 amount, uint96 leaving, uint64 leaveAt) = stake.bonds(provider);
        assertEq(amount, account.bonded, "S3");
        assertEq(leaving, account.leaving, "S4");
        assertEq(leaveAt, account.leaveAt, "S4");
        assertLe(leaving, amount, "S5");
        assertEq(leaving == 0, leaveAt == 0, "S6");
        assertEq(stake.activeOf(provider), amount - leaving, "S7");
        assertEq(account.withdrawn + account.slashed + amount, account.paidIn, "S8");
        assertLe(3 * account.earnedByItself, account.slashed - account.earnedByItself, "S9");
        return amount;
    }
}
