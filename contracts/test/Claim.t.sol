// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Test.sol";

import {IRowenEscrow, SkipReason} from "../src/interfaces/IRowenEscrow.sol";
import {ClaimRows} from "../src/libraries/ClaimRows.sol";
import {EscrowTest, Voucher} from "./EscrowTest.sol";

contract ClaimTest is EscrowTest {
    uint256 private constant CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    function setUp() public override {
        super.setUp();
        lockAsAlice(5e6);
    }

    function expectSkip(uint256 index, SkipReason reason) private {
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.RowSkipped(bob.addr, index, reason);
    }

    function expectClaimed(Voucher memory v, address signer) private {
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.Claimed(v.provider, v.payer, signer, v.total, v.receiptCount, v.receiptsRoot);
    }

    // ---- What pays ----

    function test_a_claim_credits_the_provider_whoever_sends_it() public {
        expectClaimed(voucher(2e6), session.addr);
        vm.prank(stranger);
        assertEq(escrow.claim(bob.addr, row(2e6)), 2e6);
        assertChannel(5e6, 2e6, 0);
        assertEq(escrow.creditOf(bob.addr), 2e6);
        assertEq(escrow.creditOf(stranger), 0);
        assertEq(usdc.balanceOf(address(escrow)), 5e6);
    }

    function test_vouchers_are_cumulative() public {
        escrow.claim(bob.addr, row(2e6));
        assertEq(escrow.claim(bob.addr, row(3e6)), 1e6);
        assertEq(escrow.creditOf(bob.addr), 3e6);
    }

    function test_rising_totals_of_one_channel_pay_in_one_claim() public {
        assertEq(escrow.claim(bob.addr, bytes.concat(row(1e6), row(2e6), row(5e6))), 5e6);
        assertChannel(5e6, 5e6, 0);
    }

    function test_one_claim_pays_many_payers() public {
        bytes memory rows;
        for (uint256 i = 1; i <= 20; ++i) {
            Vm.Wallet memory key = vm.createWallet(i);
            address payer = address(uint160(0x1000 + i));
            lockFrom(payer, bob.addr, key.addr, MIN_LOCK);
            rows = bytes.concat(rows, sign(Voucher(payer, bob.addr, uint96(i), 1, bytes32(i)), key.privateKey));
        }
        assertEq(escrow.claim(bob.addr, rows), 210);
    }

    function test_the_greatest_values_of_every_field_pay() public {
        lockFrom(address(type(uint160).max), bob.addr, session.addr, type(uint96).max);
        Voucher memory v = Voucher(
            address(type(uint160).max), bob.addr, type(uint96).max, type(uint32).max, bytes32(type(uint256).max)
        );
        expectClaimed(v, session.addr);
        assertEq(escrow.claim(bob.addr, sign(v, session.privateKey)), type(uint96).max);
    }

    function test_a_claim_leaves_a_pending_unlock_as_it_is() public {
        requestUnlockAsAlice();
        escrow.claim(bob.addr, row(2e6));
        assertChannel(5e6, 2e6, uint64(block.timestamp) + UNLOCK_DELAY);
    }

    // ---- What is skipped ----

    function test_a_replayed_voucher_pays_nothing() public {
        escrow.claim(bob.addr, row(2e6));
        bytes32 accumulator = escrow.accumulatorOf(bob.addr);
        expectSkip(0, SkipReason.NotIncreasing);
        assertEq(escrow.claim(bob.addr, row(2e6)), 0);
        assertEq(escrow.accumulatorOf(bob.addr), accumulator);
    }

    function test_falling_totals_pay_only_the_first() public {
        expectSkip(1, SkipReason.NotIncreasing);
        assertEq(escrow.claim(bob.addr, bytes.concat(row(2e6), row(1e6))), 2e6);
    }

    function test_a_total_above_the_lock_pays_nothing_and_stays_claimable() public {
        expectSkip(0, SkipReason.LockExceeded);
        assertEq(escrow.claim(bob.addr, row(5e6 + 1)), 0);
        assertChannel(5e6, 0, 0);
        lockAsAlice(1);
        assertEq(escrow.claim(bob.addr, row(5e6 + 1)), 5e6 + 1);
    }

    function test_a_row_nobody_signed_is_a_bad_signature() public {
        bytes memory unsigned = pack(voucher(1), 0, 0);
        expectSkip(1, SkipReason.BadSignature);
        assertEq(escrow.claim(bob.addr, bytes.concat(row(1e6), unsigned, row(2e6))), 2e6);
    }

    function test_a_stranger_s_signature_lands_on_an_empty_channel() public {
        expectSkip(0, SkipReason.LockExceeded);
        escrow.claim(bob.addr, sign(voucher(1e6), alice.privateKey));
    }

    function test_a_voucher_for_another_provider_pays_neither() public {
        Voucher memory v = voucher(1e6);
        v.provider = stranger;
        assertEq(escrow.claim(bob.addr, sign(v, session.privateKey)), 0);
        assertEq(escrow.claim(stranger, row(1e6)), 0);
    }

    function test_a_voucher_for_another_escrow_or_chain_pays_nothing() public {
        domain = domainOf(address(usdc), block.chainid);
        assertEq(escrow.claim(bob.addr, row(1e6)), 0);
        domain = domainOf(address(escrow), block.chainid + 1);
        assertEq(escrow.claim(bob.addr, row(1e6)), 0);
    }

    function test_rows_must_be_whole_and_some() public {
        vm.expectRevert(abi.encodeWithSelector(ClaimRows.BadRowsLength.selector, 0));
        escrow.claim(bob.addr, "");
        bytes memory long = bytes.concat(row(1e6), hex"00");
        vm.expectRevert(abi.encodeWithSelector(ClaimRows.BadRowsLength.selector, 133));
        escrow.claim(bob.addr, long);
    }

    /// @dev (r, s, v) and (r, n − s, the other v) prove the same. EIP-2098 has no room for most of the upper half, but for
    /// some of it: s between n/2 and 2^255.
    function test_the_upper_of_two_equal_signatures_is_refused_and_the_lower_pays() public {
        (bytes32 r,) = vm.signCompact(session.privateKey, digestOf(voucher(1e6)));
        uint256 high = CURVE_ORDER / 2 + 1;
        address signer = ecrecover(digestOf(voucher(1e6)), 27, r, bytes32(high));
        assertNotEq(signer, address(0));
        lockFrom(alice.addr, bob.addr, signer, 5e6);

        expectSkip(0, SkipReason.BadSignature);
        assertEq(escrow.claim(bob.addr, pack(voucher(1e6), r, bytes32(high))), 0);
        bytes32 low = bytes32((CURVE_ORDER - high) | (uint256(1) << 255));
        assertEq(escrow.claim(bob.addr, pack(voucher(1e6), r, low)), 1e6);
    }

    function test_the_greatest_s_that_can_be_written_is_refused() public {
        (bytes32 r,) = vm.signCompact(session.privateKey, digestOf(voucher(1e6)));
        expectSkip(0, SkipReason.BadSignature);
        escrow.claim(bob.addr, pack(voucher(1e6), r, bytes32(type(uint256).max >> 1)));
    }

    /// @dev With too little gas for a signature check the whole claim fails; it never passes over a good row.
    function testFuzz_a_claim_short_of_gas_fails_rather_than_skips(uint256 gas_) public {
        bytes memory rows = row(2e6);
        gas_ = bound(gas_, 1000, 80_000);
        try escrow.claim{gas: gas_}(bob.addr, rows) returns (uint256 credited) {
            assertEq(credited, 2e6);
        } catch {
            assertChannel(5e6, 0, 0);
        }
    }

    // ---- The accumulator ----

    function test_the_accumulator_chains_the_digests_of_what_paid() public {
        assertEq(escrow.accumulatorOf(bob.addr), 0);
        escrow.claim(bob.addr, bytes.concat(row(1e6), row(1e6), row(2e6), row(9e6), row(4e6)));
        bytes32 one = keccak256(bytes.concat(digestOf(voucher(1e6)), bytes32(0)));
        bytes32 two = keccak256(bytes.concat(digestOf(voucher(2e6)), one));
        bytes32 four = keccak256(bytes.concat(digestOf(voucher(4e6)), two));
        assertEq(escrow.accumulatorOf(bob.addr), four);

        escrow.claim(bob.addr, row(5e6));
        assertEq(escrow.accumulatorOf(bob.addr), keccak256(bytes.concat(digestOf(voucher(5e6)), four)));
    }

    function test_rows_that_do_not_pay_leave_the_accumulator_alone() public {
        escrow.claim(bob.addr, row(2e6));
        bytes32 before = escrow.accumulatorOf(bob.addr);
        escrow.claim(
            bob.addr,
            bytes.concat(row(0), row(1e6), row(2e6), row(9e6), pack(voucher(3e6), 0, 0), sign(voucher(3e6), 0xbad))
        );
        assertEq(escrow.accumulatorOf(bob.addr), before);
        assertEq(escrow.creditOf(bob.addr), 2e6);
    }

    /// @dev What an auditor must know: an entry says who paid and for which promise, not that there was work. See THREATMODEL.md.
    function test_whoever_pays_adds_to_the_accumulator_what_the_provider_never_saw() public {
        escrow.claim(bob.addr, row(2e6));
        bytes32 before = escrow.accumulatorOf(bob.addr);
        lockFrom(stranger, bob.addr, alice.addr, MIN_LOCK);
        Voucher memory forged = Voucher(stranger, bob.addr, 1, 9, keccak256("receipts that never were"));
        bytes memory rows = sign(forged, alice.privateKey);
        vm.prank(stranger);
        assertEq(escrow.claim(bob.addr, rows), 1);
        assertEq(escrow.creditOf(bob.addr), 2e6 + 1);
        assertEq(escrow.accumulatorOf(bob.addr), keccak256(bytes.concat(digestOf(forged), before)));
    }

    // ---- Fuzz ----

    function testFuzz_a_signed_voucher_pays_exactly_the_rise(
        uint256 key,
        address payer,
        uint96 locked,
        uint96 first,
        uint96 second,
        uint32 receiptCount,
        bytes32 receiptsRoot
    ) public {
        if (payer == address(0) || payer == address(escrow) || payer == address(usdc)) payer = alice.addr;
        key = bound(key, 1, CURVE_ORDER - 1);
        locked = uint96(bound(locked, MIN_LOCK, type(uint96).max));
        lockFrom(payer, bob.addr, vm.addr(key), locked);
        Voucher memory v = Voucher(payer, bob.addr, first, receiptCount, receiptsRoot);
        uint256 paid = first <= locked ? first : 0;
        assertEq(escrow.claim(bob.addr, sign(v, key)), paid, "first");
        v.total = second;
        assertEq(escrow.claim(bob.addr, sign(v, key)), second > paid && second <= locked ? second - paid : 0, "second");
    }

    /// @dev Each field is under the signature.
    function testFuzz_a_voucher_with_one_bit_changed_never_pays(uint256 bit) public {
        bytes memory changed = row(2e6);
        bit = bound(bit, 0, changed.length * 8 - 1);
        changed[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        assertEq(escrow.claim(bob.addr, changed), 0);
        assertChannel(5e6, 0, 0);
        assertEq(escrow.claim(bob.addr, row(2e6)), 2e6);
    }

    function testFuzz_a_voucher_with_one_field_replaced_never_pays(uint256 field, uint256 value) public {
        (bytes32 r, bytes32 vs) = vm.signCompact(session.privateKey, digestOf(voucher(2e6)));
        Voucher memory v = voucher(2e6);
        field = bound(field, 0, 5);
        if (field == 0) v.payer = address(uint160(value));
        if (field == 1) v.total = uint96(bound(value, 0, 5e6));
        if (field == 2) v.receiptCount = uint32(value);
        if (field == 3) v.receiptsRoot = bytes32(value);
        if (field == 4) r = bytes32(value);
        if (field == 5) vs = bytes32(value);
        bytes memory changed = pack(v, r, vs);
        // The field may have been given the value that it had.
        if (keccak256(changed) == keccak256(row(2e6))) changed[0] ^= 0x01;
        assertEq(escrow.claim(bob.addr, changed), 0);
        assertChannel(5e6, 0, 0);
    }

    function testFuzz_rows_of_any_bytes_take_nothing(bytes memory rows) public {
        uint256 whole = rows.length - rows.length % 132;
        if (whole != rows.length || rows.length == 0) {
            vm.expectRevert(abi.encodeWithSelector(ClaimRows.BadRowsLength.selector, rows.length));
            escrow.claim(bob.addr, rows);
        }
        if (whole == 0) return;
        assembly ("memory-safe") {
            mstore(rows, whole)
        }
        assertEq(escrow.claim(bob.addr, rows), 0);
        assertEq(escrow.accumulatorOf(bob.addr), 0);
    }

    function testFuzz_garbage_between_rows_costs_the_good_ones_nothing(uint256 seed, uint8 good) public {
        uint256 count = bound(good, 1, 8);
        bytes memory rows;
        for (uint96 i = 1; i <= count; ++i) {
            for (uint256 j = 0; j < uint256(keccak256(abi.encode(seed, i))) % 3; ++j) {
                rows = bytes.concat(rows, garbage(uint256(keccak256(abi.encode(seed, i, j)))));
            }
            rows = bytes.concat(rows, row(i * 1e5));
        }
        assertEq(escrow.claim(bob.addr, rows), count * 1e5);
    }

    function garbage(uint256 seed) private pure returns (bytes memory out) {
        for (uint256 i = 0; i < 4; ++i) {
            out = bytes.concat(out, keccak256(abi.encode(seed, i)));
        }
        return bytes.concat(out, bytes4(keccak256(abi.encode(seed))));
    }

    /// @dev However the same vouchers are split over claims, ordered and repeated, the highest decides what was paid.
    function testFuzz_the_highest_voucher_decides_whatever_the_order(uint96[10] memory totals, uint256 split) public {
        bytes memory front;
        bytes memory back;
        uint96 highest;
        for (uint256 i = 0; i < totals.length; ++i) {
            uint96 total = uint96(bound(totals[i], 1, 5e6));
            if (total > highest) highest = total;
            if (i < split % totals.length) front = bytes.concat(front, row(total));
            else back = bytes.concat(back, row(total));
        }
        uint256 credited = escrow.claim(bob.addr, back);
        if (front.length != 0) credited += escrow.claim(bob.addr, front);
        assertEq(credited, highest);
        assertChannel(5e6, highest, 0);
    }
}
