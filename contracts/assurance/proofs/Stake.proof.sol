// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenEscrow} from "../../src/interfaces/IRowenEscrow.sol";
import {IRowenStake, Offence, Receipt as RowenReceipt, SignedReceipt} from "../../src/interfaces/IRowenStake.sol";
import {Code} from "./Code.sol";
import {AnyToken, Proof} from "./Symbolic.sol";

/// @notice One call to the stake from any state: what it leaves behind.
///
/// @dev As in `EscrowProof`, every slot and every argument is arbitrary.
///
/// - **Solvency.** The balance moves by exactly what Σ bonds + burned does.
/// - **Isolation.** No other provider's bond changes in any bit.
/// - **What leaves is bonded**: `leaving <= amount`, and a bond shrinks by a due withdrawal and by a slash only.
/// - **A slash** takes no more than the penalty for one offence however often it is shown, needs the provider's own signature, burns at
///   least three times what it gives away, and never what another provider bonded.
///
/// Assumed: `leaving <= amount` before the call, which the same proofs show after it; a token that moves exact amounts or fails and does
/// not call back.
contract StakeProof is Proof {
    /// @dev Before the call.
    struct Books {
        address provider;
        uint96 amount;
        uint96 leaving;
        uint64 leaveAt;
        uint256 burned;
        uint256 balance;
        address other;
        bytes32 otherSlot;
    }

    uint96 private constant PENALTY = 100e6;

    AnyToken internal token;
    IRowenEscrow internal escrow;
    IRowenStake internal stake;

    function setUp() public {
        token = new AnyToken();
        escrow = deployEscrow(address(token));
        stake = IRowenStake(deploy(Code.STAKE, abi.encode(escrow, uint64(7 days), PENALTY)));
        SVM.enableSymbolicStorage(address(escrow));
        SVM.enableSymbolicStorage(address(stake));
        SVM.enableSymbolicStorage(address(token));
        vm.warp(any64("now"));
    }

    // ---- Before and after ----

    function slotOf(address provider) internal view returns (bytes32) {
        (uint96 amount, uint96 leaving, uint64 leaveAt) = stake.bonds(provider);
        return bytes32(uint256(amount) | uint256(leaving) << 96 | uint256(leaveAt) << 192);
    }

    function open(address provider) internal view returns (Books memory books) {
        books.provider = provider;
        (books.amount, books.leaving, books.leaveAt) = stake.bonds(provider);
        vm.assume(books.leaving <= books.amount);
        books.burned = stake.burned();
        books.balance = token.balanceOf(address(stake));
        books.other = anyone("another provider");
        vm.assume(books.other != provider);
        books.otherSlot = slotOf(books.other);
    }

    function close(Books memory books) internal view {
        (uint96 amount, uint96 leaving,) = stake.bonds(books.provider);
        assert(leaving <= amount);
        uint256 balance = token.balanceOf(address(stake));
        uint256 burned = stake.burned();
        unchecked {
            assert(balance - books.balance == uint256(amount) - books.amount + burned - books.burned);
        }
        assert(slotOf(books.other) == books.otherSlot);
    }

    // ---- Bond ----

    function check_bond(address sender, address provider, uint96 amount) public {
        Books memory books = open(provider);
        vm.prank(sender);
        stake.bond(provider, amount);
        (uint96 bonded,,) = stake.bonds(provider);
        assert(bonded == books.amount + amount);
        close(books);
    }

    function check_unbond_requests(address sender, address provider, uint96 amount) public {
        Books memory books = open(provider);
        bool isCancelled = SVM.createUint(1, "cancel") == 1;
        vm.prank(sender);
        if (isCancelled) stake.cancelUnbond(provider);
        else stake.requestUnbond(provider, amount);
        (uint96 bonded,,) = stake.bonds(provider);
        assert(bonded == books.amount && stake.burned() == books.burned);
        assert(sender == provider || sender == escrow.payoutOf(provider));
        close(books);
    }

    /// @dev Where the payout address is the stake itself, the bond stays there and is nobody's.
    function check_withdraw(address sender, address provider) public {
        Books memory books = open(provider);
        address payout = escrow.payoutOf(provider);
        vm.assume(payout != address(stake));
        uint256 had = token.balanceOf(payout);
        vm.prank(sender);
        uint96 amount = stake.withdraw(provider);

        assert(books.leaveAt != 0 && block.timestamp >= books.leaveAt);
        assert(amount == books.leaving && stake.burned() == books.burned);
        assert(token.balanceOf(payout) == had + amount);
        close(books);
    }

    // ---- Slash ----

    struct Slash {
        address sender;
        address payer;
        address provider;
        address signer;
    }

    function anyReceipt(string memory name) internal pure returns (SignedReceipt memory signed) {
        RowenReceipt memory made;
        made.channelId = SVM.createBytes32(name);
        made.sequence = uint32(SVM.createUint(32, name));
        made.status = uint8(SVM.createUint(8, name));
        made.amount = any96(name);
        made.total = any96(name);
        made.outputHash = SVM.createBytes32(name);
        return SignedReceipt(made, SVM.createBytes32(name), SVM.createBytes32(name));
    }

    function isSignedBy(address provider, SignedReceipt memory signed) internal view returns (bool) {
        uint8 v = uint8((uint256(signed.vs) >> 255) + 27);
        return
            ecrecover(stake.receiptDigest(signed.receipt), v, signed.r, bytes32(uint256(signed.vs) << 1 >> 1))
                == provider;
    }

    /// @dev What every slash leaves behind, whatever proved it.
    function closeSlash(Books memory books, Slash memory slash, uint256 had, uint96 paid, uint96 paidBefore)
        internal
        view
    {
        (uint96 amount,,) = stake.bonds(slash.provider);
        uint256 taken = books.amount - amount;
        uint256 reward = token.balanceOf(slash.sender) - had;
        assert(taken != 0 && paid == paidBefore + taken && paid <= PENALTY);
        assert(reward <= taken / 4 && stake.burned() - books.burned == taken - reward);
        close(books);
    }

    function check_slashEquivocation(Slash memory slash) public {
        vm.assume(slash.sender != address(stake));
        (SignedReceipt memory one, SignedReceipt memory two) = (anyReceipt("one"), anyReceipt("two"));
        Books memory books = open(slash.provider);
        bytes32 id = keccak256(abi.encode(slash.payer, slash.provider, slash.signer));
        uint32 sequence = one.receipt.sequence;
        uint96 before = stake.paidFor(slash.provider, Offence.Equivocation, id, sequence);
        vm.assume(before <= PENALTY);
        uint256 had = token.balanceOf(slash.sender);

        vm.prank(slash.sender);
        stake.slashEquivocation(slash.payer, slash.provider, slash.signer, one, two);

        assert(one.receipt.channelId == id && two.receipt.channelId == id && sequence == two.receipt.sequence);
        assert(keccak256(abi.encode(one.receipt)) != keccak256(abi.encode(two.receipt)));
        assert(isSignedBy(slash.provider, one) && isSignedBy(slash.provider, two));
        uint96 paid = stake.paidFor(slash.provider, Offence.Equivocation, id, sequence);
        closeSlash(books, slash, had, paid, before);
    }

    function check_slashBrokenTotal(Slash memory slash) public {
        vm.assume(slash.sender != address(stake));
        (SignedReceipt memory one, SignedReceipt memory two) = (anyReceipt("one"), anyReceipt("two"));
        Books memory books = open(slash.provider);
        bytes32 id = keccak256(abi.encode(slash.payer, slash.provider, slash.signer));
        uint32 sequence = two.receipt.sequence;
        uint96 before = stake.paidFor(slash.provider, Offence.BrokenTotal, id, sequence);
        vm.assume(before <= PENALTY);
        uint256 had = token.balanceOf(slash.sender);

        vm.prank(slash.sender);
        stake.slashBrokenTotal(slash.payer, slash.provider, slash.signer, one, two);

        assert(one.receipt.channelId == id && two.receipt.channelId == id);
        assert(uint256(one.receipt.sequence) + 1 == sequence);
        assert(uint256(one.receipt.total) + two.receipt.amount != two.receipt.total);
        assert(isSignedBy(slash.provider, one) && isSignedBy(slash.provider, two));
        uint96 paid = stake.paidFor(slash.provider, Offence.BrokenTotal, id, sequence);
        closeSlash(books, slash, had, paid, before);
    }

    function check_slashChargedFailure(Slash memory slash) public {
        vm.assume(slash.sender != address(stake));
        SignedReceipt memory charged = anyReceipt("charged");
        Books memory books = open(slash.provider);
        bytes32 id = keccak256(abi.encode(slash.payer, slash.provider, slash.signer));
        uint32 sequence = charged.receipt.sequence;
        uint96 before = stake.paidFor(slash.provider, Offence.ChargedFailure, id, sequence);
        vm.assume(before <= PENALTY);
        uint256 had = token.balanceOf(slash.sender);

        vm.prank(slash.sender);
        stake.slashChargedFailure(slash.payer, slash.provider, slash.signer, charged);

        assert(charged.receipt.channelId == id && charged.receipt.amount != 0 && charged.receipt.status == 4);
        assert(isSignedBy(slash.provider, charged));
        uint96 paid = stake.paidFor(slash.provider, Offence.ChargedFailure, id, sequence);
        closeSlash(books, slash, had, paid, before);
    }
}
