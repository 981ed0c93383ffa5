// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Test.sol";

import {Lock} from "../src/interfaces/IRowenEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {Permit2Double} from "./Permit2Double.sol";

/// @notice Builders and signatures for the ways to fund and leave without a transaction of one's own.
/// @dev Digests are worked out here from the specifications, not by asking the contract under test.
abstract contract Funding is EscrowTest {
    address internal constant PERMIT2 = 0x000000000022D473030F116dDEE9F6B43aC78BA3;

    function setUp() public virtual override {
        super.setUp();
        vm.etch(PERMIT2, vm.envOr("PERMIT2_CODE", address(new Permit2Double()).code));
    }

    /// @dev Alice's wish to fund her channel with Bob, good for an hour.
    function lockOf(uint96 amount, bytes32 salt) internal view returns (Lock memory) {
        return Lock({
            payer: alice.addr,
            provider: bob.addr,
            signer: session.addr,
            amount: amount,
            salt: salt,
            deadline: uint64(block.timestamp) + 1 hours
        });
    }

    // ---- Digests ----

    function typed(bytes32 separator, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    function lockDigestOf(Lock memory wanted) internal view returns (bytes32) {
        bytes32 typeHash =
            keccak256("Lock(address payer,address provider,address signer,uint96 amount,bytes32 salt,uint64 deadline)");
        return typed(
            domain,
            keccak256(
                abi.encode(
                    typeHash, wanted.payer, wanted.provider, wanted.signer, wanted.amount, wanted.salt, wanted.deadline
                )
            )
        );
    }

    function requestUnlockDigestOf(address payer, uint64 deadline) internal view returns (bytes32) {
        bytes32 typeHash = keccak256("RequestUnlock(address payer,address provider,address signer,uint64 deadline)");
        return typed(domain, keccak256(abi.encode(typeHash, payer, bob.addr, session.addr, deadline)));
    }

    function cancelUnlockDigestOf(address payer, uint64 unlockAt, uint64 deadline) internal view returns (bytes32) {
        bytes32 typeHash =
            keccak256("CancelUnlock(address payer,address provider,address signer,uint64 unlockAt,uint64 deadline)");
        return typed(domain, keccak256(abi.encode(typeHash, payer, bob.addr, session.addr, unlockAt, deadline)));
    }

    function nonceOf(Lock memory wanted) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(abi.encode(wanted.payer, wanted.provider, wanted.signer)), wanted.salt));
    }

    /// @dev Of ERC-3009, in the token's domain.
    function authorizationDigestOf(string memory name, Lock memory wanted) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(
            bytes.concat(
                bytes(name),
                "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
            )
        );
        return typed(
            usdc.DOMAIN_SEPARATOR(),
            keccak256(
                abi.encode(typeHash, wanted.payer, address(escrow), wanted.amount, 0, wanted.deadline, nonceOf(wanted))
            )
        );
    }

    /// @dev Of Permit2, in its own domain, which has no version.
    function permit2DigestOf(Lock memory wanted) internal view returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)"),
                keccak256("Permit2"),
                block.chainid,
                PERMIT2
            )
        );
        bytes32 permitted = keccak256(
            abi.encode(keccak256("TokenPermissions(address token,uint256 amount)"), address(usdc), wanted.amount)
        );
        bytes32 witness = keccak256(
            abi.encode(keccak256("Channel(address provider,address signer)"), wanted.provider, wanted.signer)
        );
        bytes32 typeHash = keccak256(
            "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Channel witness)Channel(address provider,address signer)TokenPermissions(address token,uint256 amount)"
        );
        return typed(
            separator,
            keccak256(abi.encode(typeHash, permitted, address(escrow), uint256(wanted.salt), wanted.deadline, witness))
        );
    }

    // ---- Signatures ----

    function signDigest(Vm.Wallet memory key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key.privateKey, digest);
        return abi.encodePacked(r, s, v);
    }

    function signLock(Vm.Wallet memory key, Lock memory wanted) internal view returns (bytes memory) {
        return signDigest(key, lockDigestOf(wanted));
    }

    function signAuthorization(Vm.Wallet memory key, Lock memory wanted) internal view returns (bytes memory) {
        return signDigest(key, authorizationDigestOf("ReceiveWithAuthorization", wanted));
    }

    function signPermit2(Vm.Wallet memory key, Lock memory wanted) internal view returns (bytes memory) {
        return signDigest(key, permit2DigestOf(wanted));
    }

    function signRequestUnlock(Vm.Wallet memory key, uint64 deadline) internal view returns (bytes memory) {
        return signDigest(key, requestUnlockDigestOf(alice.addr, deadline));
    }

    function signCancelUnlock(Vm.Wallet memory key, uint64 unlockAt, uint64 deadline)
        internal
        view
        returns (bytes memory)
    {
        return signDigest(key, cancelUnlockDigestOf(alice.addr, unlockAt, deadline));
    }
}
