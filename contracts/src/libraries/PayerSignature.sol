// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Whether a payer signed: by key, by contract wallet, or by a wallet still to be deployed.
///
/// @notice Used where a payer lets somebody else send its transaction. Never for vouchers: see `IRowenEscrow`.
///
/// @dev **The key comes first, then the code.** An account that took on code through EIP-7702 still has its key, and the
/// key can send any transaction for it, replace the code and drop it. So accepting the key's signature gives nobody a
/// power they lack, while asking the code first (as OpenZeppelin's and Solady's checkers do) voids what the key signed
/// before it delegated, and lets code that was taken on carelessly stand in its owner's way out. A wallet that wants to
/// retire its key by delegating cannot do so here, as it cannot anywhere on the chain.
///
/// Then the code is asked, so that modules of such an account (passkeys, guardians) work as well. Code that says yes to
/// everything gives its account away; but it could do that without any signature.
///
/// Nobody knows the key of a contract's address, so for contract wallets the first step never succeeds.
library PayerSignature {
    /// @dev "The signature ends with the magic": https://eips.ethereum.org/EIPS/eip-6492
    bytes32 private constant ERC6492_SUFFIX = 0x6492649264926492649264926492649264926492649264926492649264926492;

    /// @notice Whether the signature says how to deploy the wallet that it is for.
    function isWrapped(bytes calldata signature) internal pure returns (bool) {
        return signature.length >= 32 && bytes32(signature[signature.length - 32:]) == ERC6492_SUFFIX;
    }

    /// @notice The factory, what to call it with, and the signature for the wallet. Reverts if the three are not there.
    function unwrap(bytes calldata signature)
        internal
        pure
        returns (address factory, bytes memory data, bytes memory inner)
    {
        return abi.decode(signature[:signature.length - 32], (address, bytes, bytes));
    }

    /// @notice The parts of a signature of 65 bytes.
    function parse(bytes memory signature) internal pure returns (uint8 v, bytes32 r, bytes32 s) {
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
    }

    /// @notice Whether `signature`, not wrapped, is the payer's over `digest`.
    /// @dev The wallet's answer can change from block to block, so it must be used up in the same transaction.
    function isValid(address payer, bytes32 digest, bytes memory signature) internal view returns (bool) {
        (address recovered,,) = ECDSA.tryRecover(digest, signature);
        // Nothing recovered is the zero address, which must not pass for a payer.
        if (recovered != address(0) && recovered == payer) return true;
        return payer.code.length != 0 && SignatureChecker.isValidERC1271SignatureNow(payer, digest, signature);
    }
}
