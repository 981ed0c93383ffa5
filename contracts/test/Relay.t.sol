// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {IRowenEscrow, Lock, LockPart} from "../src/interfaces/IRowenEscrow.sol";
import {Funding} from "./Funding.sol";
import {Typed} from "./Typed.sol";
import {AgreeableToken} from "./Wallets.sol";

contract LockManyTest is Funding {
    function parts(uint256 count, uint96 amount) private view returns (LockPart[] memory made) {
        made = new LockPart[](count);
        for (uint256 i = 0; i < count; ++i) {
            made[i] = LockPart(address(uint160(0xb0b + i)), session.addr, amount);
        }
    }

    function lockMany(LockPart[] memory wanted, uint256 allowed) private {
        usdc.mint(alice.addr, allowed);
        vm.startPrank(alice.addr);
        usdc.approve(address(escrow), allowed);
        escrow.lockMany(wanted);
        vm.stopPrank();
    }

    function test_one_call_funds_many_providers_by_one_transfer() public {
        vm.expectCall(address(usdc), abi.encodeCall(IERC20.transferFrom, (alice.addr, address(escrow), 40e6)), 1);
        lockMany(parts(8, 5e6), 40e6);
        for (uint256 i = 0; i < 8; ++i) {
            (uint96 locked,,) = escrow.channels(escrow.channelId(alice.addr, address(uint160(0xb0b + i)), session.addr));
            assertEq(locked, 5e6);
        }
        assertEq(usdc.balanceOf(address(escrow)), 40e6);
    }

    function test_a_channel_named_twice_gets_both() public {
        LockPart[] memory twice = new LockPart[](2);
        twice[0] = LockPart(bob.addr, session.addr, MIN_LOCK);
        twice[1] = LockPart(bob.addr, session.addr, 1);
        lockMany(twice, MIN_LOCK + 1);
        assertChannel(MIN_LOCK + 1, 0, 0);
    }

    function test_one_bad_part_fails_all() public {
        LockPart[] memory some = parts(3, 5e6);
        some[2].amount = MIN_LOCK - 1;
        vm.prank(alice.addr);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.LockBelowMinimum.selector, MIN_LOCK - 1, MIN_LOCK));
        escrow.lockMany(some);
    }

    function test_the_sum_must_be_there() public {
        usdc.mint(alice.addr, 15e6 - 1);
        vm.startPrank(alice.addr);
        usdc.approve(address(escrow), 15e6);
        vm.expectPartialRevert(IERC20Errors.ERC20InsufficientBalance.selector);
        escrow.lockMany(parts(3, 5e6));
    }

    function testFuzz_many_locks_are_each_of_them(uint96[6] memory amounts) public {
        LockPart[] memory some = parts(6, 0);
        uint256 sum;
        for (uint256 i = 0; i < 6; ++i) {
            some[i].amount = uint96(bound(amounts[i], MIN_LOCK, type(uint96).max));
            sum += some[i].amount;
        }
        lockMany(some, sum);
        for (uint256 i = 0; i < 6; ++i) {
            (uint96 locked,,) = escrow.channels(escrow.channelId(alice.addr, some[i].provider, session.addr));
            assertEq(locked, some[i].amount);
        }
        assertEq(usdc.balanceOf(address(escrow)), sum);
    }
}

/// @notice What holds for every way to fund by a signature; the three differ in who checks it.
abstract contract LockBySignature is Funding {
    function setUp() public override {
        super.setUp();
        usdc.mint(alice.addr, 100e6);
        prepare();
    }

    function prepare() internal virtual;
    function signed(Lock memory wanted) internal view virtual returns (bytes memory);
    function send(Lock memory wanted, bytes memory signature) internal virtual;

    function sendExternally(Lock memory wanted, bytes memory signature) external {
        send(wanted, signature);
    }

    function refused(Lock memory wanted, bytes memory signature) internal {
        (bool sent,) = address(this).call(abi.encodeCall(this.sendExternally, (wanted, signature)));
        assertFalse(sent, "accepted");
    }

    function test_anybody_funds_the_channel_that_was_signed() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signed(wanted);
        vm.expectEmit(address(escrow));
        emit IRowenEscrow.Locked(alice.addr, bob.addr, session.addr, 5e6);
        vm.prank(stranger);
        this.sendExternally(wanted, signature);
        assertChannel(5e6, 0, 0);
        assertEq(usdc.balanceOf(alice.addr), 95e6);
        assertEq(usdc.balanceOf(address(escrow)), 5e6);
        assertEq(escrow.claim(bob.addr, row(5e6)), 5e6);
    }

    function test_a_signature_works_once() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signed(wanted);
        send(wanted, signature);
        refused(wanted, signature);
        assertChannel(5e6, 0, 0);
    }

    function test_two_that_differ_in_their_salt_both_work() public {
        send(lockOf(5e6, 0), signed(lockOf(5e6, 0)));
        send(lockOf(5e6, bytes32(uint256(1))), signed(lockOf(5e6, bytes32(uint256(1)))));
        assertChannel(10e6, 0, 0);
    }

    function test_a_signature_is_void_after_its_deadline() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signed(wanted);
        vm.warp(uint256(wanted.deadline) + 1);
        refused(wanted, signature);
        vm.warp(wanted.deadline - 1);
        send(wanted, signature);
    }

    function test_another_s_signature_takes_nothing() public {
        Lock memory wanted = lockOf(5e6, 0);
        wanted.payer = stranger;
        usdc.mint(stranger, 100e6);
        bytes memory signature = signed(wanted);
        refused(wanted, signature);
        wanted.payer = address(0);
        refused(wanted, signed(wanted));
    }

    /// @dev Whoever sends it cannot direct the money elsewhere, change the sum, or lengthen the deadline.
    function testFuzz_one_changed_field_takes_nothing(uint256 field, uint256 change) public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signed(wanted);
        (field, change) = (bound(field, 0, 6), bound(change, 1, 1e6));
        if (field == 0) wanted.payer = address(uint160(wanted.payer) ^ uint160(change));
        if (field == 1) wanted.provider = address(uint160(wanted.provider) ^ uint160(change));
        if (field == 2) wanted.signer = address(uint160(wanted.signer) ^ uint160(change));
        if (field == 3) wanted.amount ^= uint96(change);
        if (field == 4) wanted.salt ^= bytes32(change);
        if (field == 5) wanted.deadline += uint64(change);
        if (field == 6) signature[change % 65] ^= bytes1(uint8(1 + change % 255));
        refused(wanted, signature);
        assertEq(usdc.balanceOf(alice.addr), 100e6);
        assertEq(usdc.balanceOf(address(escrow)), 0);
    }

    function test_a_signature_for_another_escrow_or_chain_takes_nothing() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signed(wanted);
        RowenEscrow other = newEscrow(usdc, UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        vm.prank(alice.addr);
        usdc.approve(address(other), type(uint256).max);
        (RowenEscrow first, uint256 chain) = (escrow, block.chainid);
        escrow = other;
        refused(wanted, signature);
        escrow = first;
        vm.chainId(chain + 1);
        refused(wanted, signature);
        vm.chainId(chain);
        send(wanted, signature);
    }

    function test_the_rules_of_a_lock_hold() public {
        Lock memory small = lockOf(MIN_LOCK - 1, 0);
        bytes memory signature = signed(small);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.LockBelowMinimum.selector, MIN_LOCK - 1, MIN_LOCK));
        this.sendExternally(small, signature);

        lockAsAlice(5e6);
        prepare();
        Lock memory wanted = lockOf(5e6, 0);
        signature = signed(wanted);
        requestUnlockAsAlice();
        vm.expectRevert(
            abi.encodeWithSelector(
                IRowenEscrow.UnlockPending.selector, aliceId(), uint64(block.timestamp) + UNLOCK_DELAY
            )
        );
        this.sendExternally(wanted, signature);
        assertChannel(5e6, 0, uint64(block.timestamp) + UNLOCK_DELAY);
    }

    function test_one_way_s_signature_is_no_other_s() public {
        Lock memory wanted = lockOf(5e6, 0);
        vm.startPrank(alice.addr);
        usdc.approve(address(escrow), type(uint256).max);
        usdc.approve(PERMIT2, type(uint256).max);
        vm.stopPrank();
        bytes[3] memory all = [signLock(alice, wanted), signAuthorization(alice, wanted), signPermit2(alice, wanted)];
        for (uint256 i = 0; i < 3; ++i) {
            if (keccak256(all[i]) != keccak256(signed(wanted))) refused(wanted, all[i]);
        }
        send(wanted, signed(wanted));
    }

    function testFuzz_any_bytes_take_nothing(bytes memory signature) public {
        refused(lockOf(5e6, 0), signature);
        assertEq(usdc.balanceOf(alice.addr), 100e6);
    }
}

contract LockForTest is LockBySignature {
    function prepare() internal override {
        vm.prank(alice.addr);
        usdc.approve(address(escrow), type(uint256).max);
    }

    function signed(Lock memory wanted) internal view override returns (bytes memory) {
        return signLock(alice, wanted);
    }

    function send(Lock memory wanted, bytes memory signature) internal override {
        escrow.lockFor(wanted, signature);
    }

    function test_refusals_tell_why() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signLock(alice, wanted);
        bytes32 digest = lockDigestOf(wanted);
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.AuthorizationInvalid.selector, alice.addr, digest));
        escrow.lockFor(wanted, signLock(bob, wanted));
        escrow.lockFor(wanted, signature);
        assertTrue(escrow.isAuthorizationUsed(alice.addr, digest));
        vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.AuthorizationUsed.selector, alice.addr, digest));
        escrow.lockFor(wanted, signature);
        vm.warp(uint256(wanted.deadline) + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IRowenEscrow.AuthorizationExpired.selector, wanted.deadline, block.timestamp)
        );
        escrow.lockFor(wanted, signature);
    }

    function test_it_is_good_to_the_second() public {
        Lock memory wanted = lockOf(5e6, 0);
        vm.warp(wanted.deadline);
        escrow.lockFor(wanted, signLock(alice, wanted));
    }

    function test_without_allowance_nothing_is_used_up() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signLock(alice, wanted);
        vm.prank(alice.addr);
        usdc.approve(address(escrow), 0);
        vm.expectPartialRevert(IERC20Errors.ERC20InsufficientAllowance.selector);
        escrow.lockFor(wanted, signature);
        assertFalse(escrow.isAuthorizationUsed(alice.addr, lockDigestOf(wanted)));
        prepare();
        escrow.lockFor(wanted, signature);
    }

    /// @dev A permit and a wish: nobody but the payer's key is needed, for a token without ERC-3009 too.
    function test_a_permit_and_a_lock_by_signature_need_no_gas_of_the_payer() public {
        vm.prank(alice.addr);
        usdc.approve(address(escrow), 0);
        (uint8 v, bytes32 r, bytes32 s) = signPermit(alice, 5e6, block.timestamp);
        bytes memory signature = signLock(alice, lockOf(5e6, 0));
        vm.startPrank(stranger);
        usdc.permit(alice.addr, address(escrow), 5e6, block.timestamp, v, r, s);
        escrow.lockFor(lockOf(5e6, 0), signature);
        vm.stopPrank();
        assertChannel(5e6, 0, 0);
    }

    function test_a_payer_revokes_what_nobody_sent_yet() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes32 digest = lockDigestOf(wanted);
        vm.prank(alice.addr);
        escrow.revokeAuthorization(digest);
        assertTrue(escrow.isAuthorizationUsed(alice.addr, digest));
        bytes memory refusal = abi.encodeWithSelector(IRowenEscrow.AuthorizationUsed.selector, alice.addr, digest);
        bytes memory signature = signLock(alice, wanted);
        vm.expectRevert(refusal);
        escrow.lockFor(wanted, signature);
        vm.prank(alice.addr);
        vm.expectRevert(refusal);
        escrow.revokeAuthorization(digest);
    }

    function test_nobody_revokes_for_another() public {
        Lock memory wanted = lockOf(5e6, 0);
        vm.prank(stranger);
        escrow.revokeAuthorization(lockDigestOf(wanted));
        escrow.lockFor(wanted, signLock(alice, wanted));
    }

    function testFuzz_the_digest_is_the_specification_s(Lock memory wanted) public view {
        assertEq(escrow.lockDigest(wanted), lockDigestOf(wanted));
    }
}

contract LockWithAuthorizationTest is LockBySignature {
    function prepare() internal override {}

    function signed(Lock memory wanted) internal view override returns (bytes memory) {
        return signAuthorization(alice, wanted);
    }

    function send(Lock memory wanted, bytes memory signature) internal override {
        escrow.lockWithAuthorization(wanted, signature);
    }

    /// @dev Else whoever sees the authorization could move the money here without a channel to hold it.
    function test_a_front_runner_cannot_use_the_authorization_at_the_token() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signed(wanted);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(alice.privateKey, authorizationDigestOf("ReceiveWithAuthorization", wanted));
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InvalidReceiver.selector, address(escrow)));
        usdc.receiveWithAuthorization(
            alice.addr, address(escrow), 5e6, 0, wanted.deadline, Typed.nonceOf(wanted), v, r, s
        );
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        usdc.transferWithAuthorization(
            alice.addr, address(escrow), 5e6, 0, wanted.deadline, Typed.nonceOf(wanted), v, r, s
        );
        vm.stopPrank();
        escrow.lockWithAuthorization(wanted, signature);
    }

    function test_a_transfer_authorization_is_none() public {
        Lock memory wanted = lockOf(5e6, 0);
        refused(wanted, signDigest(alice, authorizationDigestOf("TransferWithAuthorization", wanted)));
    }

    function test_a_payer_cancels_it_at_the_token() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("CancelAuthorization(address authorizer,bytes32 nonce)"), alice.addr, Typed.nonceOf(wanted)
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(alice.privateKey, Typed.hash(usdc.DOMAIN_SEPARATOR(), structHash));
        usdc.cancelAuthorization(alice.addr, Typed.nonceOf(wanted), v, r, s);
        bytes memory signature = signed(wanted);
        vm.expectRevert(
            abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice.addr, Typed.nonceOf(wanted))
        );
        escrow.lockWithAuthorization(wanted, signature);
    }

    /// @dev A token that swallows unknown calls says yes to every authorization; only its balance tells.
    function test_a_token_that_knows_no_authorization_funds_nothing() public {
        escrow = newEscrow(IERC20(address(new AgreeableToken())), UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        for (uint256 length = 65; length < 67; ++length) {
            vm.expectRevert(abi.encodeWithSelector(IRowenEscrow.InexactTransfer.selector, 5e6, 0));
            escrow.lockWithAuthorization(lockOf(5e6, 0), new bytes(length));
        }
    }

    function testFuzz_the_nonce_is_of_the_channel_and_the_salt(Lock memory wanted) public view {
        bytes32 id = escrow.channelId(wanted.payer, wanted.provider, wanted.signer);
        assertEq(escrow.authorizationNonce(id, wanted.salt), Typed.nonceOf(wanted));
    }
}

contract LockWithPermit2Test is LockBySignature {
    function prepare() internal override {
        vm.prank(alice.addr);
        usdc.approve(PERMIT2, type(uint256).max);
    }

    function signed(Lock memory wanted) internal view override returns (bytes memory) {
        return signPermit2(alice, wanted);
    }

    function send(Lock memory wanted, bytes memory signature) internal override {
        escrow.lockWithPermit2(wanted, signature);
    }

    /// @dev The typed data as a wallet shows it, hashed by Foundry's own implementation.
    function testFuzz_the_digest_is_that_of_the_typed_data(Lock memory wanted) public view {
        string memory types = string.concat(
            '{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"chainId","type":"uint256"},',
            '{"name":"verifyingContract","type":"address"}],"PermitWitnessTransferFrom":[',
            '{"name":"permitted","type":"TokenPermissions"},{"name":"spender","type":"address"},',
            '{"name":"nonce","type":"uint256"},{"name":"deadline","type":"uint256"},',
            '{"name":"witness","type":"Channel"}],"TokenPermissions":[{"name":"token","type":"address"},',
            '{"name":"amount","type":"uint256"}],"Channel":[{"name":"provider","type":"address"},',
            '{"name":"signer","type":"address"}]},"primaryType":"PermitWitnessTransferFrom",'
        );
        string memory domain_ = string.concat(
            '"domain":{"name":"Permit2","chainId":"',
            vm.toString(block.chainid),
            '","verifyingContract":"',
            vm.toString(PERMIT2),
            '"},'
        );
        string memory permitted = string.concat(
            '"message":{"permitted":{"token":"',
            vm.toString(address(usdc)),
            '","amount":"',
            vm.toString(wanted.amount),
            '"},"spender":"',
            vm.toString(address(escrow)),
            '","nonce":"',
            vm.toString(uint256(wanted.salt))
        );
        string memory rest = string.concat(
            '","deadline":"',
            vm.toString(wanted.deadline),
            '","witness":{"provider":"',
            vm.toString(wanted.provider),
            '","signer":"',
            vm.toString(wanted.signer),
            '"}}}'
        );
        assertEq(
            permit2DigestOf(wanted),
            vm.eip712HashTypedData(string.concat(string.concat(types, domain_), string.concat(permitted, rest)))
        );
    }

    function test_without_permit2_on_the_chain_nothing_is_locked() public {
        vm.etch(PERMIT2, "");
        refused(lockOf(5e6, 0), signed(lockOf(5e6, 0)));
    }

    function test_a_spender_other_than_the_escrow_gets_nothing() public {
        Lock memory wanted = lockOf(5e6, 0);
        bytes memory signature = signed(wanted);
        RowenEscrow other = newEscrow(usdc, UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        vm.expectRevert();
        other.lockWithPermit2(wanted, signature);
    }
}
