// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Voucher} from "../EscrowTest.sol";
import {GasTest} from "./GasTest.sol";

/// forge-config: default.isolate = true
contract ClaimGasTest is GasTest {
    /// @dev EIP-7623: the least a transaction costs is 21,000 and 10 gas a zero byte, 40 a nonzero one.
    function calldataFloor(bytes memory data) private pure returns (uint256) {
        uint256 tokens;
        for (uint256 i = 0; i < data.length; ++i) {
            tokens += data[i] == 0 ? 1 : 4;
        }
        return 21_000 + 10 * tokens;
    }

    function rowsOf(uint256 count, uint96 total) private view returns (bytes memory rows) {
        bytes[] memory parts = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            Voucher memory v = Voucher({
                payer: address(uint160(uint256(keccak256(abi.encode("payer", i))))),
                provider: bob.addr,
                total: total,
                receiptCount: uint32(1000 + i),
                receiptsRoot: keccak256(abi.encode("root", i, total))
            });
            parts[i] = sign(v, uint256(keccak256(abi.encode("session", i))));
        }
        for (uint256 start = 0; start < count; start += 50) {
            bytes memory some;
            for (uint256 i = start; i < count && i < start + 50; ++i) {
                some = bytes.concat(some, parts[i]);
            }
            rows = bytes.concat(rows, some);
        }
    }

    /// @dev Steady state: each channel was claimed before, so `claimed` goes from one nonzero value to another.
    function claimPerRow(uint256 count, string memory name) private returns (uint256 perRow) {
        for (uint256 i = 0; i < count; ++i) {
            address payer = address(uint160(uint256(keccak256(abi.encode("payer", i)))));
            lockFrom(payer, bob.addr, vm.addr(uint256(keccak256(abi.encode("session", i)))), LOCKED);
        }
        escrow.claim(bob.addr, rowsOf(count, 1_234_567));
        bytes memory rows = rowsOf(count, 7_654_321);
        uint256 credited = escrow.claim(bob.addr, rows);

        uint256 gas_ = transactionGas();
        assertEq(credited, count * (7_654_321 - 1_234_567), "every row paid");
        assertGt(gas_, calldataFloor(abi.encodeCall(escrow.claim, (bob.addr, rows))), "EIP-7623 floor binds");
        assertLt(gas_, 16_777_216, "EIP-7825 cap on a transaction");
        perRow = gas_ / count;
        vm.snapshotValue("Gas", name, perRow);
        if (count == 1200) vm.snapshotValue("Gas", "claim, 1200 rows in one transaction", gas_);
    }

    function test_a_claim_of_one_row() public {
        claimPerRow(1, "claim, per row of 1");
    }

    function test_a_claim_of_ten_rows() public {
        claimPerRow(10, "claim, per row of 10");
    }

    function test_a_claim_of_a_hundred_rows_stays_under_14_500_a_row() public {
        assertLe(claimPerRow(100, "claim, per row of 100"), 14_500);
    }

    /// @dev EIP-7825's cap is checked for every size.
    function test_a_claim_of_1_200_rows_fits_into_one_transaction() public {
        claimPerRow(1200, "claim, per row of 1200");
    }

    function test_a_claim_of_a_thousand_rows_stays_under_14_200_a_row() public {
        assertLe(claimPerRow(1000, "claim, per row of 1000"), 14_200);
    }
}
