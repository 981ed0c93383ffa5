// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Test} from "forge-std/Test.sol";

import {ClaimRows, Voucher} from "../src/libraries/ClaimRows.sol";

/// @notice The assembly of `ClaimRows` against plain Solidity and OpenZeppelin.
contract ClaimRowsTest is Test {
    using ClaimRows for bytes;

    uint256 private constant CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    function read(bytes calldata rows, uint256 index, Voucher memory voucher)
        external
        pure
        returns (uint256 count, Voucher memory, bytes32 r, bytes32 vs)
    {
        count = rows.count();
        (r, vs) = rows.read(index, voucher);
        return (count, voucher, r, vs);
    }

    function testFuzz_a_row_reads_as_it_was_packed(Voucher memory v, bytes32 r, bytes32 vs, uint8 before, uint8 after_)
        public
        view
    {
        (before, after_) = (before % 8, after_ % 8);
        bytes memory row = abi.encodePacked(v.payer, v.total, v.receiptCount, v.receiptsRoot, r, vs);
        bytes memory rows = bytes.concat(filler(before), row, filler(after_));
        // Starts from another voucher, so that a field which is not read shows.
        Voucher memory other = Voucher(v.typeHash, address(1), v.provider, 2, 3, bytes32(uint256(4)));
        (uint256 count, Voucher memory got, bytes32 r_, bytes32 vs_) = this.read(rows, before, other);
        assertEq(count, uint256(before) + 1 + after_);
        assertEq(abi.encode(got), abi.encode(v));
        assertEq(r_, r);
        assertEq(vs_, vs);
    }

    function filler(uint256 count) private pure returns (bytes memory rows) {
        rows = new bytes(count * ClaimRows.ROW_BYTES);
        for (uint256 i = 0; i < rows.length; ++i) {
            rows[i] = 0xff;
        }
    }

    function testFuzz_a_voucher_hashes_as_its_encoding(Voucher memory v) public pure {
        assertEq(ClaimRows.hash(v), keccak256(abi.encode(v)));
    }

    function testFuzz_a_signature_recovers_its_signer(bytes32 digest, uint256 key) public view {
        key = bound(key, 1, CURVE_ORDER - 1);
        (bytes32 r, bytes32 vs) = vm.signCompact(key, digest);
        assertEq(ClaimRows.recover(digest, r, vs), vm.addr(key));
    }

    function testFuzz_any_bytes_recover_as_with_openzeppelin(bytes32 digest, bytes32 r, bytes32 vs) public view {
        (address expected,,) = ECDSA.tryRecover(digest, r, vs);
        assertEq(ClaimRows.recover(digest, r, vs), expected);
    }

    /// @dev Random s seldom lies near the middle of the order; this one always does.
    function testFuzz_s_around_half_the_order_recovers_as_with_openzeppelin(bytes32 digest, uint256 key, int8 offset)
        public
        view
    {
        (bytes32 r,) = vm.signCompact(bound(key, 1, CURVE_ORDER - 1), digest);
        bytes32 vs = bytes32(uint256(int256(CURVE_ORDER / 2) + offset));
        (address expected,,) = ECDSA.tryRecover(digest, r, vs);
        assertEq(ClaimRows.recover(digest, r, vs), expected);
        assertEq(expected == address(0), offset > 0);
    }
}
