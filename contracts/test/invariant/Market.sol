// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Vm.sol";

import {RowenEscrow} from "../../src/RowenEscrow.sol";
import {IRowenEscrow} from "../../src/interfaces/IRowenEscrow.sol";
import {TestUSDC} from "../../src/test-token/TestUSDC.sol";
import {Typed} from "../Typed.sol";
import {Book, Books, State} from "./Books.sol";

/// @notice A row some client signed once: it may be shown again at any time, by anybody.
struct OldRow {
    uint256 book;
    uint96 total;
    bytes row;
}

/// @notice A market of 8 providers and 16 channels, in which some are honest and some are not. Every action keeps plain
/// books beside the contract; the invariants compare the two.
contract Market is Books {
    uint96 internal constant MIN_LOCK = 1e6;

    RowenEscrow public immutable escrow;

    OldRow[] private _oldRows;
    uint64 private _releases;

    mapping(uint256 provider => uint256) public earned;
    mapping(uint256 provider => uint256) public swept;
    mapping(uint256 provider => bytes32) public accumulator;
    mapping(uint256 provider => address) public payout;
    mapping(uint256 provider => address) public nextPayout;
    mapping(uint256 provider => uint256) public payoutAt;

    constructor(RowenEscrow escrow_, TestUSDC usdc_, bytes32 domain) Books(8, usdc_, domain) {
        escrow = escrow_;
        for (uint256 i = 0; i < _providers.length; ++i) {
            payout[i] = _providers[i].addr;
        }
        for (uint256 i = 0; i < 6; ++i) {
            vm.prank(vm.addr(uint256(keccak256(abi.encode("payer", i)))));
            usdc.approve(address(escrow), type(uint256).max);
        }
        // Six payers; each pair of neighbours shares a session key, which must not join their channels.
        for (uint256 i = 0; i < CHANNELS; ++i) {
            uint256 payerKey = uint256(keccak256(abi.encode("payer", i % 6)));
            address payer = vm.addr(payerKey);
            address signer = vm.addr(uint256(keccak256(abi.encode("session", i / 2))));
            _books.push(
                Book({
                    id: keccak256(abi.encode(payer, _providers[i % _providers.length].addr, signer)),
                    payer: payer,
                    signer: signer,
                    provider: i % _providers.length,
                    key: uint256(keccak256(abi.encode("session", i / 2))),
                    payerKey: payerKey,
                    deposited: 0,
                    refunded: 0,
                    claimed: 0,
                    unlockAt: 0,
                    promised: 0
                })
            );
        }
    }

    // ---- Honest clients ----

    function lock(uint256 seed, uint96 amount) external {
        (Book storage book,) = pick(seed);
        amount = uint96(bound(amount, MIN_LOCK, 1e12));
        usdc.mint(book.payer, amount);
        bytes memory call = abi.encodeCall(escrow.lock, (providerOf(book), book.signer, amount));
        if (book.unlockAt != 0) return mustFail(book.payer, call, "E20: nobody adds to what is leaving");
        vm.prank(book.payer);
        escrow.lock(providerOf(book), book.signer, amount);
        book.deposited += amount;
    }

    function sell(uint256 seed, uint96 more) external {
        (Book storage book, uint256 index) = pickIn(State.Sellable, seed);
        uint96 locked = lockedOf(book);
        if (locked <= book.promised || book.unlockAt != 0) return;
        book.promised = uint96(bound(more, book.promised + 1, locked));
        _oldRows.push(OldRow(index, book.promised, sign(book, book.promised)));
    }

    // ---- Honest providers ----

    /// @notice A provider that is owed something claims it.
    function claim(uint256 seed) external {
        (Book storage book,) = pickIn(State.Owing, seed);
        claimFor(book.provider);
    }

    /// @dev The highest voucher of each of the provider's channels; each must pay in full.
    function claimFor(uint256 provider) private {
        bytes memory rows;
        uint256 owed;
        for (uint256 i = provider; i < CHANNELS; i += PROVIDERS) {
            Book storage book = _books[i];
            if (book.promised <= book.claimed) continue;
            owed += book.promised - book.claimed;
            book.claimed = book.promised;
            rows = bytes.concat(rows, sign(book, book.promised));
        }
        if (rows.length != 0) submit(provider, rows, owed);
    }

    function sweep(uint256 seed) external {
        uint256 provider = seed % PROVIDERS;
        for (uint256 i = 0; i < PROVIDERS && earned[provider] == swept[provider]; ++i) {
            provider = (provider + 1) % PROVIDERS;
        }
        sweepOf(provider);
    }

    function sweepOf(uint256 provider) private {
        uint256 amount = earned[provider] - swept[provider];
        if (amount == 0) return;
        uint256 before = usdc.balanceOf(payout[provider]);
        check(escrow.sweep(_providers[provider].addr) == amount, "E12: a sweep sends the credit");
        check(usdc.balanceOf(payout[provider]) == before + amount, "E12: to the payout address");
        swept[provider] += amount;
    }

    function requestPayout(uint256 seed) external {
        uint256 provider = seed % PROVIDERS;
        address operator = _providers[provider].addr;
        address next = address(uint160(0xc01d000 + seed % 1000));
        vm.prank(operator);
        escrow.requestPayout(next);
        if (payout[provider] == operator) payout[provider] = next;
        else (nextPayout[provider], payoutAt[provider]) = (next, block.timestamp + escrow.payoutDelay());
    }

    /// @notice Vetoes or applies what a provider asked for, if one did; too early it must fail, and so must a stranger's veto.
    function settlePayout(uint256 seed, bool isVetoed) external {
        uint256 provider = seed % PROVIDERS;
        for (uint256 i = 0; i < PROVIDERS && nextPayout[provider] == address(0); ++i) {
            provider = (provider + 1) % PROVIDERS;
        }
        address operator = _providers[provider].addr;
        bytes memory call = abi.encodeCall(escrow.applyPayout, (operator));
        if (nextPayout[provider] == address(0)) return mustFail(operator, call, "E10: nothing was asked for");
        if (isVetoed) {
            mustFail(address(this), abi.encodeCall(escrow.vetoPayout, (operator)), "E10: only its predecessor vetoes");
            vm.prank(payout[provider]);
            escrow.vetoPayout(operator);
        } else {
            if (block.timestamp < payoutAt[provider]) return mustFail(operator, call, "E10: not before its time");
            escrow.applyPayout(operator);
            payout[provider] = nextPayout[provider];
        }
        (nextPayout[provider], payoutAt[provider]) = (address(0), 0);
    }

    // ---- Those who leave ----

    function requestUnlock(uint256 seed) external {
        (Book storage book,) = seed % 8 == 0 ? pick(seed >> 3) : pickIn(State.Open, seed);
        if (book.unlockAt != 0 || lockedOf(book) == book.claimed) {
            bytes memory call = abi.encodeCall(escrow.requestUnlock, (providerOf(book), book.signer));
            return mustFail(book.payer, call, "E20: a request is made once, and for something");
        }
        requestUnlockOf(book);
    }

    function requestUnlockOf(Book storage book) private {
        vm.prank(book.payer);
        escrow.requestUnlock(providerOf(book), book.signer);
        book.unlockAt = block.timestamp + escrow.unlockDelay();
    }

    function cancelUnlock(uint256 seed) external {
        (Book storage book,) = pickIn(State.Leaving, seed);
        bytes memory call = abi.encodeCall(escrow.cancelUnlock, (providerOf(book), book.signer));
        if (book.unlockAt == 0) return mustFail(book.payer, call, "E20: there is nothing to take back");
        vm.prank(book.payer);
        escrow.cancelUnlock(providerOf(book), book.signer);
        book.unlockAt = 0;
    }

    /// @notice Too early it must fail. In time, the provider has used the delay to claim.
    function unlock(uint256 seed) external {
        (Book storage book,) = pickIn(State.Leaving, seed);
        bytes memory call = abi.encodeCall(escrow.unlock, (book.payer, providerOf(book), book.signer));
        if (book.unlockAt == 0) return mustFail(book.payer, call, "E13: no unlock unasked");
        if (block.timestamp < book.unlockAt) return mustFail(book.payer, call, "E13: no unlock before its time");
        unlockOf(book);
    }

    function unlockOf(Book storage book) private {
        claimFor(book.provider);
        uint256 refund = lockedOf(book) - book.claimed;
        uint256 before = usdc.balanceOf(book.payer);
        escrow.unlock(book.payer, providerOf(book), book.signer);
        check(usdc.balanceOf(book.payer) == before + refund, "E14: an unlock refunds the payer");
        book.refunded += refund;
        book.unlockAt = 0;
    }

    // ---- The end: every channel and every provider, one after the other ----

    function askAllOut() external {
        for (uint256 i = 0; i < CHANNELS; ++i) {
            if (_books[i].unlockAt == 0 && lockedOf(_books[i]) != _books[i].claimed) requestUnlockOf(_books[i]);
        }
    }

    function letAllOut() external {
        for (uint256 i = 0; i < CHANNELS; ++i) {
            if (_books[i].unlockAt != 0) unlockOf(_books[i]);
        }
        for (uint256 i = 0; i < PROVIDERS; ++i) {
            claimFor(i);
            sweepOf(i);
        }
    }

    // ---- Those who may give back ----

    /// @notice Releases down to what was promised, sometimes before it was claimed; or to anything else, as a provider does
    /// that would keep a payer from leaving, or forgoes what it was promised. Then tries the same release again.
    function release(uint256 seed, uint96 kept, bool isHonest) external {
        (Book storage book,) = seed % 2 == 0 ? pick(seed >> 1) : pickIn(State.Leaving, seed);
        uint96 total = isHonest ? book.promised : uint96(bound(kept, 0, lockedOf(book)));
        // A different deadline each, or a second release of the same total would be the first again.
        bytes memory call = releaseOf(book, total, uint64(block.timestamp) + 1 days + ++_releases);
        (bool done,) = address(escrow).call(call);
        check(done, "E15: a release works");
        uint256 left = total > book.claimed ? total : book.claimed;
        book.refunded += lockedOf(book) - left;
        if (left == book.claimed) book.unlockAt = 0;
        if (left < book.promised) book.promised = uint96(left);
        mustFail(book.payer, call, "E15: a release works once");
        mustFail(book.payer, releaseOf(book, total, uint64(block.timestamp) - 1), "E15: and in time");
    }

    function releaseOf(Book storage book, uint96 total, uint64 deadline) private view returns (bytes memory) {
        (bytes32 r, bytes32 vs) =
            vm.signCompact(_providers[book.provider].privateKey, Typed.release(_domain, book.id, total, deadline));
        return abi.encodeCall(escrow.release, (book.payer, book.signer, providerOf(book), total, deadline, r, vs));
    }

    // ---- The hostile ----

    /// @notice Anybody claims old, foreign, repeated, unfunded, changed and random rows in any order.
    function attack(uint256 seed, uint256 victim) external {
        uint256 provider = victim % PROVIDERS;
        // Often one whose clients signed something.
        if (victim % 4 != 0 && _oldRows.length != 0) {
            provider = _books[_oldRows[(victim >> 2) % _oldRows.length].book].provider;
        }
        bytes memory rows;
        uint256 owed;
        for (uint256 i = 0; i < 1 + seed % 6; ++i) {
            uint256 roll = uint256(keccak256(abi.encode(seed, i)));
            if (roll % 8 < 4 && _oldRows.length != 0) {
                OldRow storage old = _oldRows[(roll >> 8) % _oldRows.length];
                rows = bytes.concat(rows, old.row);
                Book storage book = _books[old.book];
                if (book.provider == provider && old.total > book.claimed && old.total <= lockedOf(book)) {
                    owed += old.total - book.claimed;
                    book.claimed = old.total;
                }
            } else if (roll % 8 < 6) {
                // A client promises more than it has.
                Book storage book = _books[(roll >> 8) % CHANNELS];
                rows = bytes.concat(rows, sign(book, lockedOf(book) + 1 + uint96(roll >> 16) % 1e12));
            } else if (roll % 8 < 7 && _oldRows.length != 0) {
                bytes memory changed = _oldRows[(roll >> 8) % _oldRows.length].row;
                changed[(roll >> 16) % 132] ^= bytes1(uint8(1 << (roll >> 32) % 8));
                rows = bytes.concat(rows, changed);
            } else {
                bytes32 noise = keccak256(abi.encode(roll));
                rows = bytes.concat(rows, noise, noise, noise, bytes4(noise), noise);
            }
        }
        submit(provider, rows, owed);
    }

    /// @notice A stranger sends dust: to the contract itself, and into a channel of its own with somebody else's key.
    function dust(uint256 seed) external {
        give(address(escrow), seed % 10);
        (Book storage book,) = pick(seed);
        usdc.mint(address(this), MIN_LOCK);
        usdc.approve(address(escrow), MIN_LOCK);
        escrow.lock(providerOf(book), book.signer, MIN_LOCK);
        donated += MIN_LOCK;
    }

    // ---- The books ----

    /// @dev What nobody may do is tried all the same: a campaign that never tries would not notice.
    function mustFail(address sender, bytes memory call, string memory promise_) internal {
        vm.prank(sender);
        (bool done,) = address(escrow).call(call);
        check(!done, promise_);
    }

    function sign(Book storage book, uint96 total) private view returns (bytes memory) {
        bytes32 root = keccak256(abi.encode(book.key, total));
        bytes32 digest = Typed.voucher(_domain, book.payer, providerOf(book), total, uint32(total), root);
        (bytes32 r, bytes32 vs) = vm.signCompact(book.key, digest);
        return abi.encodePacked(book.payer, total, uint32(total), root, r, vs);
    }

    /// @dev Claims `rows`, expects `owed`, and rolls the accumulator from the events, as an auditor would.
    function submit(uint256 provider, bytes memory rows, uint256 owed) private {
        address operator = _providers[provider].addr;
        vm.recordLogs();
        check(escrow.claim(operator, rows) == owed, "E16: a claim credits what the books say");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 tested;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter != address(escrow)) continue;
            ++tested;
            if (logs[i].topics[0] != IRowenEscrow.Claimed.selector) continue;
            address payer = address(uint160(uint256(logs[i].topics[2])));
            (, uint96 total, uint32 count, bytes32 root) = abi.decode(logs[i].data, (address, uint96, uint32, bytes32));
            accumulator[provider] = keccak256(
                bytes.concat(Typed.voucher(_domain, payer, operator, total, count, root), accumulator[provider])
            );
        }
        check(tested == rows.length / 132, "E16: every row has its event");
        earned[provider] += owed;
    }
}
