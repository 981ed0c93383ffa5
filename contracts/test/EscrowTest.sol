// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Test.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {LockPart, Permit} from "../src/interfaces/IRowenEscrow.sol";
import {TestUSDC} from "../src/test-token/TestUSDC.sol";
import {Deploying} from "./Deploying.sol";
import {Typed} from "./Typed.sol";

struct Voucher {
    address payer;
    address provider;
    uint96 total;
    uint32 receiptCount;
    bytes32 receiptsRoot;
}

/// @notice One escrow, one token, and builders with defaults.
abstract contract EscrowTest is Deploying {
    uint64 internal constant UNLOCK_DELAY = 6 hours;
    uint64 internal constant PAYOUT_DELAY = 2 days;
    uint96 internal constant MIN_LOCK = 1e6;

    TestUSDC internal usdc;
    RowenEscrow internal escrow;
    bytes32 internal domain;

    Vm.Wallet internal alice = vm.createWallet("alice, a payer");
    Vm.Wallet internal session = vm.createWallet("alice's session key");
    Vm.Wallet internal bob = vm.createWallet("bob, a provider");
    address internal stranger = makeAddr("a stranger");

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        usdc = newUsdc();
        escrow = newEscrow(usdc, UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
    }

    // ---- EIP-712, by the specification ----

    function domainOf(address contract_, uint256 chainId) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Rowen"),
                keccak256("1"),
                chainId,
                contract_
            )
        );
    }

    function digestOf(Voucher memory v) internal view returns (bytes32) {
        return Typed.voucher(domain, v.payer, v.provider, v.total, v.receiptCount, v.receiptsRoot);
    }

    function releaseDigestOf(bytes32 id, uint96 total, uint64 deadline) internal view returns (bytes32) {
        return Typed.release(domain, id, total, deadline);
    }

    // ---- Builders ----

    /// @dev Alice's voucher to Bob.
    function voucher(uint96 total) internal view returns (Voucher memory) {
        return Voucher({
            payer: alice.addr,
            provider: bob.addr,
            total: total,
            receiptCount: 7,
            receiptsRoot: keccak256(abi.encode("root", total))
        });
    }

    /// @dev What Alice puts into her channel with Bob.
    function aliceToBob(uint96 amount) internal view returns (LockPart memory) {
        return LockPart({provider: bob.addr, signer: session.addr, amount: amount});
    }

    function pack(Voucher memory v, bytes32 r, bytes32 vs) internal pure returns (bytes memory) {
        return abi.encodePacked(v.payer, v.total, v.receiptCount, v.receiptsRoot, r, vs);
    }

    function sign(Voucher memory v, uint256 key) internal view returns (bytes memory) {
        (bytes32 r, bytes32 vs) = vm.signCompact(key, digestOf(v));
        return pack(v, r, vs);
    }

    /// @dev The row of Alice's voucher to Bob.
    function row(uint96 total) internal view returns (bytes memory) {
        return sign(voucher(total), session.privateKey);
    }

    function signPermit(Vm.Wallet memory owner, uint256 value, uint256 deadline)
        internal
        view
        returns (uint8 v, bytes32 r, bytes32 s)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                owner.addr,
                address(escrow),
                value,
                usdc.nonces(owner.addr),
                deadline
            )
        );
        return vm.sign(owner.privateKey, Typed.hash(usdc.DOMAIN_SEPARATOR(), structHash));
    }

    /// @dev The same as the escrow takes it.
    function permitOf(Vm.Wallet memory owner, uint256 value, uint256 deadline) internal view returns (Permit memory) {
        (uint8 v, bytes32 r, bytes32 s) = signPermit(owner, value, deadline);
        return Permit({deadline: deadline, r: r, vs: compact(v, s)});
    }

    /// @dev The second word of a signature in EIP-2098 form.
    function compact(uint8 v, bytes32 s) internal pure returns (bytes32 vs) {
        return bytes32(uint256(s) | uint256(v - 27) << 255);
    }

    // ---- Doings ----

    function lockFrom(address payer, address provider, address signer, uint96 amount) internal {
        usdc.mint(payer, amount);
        vm.startPrank(payer);
        usdc.approve(address(escrow), amount);
        escrow.lock(provider, signer, amount);
        vm.stopPrank();
    }

    function lockAsAlice(uint96 amount) internal {
        lockFrom(alice.addr, bob.addr, session.addr, amount);
    }

    function requestUnlockAsAlice() internal {
        vm.prank(alice.addr);
        escrow.requestUnlock(bob.addr, session.addr);
    }

    function unlockAlice() internal {
        escrow.unlock(alice.addr, bob.addr, session.addr);
    }

    function releaseAlice(uint96 total, uint64 deadline) internal {
        (bytes32 r, bytes32 vs) = vm.signCompact(bob.privateKey, releaseDigestOf(aliceId(), total, deadline));
        escrow.release(alice.addr, session.addr, bob.addr, total, deadline, r, vs);
    }

    // ---- Readings ----

    function aliceId() internal view returns (bytes32) {
        return keccak256(abi.encode(alice.addr, bob.addr, session.addr));
    }

    function assertChannel(uint96 locked, uint96 claimed, uint64 unlockAt) internal view {
        (uint96 locked_, uint96 claimed_, uint64 unlockAt_) = escrow.channels(aliceId());
        assertEq(locked_, locked, "locked");
        assertEq(claimed_, claimed, "claimed");
        assertEq(unlockAt_, unlockAt, "unlockAt");
    }
}
