// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SignedReceipt} from "../../src/interfaces/IRowenStake.sol";
import {StakeTest} from "../StakeTest.sol";

/// @notice What each transaction of the stake costs; see `GasTest`.
/// forge-config: default.isolate = true
contract StakeGasTest is StakeTest {
    function setUp() public override {
        vm.skip(!isShipped());
        super.setUp();
    }

    function record(string memory name) private {
        vm.snapshotValue("Gas", name, vm.lastCallGas().gasTotalUsed);
    }

    function test_bonding_and_slashing() public {
        bondFor(stranger, PENALTY);
        usdc.mint(cold, 1000e6);
        usdc.mint(reporter, 1);
        vm.startPrank(cold);
        usdc.approve(address(stake), 300e6);
        stake.bond(bob.addr, 300e6);
        record("bond, new");
        vm.stopPrank();
        (SignedReceipt memory first, SignedReceipt memory second) = twins(3);
        equivocation(first, second);
        (first, second) = twins(4);
        equivocation(first, second);
        record("slashEquivocation");
        requestUnbondAsBob(50e6);
        record("requestUnbond");
        skip(UNBOND_DELAY);
        stake.withdraw(bob.addr);
        record("withdraw");
    }
}
