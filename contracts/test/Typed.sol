// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lock} from "../src/interfaces/IRowenEscrow.sol";
import {Receipt} from "../src/interfaces/IRowenStake.sol";

/// @notice What everybody signs, for unit tests and campaigns alike.
/// @dev Worked out from EIP-712, ERC-3009 and Permit2's documentation, not by asking the contracts under test. Foundry's
/// `eip712HashTypedData` agrees (`Relay.t.sol`, `Deployment.t.sol`), and so do the vectors that Python made.
library Typed {
    address internal constant PERMIT2 = 0x000000000022D473030F116dDEE9F6B43aC78BA3;

    function hash(bytes32 separator, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    // ---- In the escrow's domain ----

    function voucher(bytes32 domain, address payer, address provider, uint96 total, uint32 count, bytes32 root)
        internal
        pure
        returns (bytes32)
    {
        bytes32 typeHash = keccak256(
            "Voucher(address payer,address provider,uint96 total,uint32 receiptCount,bytes32 receiptsRoot)"
        );
        return hash(domain, keccak256(abi.encode(typeHash, payer, provider, total, count, root)));
    }

    function release(bytes32 domain, bytes32 id, uint96 total, uint64 deadline) internal pure returns (bytes32) {
        bytes32 typeHash = keccak256("Release(bytes32 channelId,uint96 total,uint64 deadline)");
        return hash(domain, keccak256(abi.encode(typeHash, id, total, deadline)));
    }

    function receipt(bytes32 domain, Receipt memory made) internal pure returns (bytes32) {
        bytes32 typeHash = keccak256(
            "Receipt(bytes32 channelId,uint32 sequence,bytes32 orderHash,uint32 segment,uint8 status,uint32 inputUnits,uint32 cachedUnits,uint32 outputUnits,uint96 amount,uint96 total,bytes32 outputHash,uint64 startedAtMs,uint64 finishedAtMs,uint64 gpuMs,uint64 energyMj,uint8 energySource)"
        );
        return hash(domain, keccak256(abi.encode(typeHash, made)));
    }

    function lock(bytes32 domain, Lock memory wanted) internal pure returns (bytes32) {
        bytes32 typeHash =
            keccak256("Lock(address payer,address provider,address signer,uint96 amount,bytes32 salt,uint64 deadline)");
        return hash(domain, keccak256(abi.encode(typeHash, wanted)));
    }

    function requestUnlock(bytes32 domain, address payer, address provider, address signer, uint64 deadline)
        internal
        pure
        returns (bytes32)
    {
        bytes32 typeHash = keccak256("RequestUnlock(address payer,address provider,address signer,uint64 deadline)");
        return hash(domain, keccak256(abi.encode(typeHash, payer, provider, signer, deadline)));
    }

    function cancelUnlock(
        bytes32 domain,
        address payer,
        address provider,
        address signer,
        uint64 unlockAt,
        uint64 deadline
    ) internal pure returns (bytes32) {
        bytes32 typeHash = keccak256(
            "CancelUnlock(address payer,address provider,address signer,uint64 unlockAt,uint64 deadline)"
        );
        return hash(domain, keccak256(abi.encode(typeHash, payer, provider, signer, unlockAt, deadline)));
    }

    // ---- In others' domains ----

    function nonceOf(Lock memory wanted) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(abi.encode(wanted.payer, wanted.provider, wanted.signer)), wanted.salt));
    }

    /// @dev Of ERC-3009.
    /// @param separator The token's.
    /// @param name `ReceiveWithAuthorization`, or another of its functions.
    function authorization(bytes32 separator, string memory name, address escrow, Lock memory wanted)
        internal
        pure
        returns (bytes32)
    {
        bytes32 typeHash = keccak256(
            bytes.concat(
                bytes(name),
                "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
            )
        );
        bytes32 nonce = nonceOf(wanted);
        return hash(
            separator, keccak256(abi.encode(typeHash, wanted.payer, escrow, wanted.amount, 0, wanted.deadline, nonce))
        );
    }

    /// @dev Permit2's domain has no version.
    function permit2(address token, address escrow, Lock memory wanted) internal view returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
                keccak256("Permit2"),
                block.chainid,
                PERMIT2
            )
        );
        bytes32 typeHash = keccak256(
            "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Channel witness)Channel(address provider,address signer)TokenPermissions(address token,uint256 amount)"
        );
        bytes32 permitted =
            keccak256(abi.encode(keccak256("TokenPermissions(address token,uint256 amount)"), token, wanted.amount));
        bytes32 witness = keccak256(
            abi.encode(keccak256("Channel(address provider,address signer)"), wanted.provider, wanted.signer)
        );
        bytes32 structHash =
            keccak256(abi.encode(typeHash, permitted, escrow, uint256(wanted.salt), wanted.deadline, witness));
        return hash(separator, structHash);
    }
}
