// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {WalletDeployer} from "./WalletDeployer.sol";
import {IPermit2} from "./interfaces/IPermit2.sol";
import {Channel, IRowenEscrow, Lock, LockPart, Permit, SkipReason} from "./interfaces/IRowenEscrow.sol";
import {IWalletAuthorization} from "./interfaces/IWalletAuthorization.sol";
import {ClaimRows, Voucher} from "./libraries/ClaimRows.sol";
import {PayerSignature} from "./libraries/PayerSignature.sol";

/// @title RowenEscrow
/// @notice See `IRowenEscrow` for what it promises and what it assumes.
/// @dev Reentrancy: what calls the token or a payer's wallet is `nonReentrant`. What does not (`claim`, the payout requests,
/// the payer's own unlock requests) makes no outside call but to the `ecrecover` precompile and moves no token, so
/// entering it from inside another call does what a transaction of its own would do.
///
/// Where an error tells more than what is at hand, `if … revert` stands in place of `require`, which works out what its error
/// is to say even when it holds.
contract RowenEscrow is IRowenEscrow, EIP712, ReentrancyGuardTransient {
    using ClaimRows for bytes;
    using ClaimRows for Voucher;
    using SafeERC20 for IERC20;

    /// @dev What a provider earned and did not sweep, with where it goes: a sweep then reads and clears one slot. While
    /// `amount` is not 0, `payout` is `payoutOf(provider)`; while it is 0, the slot is.
    struct Credit {
        uint96 amount;
        address payout;
    }

    struct Payout {
        address present;
        address next;
        uint64 applyAt;
    }

    bytes32 private constant RELEASE_TYPEHASH = keccak256("Release(bytes32 channelId,uint96 total,uint64 deadline)");
    bytes32 private constant LOCK_TYPEHASH =
        keccak256("Lock(address payer,address provider,address signer,uint96 amount,bytes32 salt,uint64 deadline)");
    bytes32 private constant REQUEST_UNLOCK_TYPEHASH =
        keccak256("RequestUnlock(address payer,address provider,address signer,uint64 deadline)");
    bytes32 private constant CANCEL_UNLOCK_TYPEHASH =
        keccak256("CancelUnlock(address payer,address provider,address signer,uint64 unlockAt,uint64 deadline)");

    /// @dev What Permit2 has the payer sign besides the transfer, and how its type string goes on with it.
    bytes32 private constant CHANNEL_TYPEHASH = keccak256("Channel(address provider,address signer)");
    string private constant PERMIT2_WITNESS =
        "Channel witness)Channel(address provider,address signer)TokenPermissions(address token,uint256 amount)";
    IPermit2 private constant PERMIT2 = IPermit2(0x000000000022D473030F116dDEE9F6B43aC78BA3);

    /// @dev A longer delay is taken for a mistake of the deployer's: it could never be corrected.
    uint64 private constant DELAY_MAX = 30 days;

    IERC20 public immutable token;
    uint64 public immutable unlockDelay;
    uint64 public immutable payoutDelay;
    uint96 public immutable minLock;
    WalletDeployer public immutable walletDeployer;

    // Auditors read these by storage proof. Their slots are recorded beside the ABI, and a test holds them in place.
    mapping(bytes32 id => Channel) public channels;
    mapping(address provider => Credit) private _credits;
    mapping(address provider => bytes32) public accumulatorOf;
    mapping(address provider => Payout) private _payouts;
    mapping(bytes32 digest => bool) public isReleaseUsed;
    mapping(address payer => mapping(bytes32 digest => bool)) public isAuthorizationUsed;

    constructor(IERC20 token_, uint64 unlockDelay_, uint64 payoutDelay_, uint96 minLock_) EIP712("Rowen", "1") {
        require(address(token_).code.length != 0, TokenHasNoCode(address(token_)));
        require(unlockDelay_ != 0 && unlockDelay_ <= DELAY_MAX, DelayOutOfRange(unlockDelay_, DELAY_MAX));
        require(payoutDelay_ != 0 && payoutDelay_ <= DELAY_MAX, DelayOutOfRange(payoutDelay_, DELAY_MAX));

        token = token_;
        unlockDelay = unlockDelay_;
        payoutDelay = payoutDelay_;
        minLock = minLock_;
        walletDeployer = new WalletDeployer();
    }

    // ---- Funding ----

    function lock(address provider, address signer, uint96 amount) external nonReentrant {
        _lock(msg.sender, provider, signer, amount);
        _pull(msg.sender, amount);
    }

    function lockMany(LockPart[] calldata parts) external nonReentrant {
        uint256 sum;
        for (uint256 i = 0; i < parts.length; ++i) {
            LockPart calldata part = parts[i];
            _lock(msg.sender, part.provider, part.signer, part.amount);
            // Each is under 2^96, and calldata has no room for 2^160 parts.
            unchecked {
                sum += part.amount;
            }
        }
        _pull(msg.sender, sum);
    }

    function lockWithPermit(Permit calldata permit, LockPart calldata part) external nonReentrant {
        uint96 amount = part.amount;
        _tryPermit(permit, amount);
        _lock(msg.sender, part.provider, part.signer, amount);
        _pull(msg.sender, amount);
    }

    function lockFor(Lock calldata wanted, bytes calldata signature) external nonReentrant {
        _authorize(wanted.payer, lockDigest(wanted), wanted.deadline, signature);
        _lock(wanted.payer, wanted.provider, wanted.signer, wanted.amount);
        _pull(wanted.payer, wanted.amount);
    }

    function lockWithAuthorization(Lock calldata wanted, bytes calldata signature) external nonReentrant {
        bytes memory inner = _deployWallet(wanted.payer, signature);
        _lock(wanted.payer, wanted.provider, wanted.signer, wanted.amount);
        uint256 before = _balance();
        _receiveWithAuthorization(wanted, inner);
        _requireReceived(before, wanted.amount);
    }

    function lockWithPermit2(Lock calldata wanted, bytes calldata signature) external nonReentrant {
        bytes memory inner = _deployWallet(wanted.payer, signature);
        _lock(wanted.payer, wanted.provider, wanted.signer, wanted.amount);
        uint256 before = _balance();
        PERMIT2.permitWitnessTransferFrom(
            IPermit2.PermitTransferFrom({
                permitted: IPermit2.TokenPermissions(address(token), wanted.amount),
                nonce: uint256(wanted.salt),
                deadline: wanted.deadline
            }),
            IPermit2.SignatureTransferDetails({to: address(this), requestedAmount: wanted.amount}),
            wanted.payer,
            keccak256(abi.encode(CHANNEL_TYPEHASH, wanted.provider, wanted.signer)),
            PERMIT2_WITNESS,
            inner
        );
        _requireReceived(before, wanted.amount);
    }

    /// @dev Books the funds; the caller brings them in.
    function _lock(address payer, address provider, address signer, uint96 amount) private {
        require(provider != address(0), ZeroAddress());
        require(signer != address(0), ZeroAddress());
        require(amount != 0, ZeroAmount());
        bytes32 id = channelId(payer, provider, signer);
        Channel storage channel = channels[id];
        uint256 slot = _load(channel);
        // The casts cut the fields out of the slot.
        // forge-lint: disable-next-line(unsafe-typecast)
        (uint96 locked, uint64 unlockAt) = (uint96(slot), uint64(slot >> 192));
        if (unlockAt != 0) revert UnlockPending(id, unlockAt);
        if (locked == 0) require(amount >= minLock, LockBelowMinimum(amount, minLock));
        // A sum of two below 2^96 does not wrap. `locked` is lowest in the slot, and the sum is seen to stay within it.
        unchecked {
            if (uint256(locked) + amount > type(uint96).max) revert LockTooLarge(id, locked, amount);
            _store(channel, slot + amount);
        }
        emit Locked(payer, provider, signer, amount);
    }

    function _pull(address payer, uint256 amount) private {
        uint256 before = _balance();
        token.safeTransferFrom(payer, address(this), amount);
        _requireReceived(before, amount);
    }

    /// @dev Whoever saw the permit in the mempool may have used it already. Then this call fails and the allowance stands;
    /// if there is no allowance, the transfer says so. So nothing is asked of the call, not even that there is code.
    function _tryPermit(Permit calldata permit, uint256 amount) private {
        (uint256 deadline, bytes32 r, bytes32 vs) = (permit.deadline, permit.r, permit.vs);
        IERC20 asked = token;
        bytes4 selector = IERC20Permit.permit.selector;
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore(input, selector)
            mstore(add(input, 0x04), caller())
            mstore(add(input, 0x24), address())
            mstore(add(input, 0x44), amount)
            mstore(add(input, 0x64), deadline)
            // EIP-2098: the highest bit says which v, the rest is s.
            mstore(add(input, 0x84), add(shr(255, vs), 27))
            mstore(add(input, 0xa4), r)
            mstore(add(input, 0xc4), shr(1, shl(1, vs)))
            pop(call(gas(), asked, 0, input, 0xe4, 0, 0))
        }
    }

    function _receiveWithAuthorization(Lock calldata wanted, bytes memory signature) private {
        bytes32 nonce = authorizationNonce(channelId(wanted.payer, wanted.provider, wanted.signer), wanted.salt);
        if (signature.length != 65) {
            IWalletAuthorization(address(token))
                .receiveWithAuthorization(
                    wanted.payer, address(this), wanted.amount, 0, wanted.deadline, nonce, signature
                );
            return;
        }
        (uint8 v, bytes32 r, bytes32 s) = PayerSignature.parse(signature);
        IERC3009(address(token))
            .receiveWithAuthorization(wanted.payer, address(this), wanted.amount, 0, wanted.deadline, nonce, v, r, s);
    }

    /// @dev `token.balanceOf(address(this))`, for every lock twice: without the memory that the compiler takes for the call
    /// and its answer.
    function _balance() private view returns (uint256 held) {
        IERC20 asked = token;
        bytes4 selector = IERC20.balanceOf.selector;
        bool isAnswered;
        assembly ("memory-safe") {
            mstore(0, selector)
            mstore(4, address())
            isAnswered := staticcall(gas(), asked, 0, 0x24, 0, 0x20)
            isAnswered := and(isAnswered, gt(returndatasize(), 0x1f))
            held := mload(0)
        }
        require(isAnswered, BalanceUnknown(address(asked)));
    }

    /// @dev A fee on the transfer, or a token that takes a call it does not know for a success, would leave the channel
    /// with funds that are not there.
    function _requireReceived(uint256 before, uint256 amount) private view {
        uint256 held = _balance();
        // If the sum wraps, so did the token's, and then nothing it says counts.
        unchecked {
            if (held != before + amount) revert InexactTransfer(amount, held > before ? held - before : 0);
        }
    }

    // ---- A payer's signature in place of its transaction ----

    function revokeAuthorization(bytes32 digest) external {
        require(!isAuthorizationUsed[msg.sender][digest], AuthorizationUsed(msg.sender, digest));
        isAuthorizationUsed[msg.sender][digest] = true;
    }

    /// @dev The digest tells one authorization from another. It is used up before the wallet is asked.
    function _authorize(address payer, bytes32 digest, uint64 deadline, bytes calldata signature) private {
        require(block.timestamp <= deadline, AuthorizationExpired(deadline, block.timestamp));
        require(!isAuthorizationUsed[payer][digest], AuthorizationUsed(payer, digest));
        isAuthorizationUsed[payer][digest] = true;
        bytes memory inner = _deployWallet(payer, signature);
        require(PayerSignature.isValid(payer, digest, inner), AuthorizationInvalid(payer, digest));
    }

    /// @dev Deploys the payer's wallet if the signature says how and it is not there, and takes that part off.
    function _deployWallet(address payer, bytes calldata signature) private returns (bytes memory) {
        if (!PayerSignature.isWrapped(signature)) return signature;
        (address factory, bytes memory data, bytes memory inner) = PayerSignature.unwrap(signature);
        if (payer.code.length == 0) walletDeployer.deploy(factory, data);
        return inner;
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
            _credit(provider, credited);
        }
    }

    /// @dev Pays the voucher of row `index`, or says why not and returns 0.
    function _pay(Voucher memory voucher, address signer, uint256 index) private returns (uint256 paid) {
        if (signer == address(0)) return _skip(voucher.provider, index, SkipReason.BadSignature);
        Channel storage channel = channels[channelId(voucher.payer, voucher.provider, signer)];
        uint256 slot = _load(channel);
        // The casts cut the fields out of the slot.
        // forge-lint: disable-next-line(unsafe-typecast)
        (uint96 locked, uint96 claimed) = (uint96(slot), uint96(slot >> 96));
        uint96 total = voucher.total;
        if (total <= claimed) return _skip(voucher.provider, index, SkipReason.NotIncreasing);
        if (total > locked) return _skip(voucher.provider, index, SkipReason.LockExceeded);

        _store(channel, slot ^ (uint256(claimed ^ total) << 96));
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

    function _credit(address provider, uint256 sum) private {
        Credit storage credit = _credits[provider];
        (uint96 held, address payout) = (credit.amount, credit.payout);
        if (held == 0) payout = payoutOf(provider);
        // 2^96 rows, each under 2^96, do not fit into calldata.
        unchecked {
            sum += held;
        }
        require(sum <= type(uint96).max, CreditTooLarge(provider, sum));
        // Just compared.
        // forge-lint: disable-next-line(unsafe-typecast)
        _credits[provider] = Credit({amount: uint96(sum), payout: payout});
    }

    function sweep(address provider) external nonReentrant returns (uint256 amount) {
        Credit memory credit = _credits[provider];
        amount = credit.amount;
        require(amount != 0, NothingToSweep(provider));

        delete _credits[provider];

        token.safeTransfer(credit.payout, amount);
    }

    // ---- Payout address ----

    function requestPayout(address next) external {
        require(next != address(0), ZeroAddress());
        Payout storage payout = _payouts[msg.sender];
        if (payout.present == address(0)) {
            payout.present = next;
            _payoutChanged(msg.sender, next);
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
        _payoutChanged(provider, next);
    }

    /// @dev What was earned before and not swept goes to the new address, too.
    function _payoutChanged(address provider, address next) private {
        Credit storage credit = _credits[provider];
        if (credit.amount != 0) credit.payout = next;
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
        _requestUnlock(msg.sender, provider, signer);
    }

    function requestUnlockFor(
        address payer,
        address provider,
        address signer,
        uint64 deadline,
        bytes calldata signature
    ) external nonReentrant {
        _authorize(payer, requestUnlockDigest(payer, provider, signer, deadline), deadline, signature);
        _requestUnlock(payer, provider, signer);
    }

    function _requestUnlock(address payer, address provider, address signer) private {
        bytes32 id = channelId(payer, provider, signer);
        Channel storage channel = channels[id];
        if (channel.unlockAt != 0) revert UnlockPending(id, channel.unlockAt);
        require(channel.locked != channel.claimed, NothingLocked(id));

        uint64 unlockAt = uint64(block.timestamp) + unlockDelay;
        channel.unlockAt = unlockAt;
        emit UnlockRequested(id, unlockAt);
    }

    function cancelUnlock(address provider, address signer) external {
        _cancelUnlock(channelId(msg.sender, provider, signer));
    }

    function cancelUnlockFor(
        address payer,
        address provider,
        address signer,
        uint64 unlockAt,
        uint64 deadline,
        bytes calldata signature
    ) external nonReentrant {
        _authorize(payer, cancelUnlockDigest(payer, provider, signer, unlockAt, deadline), deadline, signature);
        bytes32 id = channelId(payer, provider, signer);
        if (channels[id].unlockAt != unlockAt) revert OtherUnlockPending(id, unlockAt, channels[id].unlockAt);
        _cancelUnlock(id);
    }

    function _cancelUnlock(bytes32 id) private {
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
        if (total > channel.locked) revert ReleaseExceedsLock(total, channel.locked);

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

    /// @dev Leaves `keep` locked. The caller has `claimed <= keep <= locked`. A pending unlock goes on while there is something
    /// left to wait for: a provider could end it again and again by releases that give nothing back.
    /// @return amount The rest.
    function _close(Channel storage channel, uint96 keep) private returns (uint96 amount) {
        amount = channel.locked - keep;
        channel.locked = keep;
        if (keep == channel.claimed) channel.unlockAt = 0;
    }

    /// @dev A refund of nothing closes a channel all the same; some tokens revert on a transfer of 0.
    function _refund(address payer, uint96 amount) private {
        if (amount != 0) token.safeTransfer(payer, amount);
    }

    // ---- Storage ----

    /// @dev With `_store`, one access to the whole slot, `locked 96 | claimed 96 | unlockAt 64` from the lowest bit up. The
    /// compiler's own access to the packed fields loads it twice more.
    function _load(Channel storage channel) private view returns (uint256 slot) {
        assembly ("memory-safe") {
            slot := sload(channel.slot)
        }
    }

    function _store(Channel storage channel, uint256 slot) private {
        assembly ("memory-safe") {
            sstore(channel.slot, slot)
        }
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

    function creditOf(address provider) external view returns (uint256) {
        return _credits[provider].amount;
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

    function lockDigest(Lock calldata wanted) public view returns (bytes32) {
        // The words of the struct are its EIP-712 encoding.
        return _hashTypedDataV4(keccak256(abi.encode(LOCK_TYPEHASH, wanted)));
    }

    function requestUnlockDigest(address payer, address provider, address signer, uint64 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(REQUEST_UNLOCK_TYPEHASH, payer, provider, signer, deadline)));
    }

    function cancelUnlockDigest(address payer, address provider, address signer, uint64 unlockAt, uint64 deadline)
        public
        view
        returns (bytes32)
    {
        return
            _hashTypedDataV4(keccak256(abi.encode(CANCEL_UNLOCK_TYPEHASH, payer, provider, signer, unlockAt, deadline)));
    }

    function authorizationNonce(bytes32 id, bytes32 salt) public pure returns (bytes32) {
        return Hashes.efficientKeccak256(id, salt);
    }
}
