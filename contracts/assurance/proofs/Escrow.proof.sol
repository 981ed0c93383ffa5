// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRowenEscrow, Lock, LockPart} from "../../src/interfaces/IRowenEscrow.sol";
import {AnyPermit2, AnyToken, Proof} from "./Symbolic.sol";

/// @notice One call, any call, from any state: what it leaves behind.
///
/// @dev Each proof takes a state in which every slot of the escrow and every balance is arbitrary, makes one call with arbitrary
/// arguments from an arbitrary caller at an arbitrary time, and compares. What holds over every single call holds over every
/// sequence of calls, however long:
///
/// - **Solvency.** The balance moves by exactly what the escrow owes more or less: Σ (locked − claimed) + Σ credit changes in the
///   channel and the provider that the call names, and nowhere else (see isolation), so the sums keep pace with the balance.
/// - **Monotonic `claimed`.** No call lowers it, none but `claim` moves it, and it stays within `locked`.
/// - **Channel isolation.** No other channel changes in any bit; no other provider's credit or accumulator does.
/// - **A voucher's cover.** No call but a due `unlock` and a `release` the provider signed lowers `locked`.
/// - **The way out.** No claim and no release moves the time at which a payer that asked may leave, while anything is unclaimed.
///
/// Assumed: `claimed <= locked` before the call, in the channel it names, which is what the same proofs show after it; a token that
/// moves exact amounts or fails and does not call back. Reentrancy is the unit tests' and the guard's.
contract EscrowProof is Proof {
    /// @dev Before the call.
    struct Books {
        bytes32 id;
        address provider;
        uint96 locked;
        uint96 claimed;
        uint64 unlockAt;
        uint256 credit;
        uint256 balance;
        bytes32 otherId;
        bytes32 otherSlot;
        address otherProvider;
        uint256 otherCredit;
        bytes32 otherAccumulator;
    }

    address private constant PERMIT2 = 0x000000000022D473030F116dDEE9F6B43aC78BA3;

    AnyToken internal token;
    IRowenEscrow internal escrow;

    function setUp() public {
        token = new AnyToken();
        escrow = deployEscrow(address(token));
        vm.etch(PERMIT2, address(new AnyPermit2()).code);
        SVM.enableSymbolicStorage(address(escrow));
        SVM.enableSymbolicStorage(address(token));
        vm.warp(any64("now"));
    }

    // ---- Before and after ----

    function idOf(address payer, address provider, address signer) internal pure returns (bytes32) {
        return keccak256(abi.encode(payer, provider, signer));
    }

    function slotOf(bytes32 id) internal view returns (bytes32) {
        (uint96 locked, uint96 claimed, uint64 unlockAt) = escrow.channels(id);
        return bytes32(uint256(locked) | uint256(claimed) << 96 | uint256(unlockAt) << 192);
    }

    function open(address payer, address provider, address signer) internal view returns (Books memory books) {
        books.id = idOf(payer, provider, signer);
        books.provider = provider;
        (books.locked, books.claimed, books.unlockAt) = escrow.channels(books.id);
        vm.assume(books.claimed <= books.locked);
        books.credit = escrow.creditOf(provider);
        books.balance = token.balanceOf(address(escrow));

        books.otherId = SVM.createBytes32("another channel");
        vm.assume(books.otherId != books.id);
        books.otherSlot = slotOf(books.otherId);
        books.otherProvider = anyone("another provider");
        vm.assume(books.otherProvider != provider);
        books.otherCredit = escrow.creditOf(books.otherProvider);
        books.otherAccumulator = escrow.accumulatorOf(books.otherProvider);
    }

    /// @dev All but `claim`: `claimed` stays where it is.
    function close(Books memory books, bool mayShrink) internal view {
        (uint96 locked, uint96 claimed,) = escrow.channels(books.id);
        assert(claimed == books.claimed);
        assert(claimed <= locked);
        assert(mayShrink || locked >= books.locked);
        solvent(books, uint256(locked) - claimed, uint256(books.locked) - books.claimed);
        isolated(books);
    }

    function solvent(Books memory books, uint256 openAfter, uint256 openBefore) internal view {
        uint256 balance = token.balanceOf(address(escrow));
        uint256 credit = escrow.creditOf(books.provider);
        unchecked {
            assert(balance - books.balance == openAfter - openBefore + credit - books.credit);
        }
    }

    function isolated(Books memory books) internal view {
        assert(slotOf(books.otherId) == books.otherSlot);
        assert(escrow.creditOf(books.otherProvider) == books.otherCredit);
        assert(escrow.accumulatorOf(books.otherProvider) == books.otherAccumulator);
    }

    // ---- Funding ----

    function anyLock() internal pure returns (Lock memory) {
        return Lock({
            payer: anyone("payer"),
            provider: anyone("provider"),
            signer: anyone("signer"),
            amount: any96("amount"),
            salt: SVM.createBytes32("salt"),
            deadline: any64("deadline")
        });
    }

    function check_lock(address payer, address provider, address signer, uint96 amount) public {
        Books memory books = open(payer, provider, signer);
        vm.prank(payer);
        escrow.lock(provider, signer, amount);
        close(books, false);
    }

    function check_lockWithPermit(address payer, address provider, address signer, uint96 amount) public {
        Books memory books = open(payer, provider, signer);
        // The permit is any bytes: nothing depends on it.
        bytes memory call = abi.encodePacked(
            escrow.lockWithPermit.selector, SVM.createBytes(96, "permit"), abi.encode(provider, signer, amount)
        );
        vm.prank(payer);
        (bool isLocked,) = address(escrow).call(call);
        vm.assume(isLocked);
        close(books, false);
    }

    function check_lockMany_of_two_channels(address payer, LockPart memory one, LockPart memory two) public {
        Books memory books = open(payer, one.provider, one.signer);
        bytes32 id = idOf(payer, two.provider, two.signer);
        vm.assume(id != books.id && id != books.otherId);
        (uint96 locked, uint96 claimed,) = escrow.channels(id);

        LockPart[] memory parts = new LockPart[](2);
        (parts[0], parts[1]) = (one, two);
        vm.prank(payer);
        escrow.lockMany(parts);

        (uint96 lockedAfter, uint96 claimedAfter,) = escrow.channels(id);
        (uint96 firstAfter, uint96 firstClaimed,) = escrow.channels(books.id);
        assert(claimedAfter == claimed && firstClaimed == books.claimed);
        assert(lockedAfter >= locked && firstAfter >= books.locked);
        solvent(books, uint256(firstAfter) + lockedAfter, uint256(books.locked) + locked);
        isolated(books);
    }

    function check_lockMany_twice_the_same_channel(
        address payer,
        address provider,
        address signer,
        uint96 one,
        uint96 two
    ) public {
        Books memory books = open(payer, provider, signer);
        LockPart[] memory parts = new LockPart[](2);
        (parts[0], parts[1]) = (LockPart(provider, signer, one), LockPart(provider, signer, two));
        vm.prank(payer);
        escrow.lockMany(parts);
        close(books, false);
    }

    function check_lockFor(address sender) public {
        Lock memory wanted = anyLock();
        Books memory books = open(wanted.payer, wanted.provider, wanted.signer);
        vm.prank(sender);
        escrow.lockFor(wanted, anySignature());
        close(books, false);
    }

    function check_lockWithAuthorization(address sender) public {
        Lock memory wanted = anyLock();
        Books memory books = open(wanted.payer, wanted.provider, wanted.signer);
        vm.prank(sender);
        escrow.lockWithAuthorization(wanted, anySignature());
        close(books, false);
    }

    function check_lockWithPermit2(address sender) public {
        Lock memory wanted = anyLock();
        Books memory books = open(wanted.payer, wanted.provider, wanted.signer);
        vm.prank(sender);
        escrow.lockWithPermit2(wanted, anySignature());
        close(books, false);
    }

    // ---- Earning ----

    struct Row {
        address payer;
        uint96 total;
        uint32 receiptCount;
        bytes32 receiptsRoot;
        bytes32 r;
        bytes32 vs;
    }

    function pack(Row memory row) internal pure returns (bytes memory) {
        return abi.encodePacked(row.payer, row.total, row.receiptCount, row.receiptsRoot, row.r, row.vs);
    }

    /// @dev Whose channel the row is on: the one who signed it.
    function signerOf(address provider, Row memory row) internal view returns (address) {
        bytes32 digest = escrow.voucherDigest(row.payer, provider, row.total, row.receiptCount, row.receiptsRoot);
        uint8 v = uint8((uint256(row.vs) >> 255) + 27);
        return ecrecover(digest, v, row.r, bytes32(uint256(row.vs) << 1 >> 1));
    }

    function check_claim_of_one_row(address sender, address provider, Row memory row) public {
        Books memory books = open(row.payer, provider, signerOf(provider, row));
        vm.prank(sender);
        uint256 credited = escrow.claim(provider, pack(row));

        (uint96 locked, uint96 claimed, uint64 unlockAt) = escrow.channels(books.id);
        assert(locked == books.locked && unlockAt == books.unlockAt);
        assert(claimed == books.claimed || claimed == row.total);
        assert(claimed >= books.claimed && claimed <= locked);
        assert(credited == claimed - books.claimed);
        solvent(books, uint256(locked) - claimed, uint256(books.locked) - books.claimed);
        isolated(books);
    }

    function check_claim_of_two_rows(address sender, address provider, Row memory one, Row memory two) public {
        Books memory books = open(one.payer, provider, signerOf(provider, one));
        bytes32 id = idOf(two.payer, provider, signerOf(provider, two));
        vm.assume(id != books.id && id != books.otherId);
        (uint96 locked, uint96 claimed,) = escrow.channels(id);
        vm.assume(claimed <= locked);

        vm.prank(sender);
        uint256 credited = escrow.claim(provider, bytes.concat(pack(one), pack(two)));

        (uint96 firstLocked, uint96 first,) = escrow.channels(books.id);
        (uint96 secondLocked, uint96 second,) = escrow.channels(id);
        assert(firstLocked == books.locked && secondLocked == locked);
        assert(first >= books.claimed && first <= firstLocked);
        assert(second >= claimed && second <= secondLocked);
        assert(credited == uint256(first - books.claimed) + (second - claimed));
        assert(token.balanceOf(address(escrow)) == books.balance);
        assert(escrow.creditOf(provider) == books.credit + credited);
        isolated(books);
    }

    /// @dev The higher total is paid, in either order, and never both.
    function check_claim_of_two_rows_of_one_channel(address sender, address provider, Row memory one, Row memory two)
        public
    {
        address signer = signerOf(provider, one);
        vm.assume(two.payer == one.payer && signerOf(provider, two) == signer);
        Books memory books = open(one.payer, provider, signer);
        vm.prank(sender);
        uint256 credited = escrow.claim(provider, bytes.concat(pack(one), pack(two)));

        (uint96 locked, uint96 claimed,) = escrow.channels(books.id);
        assert(locked == books.locked && claimed >= books.claimed && claimed <= locked);
        assert(credited == claimed - books.claimed);
        solvent(books, uint256(locked) - claimed, uint256(books.locked) - books.claimed);
        isolated(books);
    }

    /// @dev The credit is gone, and it or nothing was paid: nothing where the payout address is the escrow itself.
    function check_sweep(address sender, address payer, address provider, address signer) public {
        Books memory books = open(payer, provider, signer);
        vm.prank(sender);
        uint256 amount = escrow.sweep(provider);
        uint256 balance = token.balanceOf(address(escrow));
        assert(escrow.creditOf(provider) == 0);
        assert(amount == books.credit && (balance == books.balance - amount || balance == books.balance));
        (uint96 locked, uint96 claimed, uint64 unlockAt) = escrow.channels(books.id);
        assert(locked == books.locked && claimed == books.claimed && unlockAt == books.unlockAt);
        isolated(books);
    }

    /// @dev From a provider without credit: what it earns and sweeps reaches the address it chose.
    function check_earnings_reach_the_payout_address(address provider, address next, Row memory row) public {
        vm.assume(escrow.creditOf(provider) == 0);
        address before = escrow.payoutOf(provider);
        escrow.claim(provider, pack(row));
        vm.prank(provider);
        escrow.requestPayout(next);
        address payout = escrow.payoutOf(provider);
        assert(payout == before || payout == next);
        vm.assume(payout != address(escrow));
        uint256 had = token.balanceOf(payout);
        uint256 amount = escrow.sweep(provider);
        assert(token.balanceOf(payout) == had + amount);
    }

    function check_payout_changes(address sender, address payer, address provider, address signer) public {
        Books memory books = open(payer, provider, signer);
        uint256 kind = SVM.createUint(2, "kind");
        vm.prank(sender);
        if (kind == 0) escrow.requestPayout(anyone("next"));
        else if (kind == 1) escrow.applyPayout(provider);
        else if (kind == 2) escrow.vetoPayout(provider);
        else escrow.revokeAuthorization(SVM.createBytes32("digest"));
        close(books, false);
    }

    // ---- The way out ----

    function check_unlock_requests_by_the_payer(address payer, address provider, address signer) public {
        Books memory books = open(payer, provider, signer);
        bool isCancelled = SVM.createUint(1, "cancel") == 1;
        vm.prank(payer);
        if (isCancelled) escrow.cancelUnlock(provider, signer);
        else escrow.requestUnlock(provider, signer);
        close(books, false);
    }

    function check_requestUnlockFor(address sender, address payer, address provider, address signer) public {
        Books memory books = open(payer, provider, signer);
        vm.prank(sender);
        escrow.requestUnlockFor(payer, provider, signer, any64("deadline"), anySignature());
        close(books, false);
    }

    function check_cancelUnlockFor(address sender, address payer, address provider, address signer) public {
        Books memory books = open(payer, provider, signer);
        vm.prank(sender);
        escrow.cancelUnlockFor(payer, provider, signer, any64("unlockAt"), any64("deadline"), anySignature());
        close(books, false);
    }

    /// @dev No channel has the escrow as its payer: see `check_the_escrow_funds_nothing`.
    function check_unlock(address sender, address payer, address provider, address signer) public {
        Books memory books = open(payer, provider, signer);
        vm.assume(payer != address(escrow));
        vm.prank(sender);
        escrow.unlock(payer, provider, signer);
        assert(books.unlockAt != 0 && block.timestamp >= books.unlockAt);
        close(books, true);
    }

    function check_release(
        address sender,
        address payer,
        address provider,
        address signer,
        uint96 total,
        uint64 deadline,
        bytes32 r,
        bytes32 vs
    ) public {
        Books memory books = open(payer, provider, signer);
        vm.assume(payer != address(escrow));
        bytes32 digest = escrow.releaseDigest(books.id, total, deadline);
        vm.prank(sender);
        escrow.release(payer, signer, provider, total, deadline, r, vs);

        uint8 v = uint8((uint256(vs) >> 255) + 27);
        assert(ecrecover(digest, v, r, bytes32(uint256(vs) << 1 >> 1)) == provider);
        (uint96 locked, uint96 claimed, uint64 unlockAt) = escrow.channels(books.id);
        assert(locked >= total);
        assert(unlockAt == (locked == claimed ? 0 : books.unlockAt));
        close(books, true);
    }

    /// @dev A transfer to itself brings nothing, and what does not arrive is not booked.
    function check_the_escrow_funds_nothing(address sender) public {
        Lock memory wanted = anyLock();
        wanted.payer = address(escrow);
        uint256 kind = SVM.createUint(2, "kind");
        vm.prank(sender);
        bool isLocked;
        if (kind == 0) {
            try escrow.lockFor(wanted, anySignature()) {
                isLocked = true;
            } catch {}
        } else if (kind == 1) {
            try escrow.lockWithAuthorization(wanted, anySignature()) {
                isLocked = true;
            } catch {}
        } else {
            try escrow.lockWithPermit2(wanted, anySignature()) {
                isLocked = true;
            } catch {}
        }
        assert(!isLocked);
    }
}
