// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {GasTest} from "./GasTest.sol";
import {ChannelConfig, IBatchSettlement, VoucherClaim} from "./IBatchSettlement.sol";

/// @notice The same day's work elsewhere: channels claimed before, all of one receiver, each row with its event.
/// forge-config: default.isolate = true
contract ComparisonGasTest is GasTest {
    IBatchSettlement private batch;

    function setUp() public override {
        super.setUp();
        batch = IBatchSettlement(deployCode("BatchSettlement.sol:BatchSettlement"));
        usdc.mint(address(this), type(uint128).max);
        usdc.approve(address(batch), type(uint256).max);
    }

    function keyOf(uint256 index) private pure returns (uint256) {
        return uint256(keccak256(abi.encode("session", index)));
    }

    function configOf(uint256 index) private view returns (ChannelConfig memory) {
        return ChannelConfig({
            payer: address(uint160(uint256(keccak256(abi.encode("payer", index))))),
            payerAuthorizer: vm.addr(keyOf(index)),
            receiver: bob.addr,
            receiverAuthorizer: bob.addr,
            token: address(usdc),
            withdrawDelay: 1 days,
            salt: 0
        });
    }

    function claimsOf(uint256 count, uint128 total) private returns (VoucherClaim[] memory claims) {
        claims = new VoucherClaim[](count);
        for (uint256 i = 0; i < count; ++i) {
            ChannelConfig memory config = configOf(i);
            bytes32 digest = batch.voucherDigest(batch.channelId(config), total);
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf(i), digest);
            claims[i] = VoucherClaim(config, total, abi.encodePacked(r, s, v), total);
        }
    }

    function claimPerRow(uint256 count, string memory name) private {
        for (uint256 i = 0; i < count; ++i) {
            batch.deposit(configOf(i), LOCKED);
        }
        batch.claim(claimsOf(count, 1_234_567));
        VoucherClaim[] memory claims = claimsOf(count, 7_654_321);
        batch.claim(claims);
        vm.snapshotValue("Gas", name, transactionGas() / count);
        assertEq(batch.claimed(bob.addr), count * 7_654_321);
    }

    function test_an_x402_style_claim_of_one() public {
        claimPerRow(1, "x402-style claim, per row of 1");
    }

    function test_an_x402_style_claim_of_ten() public {
        claimPerRow(10, "x402-style claim, per row of 10");
    }

    function test_an_x402_style_claim_of_a_hundred() public {
        claimPerRow(100, "x402-style claim, per row of 100");
    }

    /// @dev Of an approval for exactly that, by a payer who keeps some, into a contract that holds some: the state of `lock`.
    function test_an_x402_style_deposit() public {
        batch.deposit(configOf(0), LOCKED);
        usdc.approve(address(batch), LOCKED);
        batch.deposit(configOf(1), LOCKED);
        record("x402-style deposit, new channel");
    }

    /// @dev To an account that holds some, from one that keeps some.
    function test_an_erc20_transfer() public {
        usdc.mint(bob.addr, 1);
        usdc.transfer(bob.addr, LOCKED);
        record("ERC-20 transfer");
    }
}
