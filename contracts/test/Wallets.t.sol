// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Vm} from "forge-std/Test.sol";

import {RowenEscrow} from "../src/RowenEscrow.sol";
import {WalletDeployer} from "../src/WalletDeployer.sol";
import {IRowenEscrow, Lock} from "../src/interfaces/IRowenEscrow.sol";
import {Voucher} from "./EscrowTest.sol";
import {Funding} from "./Funding.sol";
import {FickleWallet, OwnedWallet, WalletFactory, WalletUSDC, YesWallet} from "./Wallets.sol";

/// @notice Payers that are no plain keys: contract wallets, wallets to come, and keys that delegated.
contract WalletsTest is Funding {
    WalletFactory private factory;
    uint64 private deadline;

    function setUp() public override {
        super.setUp();
        usdc = new WalletUSDC();
        escrow = newEscrow(usdc, UNLOCK_DELAY, PAYOUT_DELAY, MIN_LOCK);
        domain = domainOf(address(escrow), block.chainid);
        factory = new WalletFactory();
        deadline = uint64(block.timestamp) + 1 days;
    }

    /// @dev Of Alice's wallet, which approves `spender` when it is made.
    function walletOf(address spender) private returns (address wallet) {
        wallet = factory.addressOf(alice.addr, usdc, spender);
        usdc.mint(wallet, 10e6);
    }

    function wrapped(address spender, bytes memory inner) private view returns (bytes memory) {
        return wrappedCall(address(factory), abi.encodeCall(factory.deploy, (alice.addr, usdc, spender)), inner);
    }

    function wrappedCall(address target, bytes memory data, bytes memory inner) private pure returns (bytes memory) {
        return bytes.concat(
            abi.encode(target, data, inner), hex"6492649264926492649264926492649264926492649264926492649264926492"
        );
    }

    function wallets(bytes memory signature) private pure returns (bytes memory) {
        return bytes.concat(signature, hex"00");
    }

    function wish(address wallet) private view returns (Lock memory wanted) {
        wanted = lockOf(5e6, 0);
        wanted.payer = wallet;
    }

    function locked(address payer) private view returns (uint96 amount) {
        (amount,,) = escrow.channels(escrow.channelId(payer, bob.addr, session.addr));
    }

    function delegate(address code) private {
        vm.signAndAttachDelegation(code, alice.privateKey);
        vm.prank(stranger);
        escrow.channelId(stranger, stranger, stranger);
        assertEq(alice.addr.code.length, 23, "delegated");
    }

    // ---- Contract wallets ----

    function test_a_contract_wallet_funds_and_leaves_by_signature() public {
        address wallet = walletOf(address(escrow));
        factory.deploy(alice.addr, usdc, address(escrow));
        escrow.lockFor(wish(wallet), wallets(signLock(alice, wish(wallet))));
        assertEq(locked(wallet), 5e6);
        bytes memory signature = wallets(signDigest(alice, requestUnlockDigestOf(wallet, deadline)));
        escrow.requestUnlockFor(wallet, bob.addr, session.addr, deadline, signature);
        skip(UNLOCK_DELAY);
        escrow.unlock(wallet, bob.addr, session.addr);
        assertEq(usdc.balanceOf(wallet), 10e6);
    }

    /// @dev The owner of two wallets signs for one of them.
    function test_a_signature_for_one_wallet_is_none_for_its_owner_s_other() public {
        address wallet = walletOf(address(escrow));
        factory.deploy(alice.addr, usdc, address(escrow));
        address other = address(new OwnedWallet(alice.addr, usdc, address(escrow)));
        usdc.mint(other, 10e6);
        bytes memory signature = wallets(signLock(alice, wish(wallet)));
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        escrow.lockFor(wish(other), signature);
    }

    function test_a_wallet_that_changed_its_mind_stays_out_but_voids_nothing() public {
        address wallet = walletOf(address(escrow));
        factory.deploy(alice.addr, usdc, address(escrow));
        escrow.lockFor(wish(wallet), wallets(signLock(alice, wish(wallet))));
        Voucher memory promised = voucher(4e6);
        promised.payer = wallet;
        bytes memory rows = sign(promised, session.privateKey);

        vm.prank(alice.addr);
        OwnedWallet(wallet).setOwner(stranger);
        bytes memory signature = wallets(signDigest(alice, requestUnlockDigestOf(wallet, deadline)));
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        escrow.requestUnlockFor(wallet, bob.addr, session.addr, deadline, signature);
        assertEq(escrow.claim(bob.addr, rows), 4e6);

        vm.etch(wallet, "");
        assertEq(escrow.claim(bob.addr, bytes.concat(rows, signWallet(wallet, 5e6))), 1e6);
    }

    function signWallet(address wallet, uint96 total) private view returns (bytes memory) {
        Voucher memory v = voucher(total);
        v.payer = wallet;
        return sign(v, session.privateKey);
    }

    function test_a_wallet_that_says_no_or_nothing_is_not_signed_for() public {
        address[3] memory silent = [address(new FickleWallet()), address(factory), address(usdc)];
        for (uint256 i = 0; i < silent.length; ++i) {
            Lock memory wanted = wish(silent[i]);
            bytes memory signature = signLock(alice, wanted);
            vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
            escrow.lockFor(wanted, signature);
        }
    }

    /// @dev The identity precompile answers with what it is asked; it has no code, so it is not asked.
    function testFuzz_no_precompile_signs(uint8 index, bytes31 bytes_, uint8 length) public {
        Lock memory wanted = wish(address(uint160(bound(index, 1, 17))));
        bytes memory signature = new bytes(bound(length, 0, 31));
        for (uint256 i = 0; i < signature.length; ++i) {
            signature[i] = bytes_[i];
        }
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        escrow.lockFor(wanted, signature);
    }

    function test_a_contract_wallet_funds_with_an_authorization() public {
        address wallet = walletOf(address(escrow));
        factory.deploy(alice.addr, usdc, address(escrow));
        Lock memory wanted = wish(wallet);
        escrow.lockWithAuthorization(wanted, wallets(signAuthorization(alice, wanted)));
        assertEq(locked(wallet), 5e6);
    }

    // ---- Wallets not deployed yet ----

    function test_a_wallet_to_come_funds_each_way() public {
        address wallet = walletOf(address(escrow));
        bytes memory signature = wallets(signLock(alice, wish(wallet)));
        uint256 clean = vm.snapshotState();
        escrow.lockFor(wish(wallet), wrapped(address(escrow), signature));
        assertEq(locked(wallet), 5e6, "lockFor");
        assertGt(wallet.code.length, 0);
        vm.revertToState(clean);

        signature = wallets(signAuthorization(alice, wish(wallet)));
        escrow.lockWithAuthorization(wish(wallet), wrapped(address(escrow), signature));
        assertEq(locked(wallet), 5e6, "lockWithAuthorization");

        wallet = walletOf(PERMIT2);
        signature = wallets(signPermit2(alice, wish(wallet)));
        escrow.lockWithPermit2(wish(wallet), wrapped(PERMIT2, signature));
        assertEq(locked(wallet), 5e6, "lockWithPermit2");
    }

    function test_a_wallet_to_come_leaves_and_returns() public {
        address wallet = walletOf(address(escrow));
        vm.startPrank(wallet);
        usdc.approve(address(escrow), 5e6);
        escrow.lock(bob.addr, session.addr, 5e6);
        vm.stopPrank();
        assertEq(wallet.code.length, 0);

        bytes memory signature = wallets(signDigest(alice, requestUnlockDigestOf(wallet, deadline)));
        signature = wrapped(address(escrow), signature);
        escrow.requestUnlockFor(wallet, bob.addr, session.addr, deadline, signature);
        uint64 unlockAt = uint64(block.timestamp) + UNLOCK_DELAY;
        signature = wallets(signDigest(alice, cancelUnlockDigestOf(wallet, unlockAt, deadline)));
        signature = wrapped(address(escrow), signature);
        escrow.cancelUnlockFor(wallet, bob.addr, session.addr, unlockAt, deadline, signature);
        assertEq(locked(wallet), 5e6);
    }

    function test_who_deploys_the_wallet_first_disturbs_nobody() public {
        address wallet = walletOf(address(escrow));
        bytes memory signature = wrapped(address(escrow), wallets(signLock(alice, wish(wallet))));
        vm.prank(stranger);
        factory.deploy(alice.addr, usdc, address(escrow));
        escrow.lockFor(wish(wallet), signature);
        assertEq(locked(wallet), 5e6);
    }

    function test_a_wrapped_signature_of_a_key_works_too() public {
        usdc.mint(alice.addr, 5e6);
        vm.prank(alice.addr);
        usdc.approve(address(escrow), 5e6);
        escrow.lockFor(wish(alice.addr), wrapped(address(escrow), signLock(alice, wish(alice.addr))));
        assertEq(locked(alice.addr), 5e6);
    }

    function test_a_factory_that_makes_another_wallet_signs_nothing() public {
        address wallet = walletOf(address(escrow));
        bytes memory inner = wallets(signLock(stranger_(), wish(wallet)));
        bytes memory signature =
            wrappedCall(address(factory), abi.encodeCall(factory.deploy, (stranger, usdc, address(escrow))), inner);
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        escrow.lockFor(wish(wallet), signature);
    }

    function stranger_() private returns (Vm.Wallet memory) {
        return vm.createWallet("a stranger");
    }

    /// @dev The sender chooses what is called. If the escrow made that call, it would be the token's transfer.
    function testFuzz_the_factory_call_is_not_made_in_the_escrow_s_name(uint256 choice) public {
        lockAsAlice(5e6);
        bytes[4] memory thefts = [
            abi.encodeCall(IERC20.transfer, (stranger, 5e6)),
            abi.encodeCall(IERC20.approve, (stranger, 5e6)),
            abi.encodeCall(IERC20.transferFrom, (address(escrow), stranger, 5e6)),
            abi.encodeCall(IERC20.transferFrom, (alice.addr, stranger, 5e6))
        ];
        usdc.mint(alice.addr, 5e6);
        vm.prank(alice.addr);
        usdc.approve(address(escrow), 5e6);
        // A payer that needs no key: the call may do what it likes as long as the rest is in order.
        Lock memory wanted = wish(vm.addr(0xbad));
        usdc.mint(wanted.payer, 5e6);
        vm.prank(wanted.payer);
        usdc.approve(address(escrow), 5e6);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(0xbad, lockDigestOf(wanted));
        vm.startPrank(stranger);
        escrow.lockFor(wanted, wrappedCall(address(usdc), thefts[bound(choice, 0, 3)], abi.encodePacked(r, s, v)));
        vm.expectRevert();
        usdc.transferFrom(address(escrow), stranger, 5e6);
        vm.stopPrank();
        assertEq(usdc.balanceOf(stranger), 0);
        assertEq(usdc.balanceOf(address(escrow)), 10e6);
        assertEq(usdc.balanceOf(alice.addr), 5e6);
    }

    function test_a_factory_call_cannot_enter_the_escrow_again() public {
        usdc.mint(alice.addr, 10e6);
        vm.prank(alice.addr);
        usdc.approve(address(escrow), 10e6);
        Lock memory other = wish(alice.addr);
        other.salt = bytes32(uint256(1));
        bytes memory nested = abi.encodeCall(escrow.lockFor, (other, signLock(alice, other)));
        bytes memory signature = wrappedCall(address(escrow), nested, signLock(alice, wish(alice.addr)));
        escrow.lockFor(wish(alice.addr), signature);
        assertEq(locked(alice.addr), 5e6);
    }

    function test_a_wrapping_that_does_not_parse_is_refused() public {
        bytes memory signature =
            bytes.concat(hex"00", hex"6492649264926492649264926492649264926492649264926492649264926492");
        vm.expectRevert();
        escrow.lockFor(wish(alice.addr), signature);
    }

    function test_the_deployer_has_no_rights_and_ignores_how_it_ends() public {
        WalletDeployer deployer = escrow.walletDeployer();
        deployer.deploy(address(usdc), abi.encodeCall(IERC20.transfer, (stranger, 1)));
        deployer.deploy(stranger, "");
        deployer.deploy(address(factory), abi.encodeCall(factory.deploy, (bob.addr, usdc, stranger)));
        assertGt(factory.addressOf(bob.addr, usdc, stranger).code.length, 0);
    }

    // ---- Keys that delegated (EIP-7702) ----

    function test_what_a_key_signed_before_it_delegated_still_counts() public {
        lockAsAlice(5e6);
        bytes memory before = signRequestUnlock(alice, deadline);
        delegate(address(new FickleWallet()));
        escrow.requestUnlockFor(alice.addr, bob.addr, session.addr, deadline, before);
        assertChannel(5e6, 0, uint64(block.timestamp) + UNLOCK_DELAY);
    }

    function test_a_key_that_delegated_still_signs() public {
        usdc.mint(alice.addr, 5e6);
        vm.prank(alice.addr);
        usdc.approve(address(escrow), 5e6);
        delegate(address(new FickleWallet()));
        escrow.lockFor(wish(alice.addr), signLock(alice, wish(alice.addr)));
        assertChannel(5e6, 0, 0);
    }

    function test_the_code_a_key_delegated_to_signs_besides() public {
        lockAsAlice(5e6);
        delegate(address(new YesWallet()));
        escrow.requestUnlockFor(alice.addr, bob.addr, session.addr, deadline, "a passkey, say");
        assertChannel(5e6, 0, uint64(block.timestamp) + UNLOCK_DELAY);
    }

    function test_code_that_says_no_does_not_let_others_sign() public {
        lockAsAlice(5e6);
        delegate(address(new FickleWallet()));
        bytes memory signature = signDigest(bob, requestUnlockDigestOf(alice.addr, deadline));
        vm.expectPartialRevert(IRowenEscrow.AuthorizationInvalid.selector);
        escrow.requestUnlockFor(alice.addr, bob.addr, session.addr, deadline, signature);
    }

    function test_a_voucher_taken_before_payer_and_session_key_delegated_pays() public {
        lockAsAlice(5e6);
        bytes memory rows = row(4e6);
        delegate(address(new YesWallet()));
        vm.signAndAttachDelegation(address(new FickleWallet()), session.privateKey);
        vm.prank(stranger);
        escrow.channelId(stranger, stranger, stranger);
        assertEq(escrow.claim(bob.addr, rows), 4e6);
        assertEq(escrow.claim(bob.addr, row(5e6)), 1e6);
    }
}
