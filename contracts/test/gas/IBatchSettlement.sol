// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What names a channel there.
struct ChannelConfig {
    address payer;
    address payerAuthorizer;
    address receiver;
    address receiverAuthorizer;
    address token;
    uint40 withdrawDelay;
    bytes32 salt;
}

struct VoucherClaim {
    ChannelConfig channel;
    uint128 maxClaimableAmount;
    bytes signature;
    uint128 totalClaimed;
}

/// @notice See `BatchSettlement`, which is compiled by another way than the tests: the way of what is shipped.
interface IBatchSettlement {
    function deposit(ChannelConfig calldata config, uint128 amount) external;
    function claim(VoucherClaim[] calldata claims) external;
    function claimed(address receiver) external view returns (uint256);
    function channelId(ChannelConfig calldata config) external view returns (bytes32);
    function voucherDigest(bytes32 id, uint128 maxClaimableAmount) external view returns (bytes32);
}
