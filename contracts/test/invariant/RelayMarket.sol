// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RowenEscrow} from "../../src/RowenEscrow.sol";
import {Lock, LockPart} from "../../src/interfaces/IRowenEscrow.sol";
import {TestUSDC} from "../../src/test-token/TestUSDC.sol";
import {HookUSDC} from "../Tokens.sol";
import {Typed} from "../Typed.sol";
import {Book, State} from "./Books.sol";
import {Market} from "./Market.sol";

/// @notice What a payer's signature is for.
enum Way {
    LockFor,
    Authorization,
    Permit2,
    RequestUnlock,
    CancelUnlock
}

/// @notice A payer's signature in the hands of strangers, who send it when it suits them, and as often as they like.
struct Wish {
    uint256 book;
    Way way;
    Lock lock; // of an unlock request, all but the amount; of its cancellation, the salt is `unlockAt`
    bytes32 digest;
    bytes signature;
    bool isUsed;
}

/// @notice The market, with payers who sign and hostile senders between them and the chain.
contract RelayMarket is Market {
    Wish[] private _wishes;
    uint256 private _salt;

    constructor(RowenEscrow escrow_, TestUSDC usdc_, bytes32 domain) Market(escrow_, usdc_, domain) {
        for (uint256 i = 0; i < 6; ++i) {
            vm.prank(vm.addr(uint256(keccak256(abi.encode("payer", i)))));
            usdc_.approve(Typed.PERMIT2, type(uint256).max);
        }
    }

    // ---- Payers ----

    /// @notice Signs a funding and gives it away.
    function wish(uint256 seed, uint96 amount, uint32 time) external {
        (Book storage book, uint256 index) = pick(seed);
        amount = uint96(bound(amount, MIN_LOCK, 1e12));
        usdc.mint(book.payer, amount);
        Lock memory wanted = lockOf(book, amount, ++_salt, time);
        Way way = Way(seed % 3);
        bytes32 digest = way == Way.LockFor
            ? Typed.lock(_domain, wanted)
            : way == Way.Authorization
                ? Typed.authorization(usdc.DOMAIN_SEPARATOR(), "ReceiveWithAuthorization", address(escrow), wanted)
                : Typed.permit2(address(usdc), address(escrow), wanted);
        keep(index, way, wanted, digest, book.payerKey);
    }

    /// @notice Signs a request to leave, or a cancellation of the one that is pending, and gives it away.
    function askOut(uint256 seed, uint32 time) external {
        (, uint256 index) = pickIn(seed % 2 == 0 ? State.Open : State.Leaving, seed >> 1);
        askOutOf(index, time);
    }

    function askOutOf(uint256 index, uint32 time) private {
        Book storage book = _books[index];
        bool isRequest = book.unlockAt == 0;
        Lock memory wanted = lockOf(book, 0, book.unlockAt, time);
        (address payer, address provider, address signer) = (wanted.payer, wanted.provider, wanted.signer);
        bytes32 digest = isRequest
            ? Typed.requestUnlock(_domain, payer, provider, signer, wanted.deadline)
            : Typed.cancelUnlock(_domain, payer, provider, signer, uint64(book.unlockAt), wanted.deadline);
        // The same words signed twice are one wish.
        for (uint256 i = 0; i < _wishes.length; ++i) {
            if (_wishes[i].digest == digest) return;
        }
        keep(index, isRequest ? Way.RequestUnlock : Way.CancelUnlock, wanted, digest, book.payerKey);
    }

    /// @notice Gives a cancellation away, cancels by itself instead, and asks again a little later.
    function changeMind(uint256 seed) external {
        (Book storage book, uint256 index) = pickIn(State.Leaving, seed);
        if (book.unlockAt == 0 || lockedOf(book) == book.claimed) return;
        askOutOf(index, 7 days - 1);
        vm.prank(book.payer);
        escrow.cancelUnlock(providerOf(book), book.signer);
        vm.warp(block.timestamp + 1);
        vm.prank(book.payer);
        escrow.requestUnlock(providerOf(book), book.signer);
        book.unlockAt = block.timestamp + escrow.unlockDelay();
    }

    function revoke(uint256 seed) external {
        if (_wishes.length == 0) return;
        Wish storage wish_ = _wishes[seed % _wishes.length];
        if (wish_.isUsed || wish_.way == Way.Authorization || wish_.way == Way.Permit2) return;
        vm.prank(wish_.lock.payer);
        escrow.revokeAuthorization(wish_.digest);
        wish_.isUsed = true;
    }

    function lockMany(uint256 seed, uint96 amount) external {
        (Book storage first,) = pick(seed);
        (Book storage second,) = pick(seed % CHANNELS + 6);
        if (first.unlockAt != 0 || second.unlockAt != 0 || first.payer != second.payer) return;
        amount = uint96(bound(amount, MIN_LOCK, 1e12));
        LockPart[] memory parts = new LockPart[](3);
        parts[0] = LockPart(providerOf(first), first.signer, amount);
        parts[1] = LockPart(providerOf(second), second.signer, MIN_LOCK);
        parts[2] = parts[0];
        usdc.mint(first.payer, 2 * uint256(amount) + MIN_LOCK);
        vm.prank(first.payer);
        escrow.lockMany(parts);
        first.deposited += 2 * uint256(amount);
        second.deposited += MIN_LOCK;
    }

    // ---- The token ----

    /// @notice Has the token call the escrow in the middle of the next transfer: with everything that moves tokens, or is
    /// somebody else's to decide. The token itself has no channel, no credit and no bond.
    function reenter(uint256 seed) external {
        (Book storage book, uint256 index) = pick(seed >> 8);
        address provider = providerOf(book);
        bytes[9] memory calls;
        calls[0] = abi.encodeCall(escrow.sweep, (provider));
        calls[1] = abi.encodeCall(escrow.unlock, (book.payer, provider, book.signer));
        calls[2] = abi.encodeCall(escrow.lock, (provider, book.signer, MIN_LOCK));
        calls[3] = abi.encodeCall(escrow.requestUnlock, (provider, book.signer));
        calls[4] = abi.encodeCall(escrow.cancelUnlock, (provider, book.signer));
        calls[5] = abi.encodeCall(escrow.vetoPayout, (provider));
        calls[6] = abi.encodeCall(escrow.lockMany, (new LockPart[](1)));
        calls[7] = abi.encodeCall(escrow.claim, (provider, new bytes(131)));
        // A signature that would count if it came by itself.
        calls[8] = _wishes.length == 0 ? calls[0] : callOf(_wishes[index % _wishes.length]);
        HookUSDC(address(usdc)).setHook(address(escrow), calls[seed % 9]);
    }

    // ---- The senders ----

    /// @notice Sends any signature there is, used or not, late or not; it counts if and only if the payer would want it.
    function send(uint256 seed) external {
        if (_wishes.length == 0) return;
        sendOne(_wishes[seed % _wishes.length]);
    }

    /// @notice Sends a cancellation, most likely one held back while the payer changed its mind twice.
    function sendCancellation(uint256 seed) external {
        for (uint256 i = 0; i < _wishes.length; ++i) {
            Wish storage wish_ = _wishes[(seed % _wishes.length + i) % _wishes.length];
            if (wish_.way == Way.CancelUnlock && !wish_.isUsed) return sendOne(wish_);
        }
    }

    function sendOne(Wish storage wish_) private {
        Book storage book = _books[wish_.book];
        bool isGood = !wish_.isUsed && isInTime(wish_) && fits(wish_, book);
        (bool done,) = address(escrow).call(callOf(wish_));
        check(done == isGood, "E17: a signature counts exactly once, in time, and where it fits");
        if (!done) return;
        wish_.isUsed = true;
        if (wish_.way == Way.RequestUnlock) book.unlockAt = block.timestamp + escrow.unlockDelay();
        else if (wish_.way == Way.CancelUnlock) book.unlockAt = 0;
        else book.deposited += wish_.lock.amount;
    }

    function isInTime(Wish storage wish_) private view returns (bool) {
        uint64 deadline = wish_.lock.deadline;
        return wish_.way == Way.Authorization ? block.timestamp < deadline : block.timestamp <= deadline;
    }

    function fits(Wish storage wish_, Book storage book) private view returns (bool) {
        if (wish_.way == Way.RequestUnlock) {
            return book.unlockAt == 0 && lockedOf(book) != book.claimed;
        }
        if (wish_.way == Way.CancelUnlock) return book.unlockAt == uint256(wish_.lock.salt);
        return book.unlockAt == 0;
    }

    function callOf(Wish storage wish_) private view returns (bytes memory) {
        Lock memory l = wish_.lock;
        bytes memory s = wish_.signature;
        if (wish_.way == Way.LockFor) return abi.encodeCall(escrow.lockFor, (l, s));
        if (wish_.way == Way.Authorization) return abi.encodeCall(escrow.lockWithAuthorization, (l, s));
        if (wish_.way == Way.Permit2) return abi.encodeCall(escrow.lockWithPermit2, (l, s));
        if (wish_.way == Way.RequestUnlock) {
            return abi.encodeCall(escrow.requestUnlockFor, (l.payer, l.provider, l.signer, l.deadline, s));
        }
        uint64 unlockAt = uint64(uint256(l.salt));
        return abi.encodeCall(escrow.cancelUnlockFor, (l.payer, l.provider, l.signer, unlockAt, l.deadline, s));
    }

    // ---- Signing ----

    function lockOf(Book storage book, uint96 amount, uint256 salt, uint32 time) private view returns (Lock memory) {
        return Lock({
            payer: book.payer,
            provider: providerOf(book),
            signer: book.signer,
            amount: amount,
            salt: bytes32(salt),
            deadline: uint64(block.timestamp + time % 7 days)
        });
    }

    function keep(uint256 book, Way way, Lock memory wanted, bytes32 digest, uint256 key) private {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        _wishes.push(Wish(book, way, wanted, digest, abi.encodePacked(r, s, v), false));
    }
}
