// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The form of ERC-3009's `receiveWithAuthorization` that USDC added (since 2.2) for contract wallets.
/// @dev The token asks the wallet, by ERC-1271, whether the signature is its own.
interface IWalletAuthorization {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}
