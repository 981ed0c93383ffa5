// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {ChannelConfig, IBatchSettlement, VoucherClaim} from "./IBatchSettlement.sol";

/// @notice A batch claim in the style of x402's `batch-settlement`, written anew after its published types, to have
/// something to compare with that was compiled and measured the same way. It is no part of Rowen.
/// @dev Kept as lean as its shape allows: the ABI's own encoding of each channel and signature, two EIP-712 hashes a row
/// (the channel, the voucher), all or nothing, one sum for the receiver at the end, and an event a row.
contract BatchSettlement is IBatchSettlement, EIP712("x402 Batch Settlement", "1") {
    using SafeERC20 for IERC20;

    struct Balance {
        uint128 balance;
        uint128 totalClaimed;
    }

    bytes32 private constant CONFIG_TYPEHASH = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 private constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");

    mapping(bytes32 id => Balance) public channels;
    mapping(address receiver => uint256) public claimed;

    event Claimed(bytes32 indexed channelId, address indexed sender, uint128 claimAmount, uint128 newTotalClaimed);

    error ReceiverMismatch(address expected, address given);
    error SignerMismatch(address expected, address recovered);
    error AmountOutOfRange(uint128 totalClaimed, uint128 maxClaimable, uint128 balance);

    function deposit(ChannelConfig calldata config, uint128 amount) external {
        channels[channelId(config)].balance += amount;
        IERC20(config.token).safeTransferFrom(msg.sender, address(this), amount);
    }

    function claim(VoucherClaim[] calldata claims) external {
        address receiver = claims[0].channel.receiver;
        uint256 sum;
        for (uint256 i = 0; i < claims.length; ++i) {
            require(claims[i].channel.receiver == receiver, ReceiverMismatch(receiver, claims[i].channel.receiver));
            sum += _claim(claims[i]);
        }
        claimed[receiver] += sum;
    }

    function _claim(VoucherClaim calldata one) private returns (uint128 amount) {
        bytes32 id = channelId(one.channel);
        bytes32 digest = voucherDigest(id, one.maxClaimableAmount);
        address recovered = ECDSA.recoverCalldata(digest, one.signature);
        require(recovered == one.channel.payerAuthorizer, SignerMismatch(one.channel.payerAuthorizer, recovered));
        Balance memory held = channels[id];
        uint128 total = one.totalClaimed;
        require(
            total > held.totalClaimed && total <= one.maxClaimableAmount && total <= held.balance,
            AmountOutOfRange(total, one.maxClaimableAmount, held.balance)
        );
        amount = total - held.totalClaimed;
        channels[id].totalClaimed = total;
        emit Claimed(id, msg.sender, amount, total);
    }

    function channelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CONFIG_TYPEHASH, config)));
    }

    function voucherDigest(bytes32 id, uint128 maxClaimableAmount) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, id, maxClaimableAmount)));
    }
}
