// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A session key's promise, field for field what EIP-712 hashes: `typeHash ++ encodeData`.
/// @dev A memory struct of value types is their 32-byte words in order, so its memory *is* that encoding.
struct Voucher {
    bytes32 typeHash;
    address payer;
    address provider;
    uint96 total;
    uint32 receiptCount;
    bytes32 receiptsRoot;
}

/// @title Packed rows of `RowenEscrow.claim`.
/// @dev A row is `payer 20 | total 12 | receiptCount 4 | receiptsRoot 32 | r 32 | vs 32` bytes, big-endian, with nothing
/// between rows. Packing saves 60 bytes of calldata a row against the ABI's own encoding, and gives each set of rows one
/// encoding only.
///
/// Assembly, because a claim has up to 1,200 rows: checked calldata slices, `abi.encode` into ever more memory and the
/// general form of signature recovery together cost 1,400 gas a row more, a tenth of the whole.
library ClaimRows {
    uint256 internal constant ROW_BYTES = 132;

    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256("Voucher(address payer,address provider,uint96 total,uint32 receiptCount,bytes32 receiptsRoot)");

    /// @dev Half the order of secp256k1, rounded down. Of the two signatures (s and n − s) that prove the same thing,
    /// only the lower is accepted.
    uint256 private constant S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Thrown when the rows are empty or end within a row.
    error BadRowsLength(uint256 length);

    /// @notice The number of rows, at least one.
    function count(bytes calldata rows) internal pure returns (uint256) {
        require(rows.length != 0 && rows.length % ROW_BYTES == 0, BadRowsLength(rows.length));
        return rows.length / ROW_BYTES;
    }

    /// @notice Reads row `index` into `voucher`, all but its type hash and provider.
    /// @dev The caller keeps `index < count(rows)`; then every read lies inside `rows`, and `index * ROW_BYTES`, being
    /// less than the length of the calldata, cannot overflow. Shifts leave no dirty high bits in the narrow fields.
    function read(bytes calldata rows, uint256 index, Voucher memory voucher)
        internal
        pure
        returns (bytes32 r, bytes32 vs)
    {
        assembly ("memory-safe") {
            let row := add(rows.offset, mul(index, ROW_BYTES))
            mstore(add(voucher, 0x20), shr(96, calldataload(row)))
            mstore(add(voucher, 0x60), shr(160, calldataload(add(row, 20))))
            mstore(add(voucher, 0x80), shr(224, calldataload(add(row, 32))))
            mstore(add(voucher, 0xa0), calldataload(add(row, 36)))
            r := calldataload(add(row, 68))
            vs := calldataload(add(row, 100))
        }
    }

    /// @notice EIP-712's `hashStruct(voucher)`.
    function hash(Voucher memory voucher) internal pure returns (bytes32 structHash) {
        assembly ("memory-safe") {
            structHash := keccak256(voucher, 0xc0)
        }
    }

    /// @notice Who made the EIP-2098 signature (`r`, `vs`) over `digest`; the zero address if nobody did.
    /// @dev Refuses s above n/2, so that a voucher has one signature. The precompile answers with nothing when it
    /// recovers nothing, and then the zero written before stays.
    function recover(bytes32 digest, bytes32 r, bytes32 vs) internal view returns (address signer) {
        assembly ("memory-safe") {
            let s := shr(1, shl(1, vs))
            if iszero(gt(s, S_MAX)) {
                let input := mload(0x40)
                mstore(input, digest)
                mstore(add(input, 0x20), add(shr(255, vs), 27))
                mstore(add(input, 0x40), r)
                mstore(add(input, 0x60), s)
                mstore(0, 0)
                pop(staticcall(gas(), 1, input, 0x80, 0, 0x20))
                signer := mload(0)
            }
        }
    }
}
