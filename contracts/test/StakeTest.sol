// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Test.sol";

import {RowenStake} from "../src/RowenStake.sol";
// forge-std has a Receipt of its own.
import {Offence, Receipt as RowenReceipt, SignedReceipt} from "../src/interfaces/IRowenStake.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {Typed} from "./Typed.sol";

/// @notice A stake beside the escrow, and receipts with defaults.
abstract contract StakeTest is EscrowTest {
    uint64 internal constant UNBOND_DELAY = 7 days;
    uint96 internal constant PENALTY = 100e6;
    uint8 internal constant FAILED = 4;

    RowenStake internal stake;
    address internal cold = makeAddr("bob's cold address");
    address internal reporter = makeAddr("a reporter");

    function setUp() public virtual override {
        super.setUp();
        stake = newStake(escrow, UNBOND_DELAY, PENALTY);
        vm.prank(bob.addr);
        escrow.requestPayout(cold);
    }

    // ---- Receipts ----

    /// @dev Bob's receipt on Alice's channel: 10 units of money each.
    function receipt(uint32 sequence) internal view returns (RowenReceipt memory made) {
        made.channelId = aliceId();
        made.sequence = sequence;
        made.orderHash = keccak256(abi.encode("order", sequence));
        made.status = 1;
        made.inputUnits = 30;
        made.outputUnits = 44;
        made.amount = 10;
        made.total = 10 * (uint96(sequence) + 1);
        made.startedAtMs = 1_800_000_000_000;
        made.finishedAtMs = 1_800_000_001_000;
    }

    function receiptDigestOf(RowenReceipt memory made) internal view returns (bytes32) {
        return Typed.receipt(domain, made);
    }

    function signReceipt(RowenReceipt memory made, uint256 key) internal view returns (SignedReceipt memory) {
        (bytes32 r, bytes32 vs) = vm.signCompact(key, receiptDigestOf(made));
        return SignedReceipt(made, r, vs);
    }

    function signed(RowenReceipt memory made) internal view returns (SignedReceipt memory) {
        return signReceipt(made, bob.privateKey);
    }

    /// @dev Two receipts of one sequence, told apart by what was answered.
    function twins(uint32 sequence) internal view returns (SignedReceipt memory, SignedReceipt memory) {
        RowenReceipt memory other = receipt(sequence);
        other.outputHash = keccak256("another answer");
        return (signed(receipt(sequence)), signed(other));
    }

    // ---- Doings ----

    function bondFor(address provider, uint96 amount) internal {
        usdc.mint(cold, amount);
        vm.startPrank(cold);
        usdc.approve(address(stake), amount);
        stake.bond(provider, amount);
        vm.stopPrank();
    }

    function bondBob(uint96 amount) internal {
        bondFor(bob.addr, amount);
    }

    function requestUnbondAsBob(uint96 amount) internal {
        vm.prank(bob.addr);
        stake.requestUnbond(bob.addr, amount);
    }

    function equivocation(SignedReceipt memory first, SignedReceipt memory second) internal {
        vm.prank(reporter);
        stake.slashEquivocation(alice.addr, bob.addr, session.addr, first, second);
    }

    function slashTwins(uint32 sequence) internal {
        (SignedReceipt memory first, SignedReceipt memory second) = twins(sequence);
        equivocation(first, second);
    }

    function brokenTotal(SignedReceipt memory first, SignedReceipt memory second) internal {
        vm.prank(reporter);
        stake.slashBrokenTotal(alice.addr, bob.addr, session.addr, first, second);
    }

    function chargedFailure(SignedReceipt memory charged) internal {
        vm.prank(reporter);
        stake.slashChargedFailure(alice.addr, bob.addr, session.addr, charged);
    }

    // ---- Readings ----

    function assertBond(uint96 amount, uint96 leaving, uint64 leaveAt) internal view {
        (uint96 amount_, uint96 leaving_, uint64 leaveAt_) = stake.bonds(bob.addr);
        assertEq(amount_, amount, "amount");
        assertEq(leaving_, leaving, "leaving");
        assertEq(leaveAt_, leaveAt, "leaveAt");
    }

    function paidForTwins(uint32 sequence) internal view returns (uint96) {
        return stake.paidFor(bob.addr, Offence.Equivocation, aliceId(), sequence);
    }
}

/// @notice A bond of 250 to be slashed, and nothing else in the stake.
abstract contract SlashingTest is StakeTest {
    function setUp() public virtual override {
        super.setUp();
        bondBob(250e6);
    }

    function assertSlashed(uint96 left) internal view {
        assertBond(left, 0, 0);
        assertEq(usdc.balanceOf(reporter) + stake.burned() + left, 250e6);
        assertEq(usdc.balanceOf(address(stake)), left + stake.burned());
    }
}
