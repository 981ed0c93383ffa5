// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A voucher and its signature, as one packed row of a claim.
struct ClaimRow {
    address payer;
    uint96 total;
    uint32 receiptCount;
    bytes32 receiptsRoot;
    bytes32 r;
    bytes32 vs;
}

/// @title Packed rows of `RowenEscrow.claim`.
/// @dev A row is `payer 20 | total 12 | receiptCount 4 | receiptsRoot 32 | r 32 | vs 32` bytes, big-endian, with nothing
/// between rows. Packing saves 60 bytes of calldata a row against the ABI's own encoding, and gives each set of rows one
/// encoding only.
library ClaimRows {
    uint256 internal constant ROW_BYTES = 132;

    /// @notice Thrown when the rows are empty or end within a row.
    error BadRowsLength(uint256 length);

    /// @notice The number of rows, at least one.
    function count(bytes calldata rows) internal pure returns (uint256) {
        require(rows.length != 0 && rows.length % ROW_BYTES == 0, BadRowsLength(rows.length));
        return rows.length / ROW_BYTES;
    }

    /// @notice Reads row `index` into `row`.
    /// @dev The caller keeps `index < count(rows)`; then every read lies inside `rows`, and `index * ROW_BYTES`, being
    /// less than the length of the calldata, cannot overflow. Assembly because a checked slice for each of six fields
    /// costs more gas than the row's hashes. Shifts leave no dirty high bits in the narrow fields.
    function read(bytes calldata rows, uint256 index, ClaimRow memory row) internal pure {
        assembly ("memory-safe") {
            let at := add(rows.offset, mul(index, ROW_BYTES))
            mstore(row, shr(96, calldataload(at)))
            mstore(add(row, 0x20), shr(160, calldataload(add(at, 20))))
            mstore(add(row, 0x40), shr(224, calldataload(add(at, 32))))
            mstore(add(row, 0x60), calldataload(add(at, 36)))
            mstore(add(row, 0x80), calldataload(add(at, 68)))
            mstore(add(row, 0xa0), calldataload(add(at, 100)))
        }
    }
}
