// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EscrowTest} from "./EscrowTest.sol";

/// @notice Values at an edge that no other test happens to use, each found by a mutant that nothing else noticed.
contract BoundariesTest is EscrowTest {
    function test_a_credit_of_a_single_unit_follows_the_payout_address() public {
        lockAsAlice(1e6);
        escrow.claim(bob.addr, row(1));
        address cold = makeAddr("bob's cold address");
        vm.prank(bob.addr);
        escrow.requestPayout(cold);
        assertEq(escrow.sweep(bob.addr), 1);
        assertEq(usdc.balanceOf(cold), 1);
    }
}
