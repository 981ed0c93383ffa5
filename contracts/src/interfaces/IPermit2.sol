// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What the escrow calls of Permit2, the one deployment of it that stands at the same address on every chain.
/// @dev Source: https://docs.uniswap.org/contracts/permit2/reference/signature-transfer
interface IPermit2 {
    /// @notice A token and the most that may be moved of it, in its smallest unit.
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    /// @param nonce Any number the owner has not used; Permit2 keeps them in a bitmap, so they need no order.
    /// @param deadline Unix seconds; the last at which the permit is good.
    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    /// @notice Where the tokens go and how many of them.
    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    /// @notice Moves the owner's tokens, if the owner signed the permit for the caller, together with `witness`.
    /// @param witness The EIP-712 struct hash of what the caller wants signed besides.
    /// @param witnessTypeString The type, as it continues Permit2's own: `Type name)` and every struct used, in
    /// alphabetical order, `TokenPermissions` among them.
    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external;
}
