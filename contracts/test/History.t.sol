// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenEscrow, Lock, SkipReason} from "../src/interfaces/IRowenEscrow.sol";
import {Voucher} from "./EscrowTest.sol";
import {Funding} from "./Funding.sol";
import {FickleWallet} from "./Wallets.sol";

/// @notice What went wrong in other payment systems, and does not here.
contract HistoryTest is Funding {
    /// @dev Livepeer protocol #657: a dust deposit, sent just before a winning ticket was redeemed, made it pay the dust
    /// and count as used.
    function test_livepeer_657_a_voucher_is_never_used_up_by_paying_a_part() public {
        lockAsAlice(1e6);
        bytes memory winning = row(5e6);
        lockAsAlice(1);
        assertEq(escrow.claim(bob.addr, winning), 0);
        assertChannel(1e6 + 1, 0, 0);
        lockAsAlice(4e6);
        assertEq(escrow.claim(bob.addr, winning), 5e6);
    }

    /// @dev The same, by a stranger: there is no way to add to a channel but as its payer.
    function test_livepeer_657_a_stranger_s_dust_lands_on_the_stranger_s_channel() public {
        lockAsAlice(5e6);
        lockFrom(stranger, bob.addr, session.addr, MIN_LOCK);
        assertChannel(5e6, 0, 0);
        assertEq(escrow.claim(bob.addr, row(5e6)), 5e6);
        (uint96 locked, uint96 claimed,) = escrow.channels(escrow.channelId(stranger, bob.addr, session.addr));
        assertEq(locked, MIN_LOCK);
        assertEq(claimed, 0);
    }

    /// @dev x402 #2559: one payer's deposit was not there yet, and its row failed the whole batch for everybody.
    function test_x402_2559_a_channel_that_is_not_funded_does_not_block_the_batch() public {
        lockAsAlice(5e6);
        Voucher memory unfunded = voucher(3e6);
        unfunded.payer = stranger;
        bytes memory rows = bytes.concat(sign(unfunded, session.privateKey), row(2e6));
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.RowSkipped(bob.addr, 0, SkipReason.LockExceeded);
        assertEq(escrow.claim(bob.addr, rows), 2e6);

        lockFrom(stranger, bob.addr, session.addr, 3e6);
        assertEq(escrow.claim(bob.addr, rows), 3e6, "the row skipped before pays now, the other not again");
    }

    /// @dev x402 #2901, #3464: a voucher taken late in the withdrawal delay could not be redeemed.
    function testFuzz_x402_2901_and_3464_a_voucher_pays_at_any_moment_before_the_unlock_runs(uint32 wait) public {
        lockAsAlice(5e6);
        requestUnlockAsAlice();
        skip(wait);
        assertEq(escrow.claim(bob.addr, row(5e6)), 5e6);
    }

    /// @dev Raiden #5818: a settlement window counted in blocks was too short. This one is counted in seconds.
    function test_raiden_5818_blocks_do_not_shorten_the_delay() public {
        lockAsAlice(5e6);
        requestUnlockAsAlice();
        vm.roll(block.number + 1_000_000);
        skip(UNLOCK_DELAY - 1);
        vm.expectRevert();
        unlockAlice();
        assertEq(escrow.claim(bob.addr, row(5e6)), 5e6);
    }

    /// @dev AntSeed #745: the signature that funds and the one that spends were kept in one place. Here one key never
    /// signs two kinds of statement that could pass for each other.
    function test_antseed_745_a_release_is_no_voucher() public {
        lockFrom(alice.addr, bob.addr, bob.addr, 5e6);
        bytes32 id = escrow.channelId(alice.addr, bob.addr, bob.addr);
        (bytes32 r, bytes32 vs) = vm.signCompact(bob.privateKey, releaseDigestOf(id, 1e6, 0));
        assertEq(escrow.claim(bob.addr, pack(voucher(1e6), r, vs)), 0);
    }

    /// @dev The same, now that payers sign too: what funds, what leaves and what spends are three types.
    function test_antseed_745_a_lock_signature_spends_nothing_and_a_voucher_funds_nothing() public {
        lockFrom(alice.addr, bob.addr, alice.addr, 5e6);
        Lock memory wanted = lockOf(5e6, 0);
        bytes32[3] memory digests = [
            lockDigestOf(wanted),
            requestUnlockDigestOf(alice.addr, wanted.deadline),
            cancelUnlockDigestOf(alice.addr, 1, wanted.deadline)
        ];
        for (uint256 i = 0; i < digests.length; ++i) {
            (bytes32 r, bytes32 vs) = vm.signCompact(alice.privateKey, digests[i]);
            assertEq(escrow.claim(bob.addr, pack(voucher(5e6), r, vs)), 0);
        }
        bytes memory signature = signDigest(alice, digestOf(voucher(5e6)));
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        escrow.lockFor(wanted, signature);
    }

    /// @dev AntSeed #1052: after a reconnect the same debt was signed again on top. Signing again what was owed, even with
    /// another root, pays nothing twice.
    function test_antseed_1052_signing_the_same_total_again_pays_nothing() public {
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(2e6));
        Voucher memory again = voucher(2e6);
        again.receiptsRoot = keccak256("after the reconnect");
        assertEq(escrow.claim(bob.addr, sign(again, session.privateKey)), 0);
    }

    /// @dev go-livepeer #2016: a redemption that did not happen was booked. A claim tells what it credited, and a row that
    /// did not pay has its own event instead of an error text.
    function test_go_livepeer_2016_a_claim_returns_what_it_credited() public {
        lockAsAlice(5e6);
        assertEq(escrow.claim(bob.addr, bytes.concat(row(2e6), row(9e6))), 2e6);
        assertEq(escrow.claim(bob.addr, bytes.concat(row(2e6), row(9e6))), 0);
    }

    /// @dev go-livepeer #4013: what became of a redemption was guessed from the text of its error. Here a refusal has a type
    /// and values, and a row that does not pay has a reason from an enum.
    function test_go_livepeer_4013_every_refusal_has_a_type_and_values() public {
        lockAsAlice(5e6);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.RowSkipped(bob.addr, 0, SkipReason.NotIncreasing);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.RowSkipped(bob.addr, 1, SkipReason.LockExceeded);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.RowSkipped(bob.addr, 2, SkipReason.BadSignature);
        escrow.claim(bob.addr, bytes.concat(row(0), row(9e6), pack(voucher(1e6), 0, 0)));
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.NothingToSweep.selector, bob.addr));
        escrow.sweep(bob.addr);
    }

    /// @dev Morpheus #885: a session was priced by its duration, which one side could stretch. Here time costs nothing: a
    /// channel owes what its highest voucher says, for however long it stays open.
    function testFuzz_morpheus_885_time_alone_costs_nobody_anything(uint32 wait) public {
        lockAsAlice(5e6);
        escrow.claim(bob.addr, row(2e6));
        skip(wait);
        assertEq(escrow.claim(bob.addr, row(2e6)), 0);
        assertChannel(5e6, 2e6, 0);
        requestUnlockAsAlice();
        skip(uint256(UNLOCK_DELAY) + wait);
        unlockAlice();
        assertEq(usdc.balanceOf(alice.addr), 3e6);
    }

    /// @dev A signature check that looks at code first voids a voucher once its signer delegates.
    function test_a_voucher_pays_after_the_payer_s_wallet_delegates() public {
        lockAsAlice(5e6);
        bytes memory signed = row(2e6);
        vm.signAndAttachDelegation(address(new FickleWallet()), alice.privateKey);
        vm.prank(stranger);
        escrow.channelId(stranger, stranger, stranger);
        assertGt(alice.addr.code.length, 0, "delegated");
        assertEq(escrow.claim(bob.addr, signed), 2e6);
    }

    function test_a_voucher_pays_after_the_session_key_delegates() public {
        lockAsAlice(5e6);
        bytes memory signed = row(2e6);
        vm.signAndAttachDelegation(address(new FickleWallet()), session.privateKey);
        vm.prank(stranger);
        escrow.channelId(stranger, stranger, stranger);
        assertGt(session.addr.code.length, 0, "delegated");
        assertEq(escrow.claim(bob.addr, signed), 2e6);
    }

    function test_a_release_counts_after_the_provider_delegates() public {
        lockAsAlice(5e6);
        vm.signAndAttachDelegation(address(new FickleWallet()), bob.privateKey);
        vm.prank(stranger);
        escrow.channelId(stranger, stranger, stranger);
        assertGt(bob.addr.code.length, 0, "delegated");
        releaseAlice(1e6, uint64(block.timestamp));
        assertChannel(1e6, 0, 0);
    }

    function test_a_contract_wallet_funds_and_leaves_but_cannot_void() public {
        address wallet = address(new FickleWallet());
        lockFrom(wallet, bob.addr, session.addr, 5e6);
        Voucher memory v = voucher(2e6);
        v.payer = wallet;
        assertEq(escrow.claim(bob.addr, sign(v, session.privateKey)), 2e6);
        vm.prank(wallet);
        escrow.requestUnlock(bob.addr, session.addr);
        skip(UNLOCK_DELAY);
        escrow.unlock(wallet, bob.addr, session.addr);
        assertEq(usdc.balanceOf(wallet), 3e6);
    }
}
