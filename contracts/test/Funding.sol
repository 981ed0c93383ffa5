// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Test.sol";

import {Lock} from "../src/interfaces/IRowenEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {Permit2Double} from "./Permit2Double.sol";
import {Typed} from "./Typed.sol";

/// @notice Builders and signatures for the ways to fund and leave without a transaction of one's own.
abstract contract Funding is EscrowTest {
    address internal constant PERMIT2 = Typed.PERMIT2;

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

    function lockDigestOf(Lock memory wanted) internal view returns (bytes32) {
        return Typed.lock(domain, wanted);
    }

    function requestUnlockDigestOf(address payer, uint64 deadline) internal view returns (bytes32) {
        return Typed.requestUnlock(domain, payer, bob.addr, session.addr, deadline);
    }

    function cancelUnlockDigestOf(address payer, uint64 unlockAt, uint64 deadline) internal view returns (bytes32) {
        return Typed.cancelUnlock(domain, payer, bob.addr, session.addr, unlockAt, deadline);
    }

    function authorizationDigestOf(string memory name, Lock memory wanted) internal view returns (bytes32) {
        return Typed.authorization(usdc.DOMAIN_SEPARATOR(), name, address(escrow), wanted);
    }

    function permit2DigestOf(Lock memory wanted) internal view returns (bytes32) {
        return Typed.permit2(address(usdc), address(escrow), wanted);
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
