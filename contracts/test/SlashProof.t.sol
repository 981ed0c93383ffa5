// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenEscrow} from "../src/interfaces/IRowenEscrow.sol";
import {IRowenStake, Receipt as RowenReceipt, SignedReceipt} from "../src/interfaces/IRowenStake.sol";
import {SlashingTest} from "./StakeTest.sol";
import {FickleWallet} from "./Wallets.sol";

/// @notice Whose signatures prove something, and over what.
contract SlashProofTest is SlashingTest {
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
}
