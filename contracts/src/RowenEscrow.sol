// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {Channel, IRowenEscrow, SkipReason} from "./interfaces/IRowenEscrow.sol";
import {ClaimRows, Voucher} from "./libraries/ClaimRows.sol";

/// @title RowenEscrow
/// @notice See `IRowenEscrow` for what it promises and what it assumes.
/// @dev Reentrancy: what calls the token is `nonReentrant`. What does not (`claim`, the payout and unlock requests) makes
/// no outside call but to the `ecrecover` precompile and moves no token, so entering it from inside a token transfer does
/// what a transaction of its own would do.
contract RowenEscrow is IRowenEscrow, EIP712, ReentrancyGuardTransient {
    using ClaimRows for bytes;
    using ClaimRows for Voucher;
    using SafeERC20 for IERC20;

    struct Payout {
        address present;
        address next;
        uint64 applyAt;
    }

    bytes32 private constant RELEASE_TYPEHASH = keccak256("Release(bytes32 channelId,uint96 total,uint64 deadline)");

    /// @dev A longer delay is taken for a mistake of the deployer's: it could never be corrected.
    uint64 private constant DELAY_MAX = 30 days;

    IERC20 public immutable token;
    uint64 public immutable unlockDelay;
    uint64 public immutable payoutDelay;
    uint96 public immutable minLock;

    // Auditors read these by storage proof. Their slots are recorded beside the ABI, and a test holds them in place.
    mapping(bytes32 id => Channel) public channels;
    mapping(address provider => uint256) public creditOf;
    mapping(address provider => bytes32) public accumulatorOf;
    mapping(address provider => Payout) private _payouts;
    mapping(bytes32 digest => bool) public isReleaseUsed;

    constructor(IERC20 token_, uint64 unlockDelay_, uint64 payoutDelay_, uint96 minLock_) EIP712("Rowen", "1") {
        require(address(token_).code.length != 0, TokenHasNoCode(address(token_)));
        require(unlockDelay_ != 0 && unlockDelay_ <= DELAY_MAX, DelayOutOfRange(unlockDelay_, DELAY_MAX));
        require(payoutDelay_ != 0 && payoutDelay_ <= DELAY_MAX, DelayOutOfRange(payoutDelay_, DELAY_MAX));

        token = token_;
        unlockDelay = unlockDelay_;
        payoutDelay = payoutDelay_;
        minLock = minLock_;
    }

    // ---- Funding ----

    function lock(address provider, address signer, uint96 amount) external nonReentrant {
        _lock(provider, signer, amount);
    }

    function lockWithPermit(
        address provider,
        address signer,
        uint96 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        // Whoever saw the permit in the mempool may have used it already. Then this call fails and the allowance stands;
        // if there is no allowance, the transfer says so.
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _lock(provider, signer, amount);
    }

    function _lock(address provider, address signer, uint96 amount) private {
        require(provider != address(0) && signer != address(0), ZeroAddress());
        require(amount != 0, ZeroAmount());
        bytes32 id = channelId(msg.sender, provider, signer);
        Channel storage channel = channels[id];
        require(channel.unlockAt == 0, UnlockPending(id, channel.unlockAt));
        uint96 locked = channel.locked;
        require(locked != 0 || amount >= minLock, LockBelowMinimum(amount, minLock));

        locked += amount;
        channel.locked = locked;
        emit Locked(id, msg.sender, provider, signer, amount, locked);

        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        require(received == amount, InexactTransfer(amount, received));
    }

    // ---- Earning ----

    function claim(address provider, bytes calldata rows) external returns (uint256 credited) {
        uint256 count = rows.count();
        bytes32 domainSeparator = _domainSeparatorV4();
        bytes32 accumulator = accumulatorOf[provider];
        Voucher memory voucher;
        voucher.typeHash = ClaimRows.VOUCHER_TYPEHASH;
        voucher.provider = provider;
        for (uint256 i = 0; i < count; ++i) {
            (bytes32 r, bytes32 vs) = rows.read(i, voucher);
            bytes32 digest = MessageHashUtils.toTypedDataHash(domainSeparator, voucher.hash());
            uint256 paid = _pay(voucher, ClaimRows.recover(digest, r, vs), i);
            if (paid != 0) {
                accumulator = Hashes.efficientKeccak256(digest, accumulator);
                // Each is under 2^96, and calldata has no room for 2^160 rows.
                unchecked {
                    credited += paid;
                }
            }
        }
        if (credited != 0) {
            accumulatorOf[provider] = accumulator;
            creditOf[provider] += credited;
        }
    }

    /// @dev Pays the voucher of row `index`, or says why not and returns 0.
    function _pay(Voucher memory voucher, address signer, uint256 index) private returns (uint256 paid) {
        if (signer == address(0)) return _skip(voucher.provider, index, SkipReason.BadSignature);
        Channel storage channel = channels[channelId(voucher.payer, voucher.provider, signer)];
        // One load and one store of the whole slot, `locked 96 | claimed 96 | unlockAt 64` from the lowest bit up. The
        // compiler's own access to the packed fields loads it twice more.
        uint256 slot;
        assembly ("memory-safe") {
            slot := sload(channel.slot)
        }
        // The casts cut the fields out of the slot.
        // forge-lint: disable-next-line(unsafe-typecast)
        (uint96 locked, uint96 claimed) = (uint96(slot), uint96(slot >> 96));
        uint96 total = voucher.total;
        if (total <= claimed) return _skip(voucher.provider, index, SkipReason.NotIncreasing);
        if (total > locked) return _skip(voucher.provider, index, SkipReason.LockExceeded);

        slot ^= uint256(claimed ^ total) << 96;
        assembly ("memory-safe") {
            sstore(channel.slot, slot)
        }
        emit Claimed(voucher.provider, voucher.payer, signer, total, voucher.receiptCount, voucher.receiptsRoot);

        // Not below 0: the total was seen to be above.
        unchecked {
            return total - claimed;
        }
    }

    function _skip(address provider, uint256 index, SkipReason reason) private returns (uint256) {
        emit RowSkipped(provider, index, reason);
        return 0;
    }

    function sweep(address provider) external nonReentrant returns (uint256 amount) {
        amount = creditOf[provider];
        require(amount != 0, NothingToSweep(provider));
        address payout = payoutOf(provider);

        creditOf[provider] = 0;
        emit Swept(provider, payout, amount);

        token.safeTransfer(payout, amount);
    }

    // ---- Payout address ----

    function requestPayout(address next) external {
        require(next != address(0), ZeroAddress());
        Payout storage payout = _payouts[msg.sender];
        if (payout.present == address(0)) {
            payout.present = next;
            emit PayoutChanged(msg.sender, next);
        } else {
            uint64 applyAt = uint64(block.timestamp) + payoutDelay;
            payout.next = next;
            payout.applyAt = applyAt;
            emit PayoutRequested(msg.sender, next, applyAt);
        }
    }

    function applyPayout(address provider) external {
        Payout storage payout = _payouts[provider];
        (address next, uint64 applyAt) = (payout.next, payout.applyAt);
        require(next != address(0), PayoutNotPending(provider));
        require(block.timestamp >= applyAt, PayoutTooEarly(applyAt, block.timestamp));

        _payouts[provider] = Payout({present: next, next: address(0), applyAt: 0});
        emit PayoutChanged(provider, next);
    }

    function vetoPayout(address provider) external {
        Payout storage payout = _payouts[provider];
        (address present, address next) = (payout.present, payout.next);
        require(next != address(0), PayoutNotPending(provider));
        require(msg.sender == present, NotPayoutAddress(present, msg.sender));

        payout.next = address(0);
        payout.applyAt = 0;
        emit PayoutVetoed(provider, next);
    }

    // ---- The payer's way out ----

    function requestUnlock(address provider, address signer) external {
        bytes32 id = channelId(msg.sender, provider, signer);
        Channel storage channel = channels[id];
        require(channel.unlockAt == 0, UnlockPending(id, channel.unlockAt));
        require(channel.locked != channel.claimed, NothingLocked(id));

        uint64 unlockAt = uint64(block.timestamp) + unlockDelay;
        channel.unlockAt = unlockAt;
        emit UnlockRequested(id, unlockAt);
    }

    function cancelUnlock(address provider, address signer) external {
        bytes32 id = channelId(msg.sender, provider, signer);
        Channel storage channel = channels[id];
        require(channel.unlockAt != 0, UnlockNotPending(id));

        channel.unlockAt = 0;
        emit UnlockCancelled(id);
    }

    function unlock(address payer, address provider, address signer) external nonReentrant {
        bytes32 id = channelId(payer, provider, signer);
        Channel storage channel = channels[id];
        uint64 unlockAt = channel.unlockAt;
        require(unlockAt != 0, UnlockNotPending(id));
        require(block.timestamp >= unlockAt, UnlockTooEarly(unlockAt, block.timestamp));

        uint96 amount = _close(channel, channel.claimed);
        emit Unlocked(id, amount);

        _refund(payer, amount);
    }

    function release(
        address payer,
        address signer,
        address provider,
        uint96 total,
        uint64 deadline,
        bytes32 r,
        bytes32 vs
    ) external nonReentrant {
        require(block.timestamp <= deadline, ReleaseExpired(deadline, block.timestamp));
        bytes32 id = channelId(payer, provider, signer);
        _useRelease(releaseDigest(id, total, deadline), provider, r, vs);
        Channel storage channel = channels[id];
        require(total <= channel.locked, ReleaseExceedsLock(total, channel.locked));

        uint96 claimed = channel.claimed;
        uint96 amount = _close(channel, total > claimed ? total : claimed);
        emit Released(id, amount);

        _refund(payer, amount);
    }

    /// @dev The digest tells one release from another: a provider that means to sign two alike varies the deadline.
    function _useRelease(bytes32 digest, address provider, bytes32 r, bytes32 vs) private {
        (address recovered,,) = ECDSA.tryRecover(digest, r, vs);
        require(recovered != address(0) && recovered == provider, ReleaseSignerMismatch(provider, recovered));
        require(!isReleaseUsed[digest], ReleaseUsed(digest));
        isReleaseUsed[digest] = true;
    }

    /// @dev Leaves `keep` locked and no unlock pending. The caller has `claimed <= keep <= locked`.
    /// @return amount The rest.
    function _close(Channel storage channel, uint96 keep) private returns (uint96 amount) {
        amount = channel.locked - keep;
        channel.locked = keep;
        channel.unlockAt = 0;
    }

    /// @dev A refund of nothing closes a channel all the same; some tokens revert on a transfer of 0.
    function _refund(address payer, uint96 amount) private {
        if (amount != 0) token.safeTransfer(payer, amount);
    }

    // ---- Views ----

    function channelId(address payer, address provider, address signer) public pure returns (bytes32 id) {
        // `keccak256(abi.encode(…))` in memory that is not kept: over a thousand rows, kept memory costs 43 gas a row. The
        // shifts are there because the compiler promises nothing about the high bits of an address.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, shr(96, shl(96, payer)))
            mstore(add(free, 0x20), shr(96, shl(96, provider)))
            mstore(add(free, 0x40), shr(96, shl(96, signer)))
            id := keccak256(free, 0x60)
        }
    }

    function payoutOf(address provider) public view returns (address) {
        address present = _payouts[provider].present;
        return present == address(0) ? provider : present;
    }

    function pendingPayoutOf(address provider) external view returns (address next, uint64 applyAt) {
        Payout storage payout = _payouts[provider];
        return (payout.next, payout.applyAt);
    }

    function voucherDigest(address payer, address provider, uint96 total, uint32 receiptCount, bytes32 receiptsRoot)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            Voucher(ClaimRows.VOUCHER_TYPEHASH, payer, provider, total, receiptCount, receiptsRoot).hash()
        );
    }

    function releaseDigest(bytes32 id, uint96 total, uint64 deadline) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(RELEASE_TYPEHASH, id, total, deadline)));
    }
}
