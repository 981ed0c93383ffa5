// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {WalletDeployer} from "../WalletDeployer.sol";

/// @notice Funds that one payer set aside for one provider, spendable by one session key. Fills one storage slot.
/// @param locked Paid in since the channel opened, less refunds. In token units.
/// @param claimed The total of the highest voucher paid. In token units; never lowered and never reset, so a voucher that
/// was paid once stays worthless through every unlock and every new lock.
/// @param unlockAt Unix seconds from which `unlock` may run; 0 while no unlock is pending.
struct Channel {
    uint96 locked;
    uint96 claimed;
    uint64 unlockAt;
}

/// @notice A payer's wish to fund a channel, for somebody else to send. As EIP-712 type, of the escrow's domain:
/// `Lock(address payer,address provider,address signer,uint96 amount,bytes32 salt,uint64 deadline)`.
/// @param amount In token units.
/// @param salt Chosen by the payer; tells two otherwise equal wishes apart.
/// @param deadline Unix seconds; void after it.
struct Lock {
    address payer;
    address provider;
    address signer;
    uint96 amount;
    bytes32 salt;
    uint64 deadline;
}

/// @notice What the caller of `lockMany` and `lockWithPermit` puts into one channel.
struct LockPart {
    address provider;
    address signer;
    uint96 amount;
}

/// @notice An ERC-2612 signature of the caller's for the escrow; its value is the amount that is locked.
/// @param deadline Unix seconds; void after it.
/// @param r With `vs`, the signature in EIP-2098 form.
struct Permit {
    uint256 deadline;
    bytes32 r;
    bytes32 vs;
}

/// @notice Why a claim passed over a row.
/// @dev A signature over other bytes almost always recovers to *some* address, whose channel is empty; such a row shows as
/// `LockExceeded`. `BadSignature` means that nothing at all could be recovered.
enum SkipReason {
    BadSignature,
    NotIncreasing,
    LockExceeded
}

/// @title Payment channels for metered work, in one ERC-20.
///
/// @notice A payer locks funds for (provider, signer). The signer, a hot session key that can withdraw nothing, signs
/// vouchers off chain: ever higher totals, each with the root of the receipts that make it up. The provider puts the
/// newest voucher of many channels on chain in one claim, and sweeps what it earned to its payout address.
///
/// @dev Immutable and ownerless: no proxy, no pause, no fee, no privileged caller.
///
/// **Invariant.** `token.balanceOf(escrow) >= Σ (channel.locked − channel.claimed) + Σ creditOf(provider)`, and for each
/// channel `claimed <= locked`. The two sides are equal unless somebody transfers tokens here directly; those are lost.
///
/// **Who trusts whom.** The payer trusts the signer with the channel's funds and the provider with nothing. The provider
/// trusts what the chain shows: `locked − claimed` is its own for at least `unlockDelay` after the payer asks for it back,
/// so it must claim within that time and stop serving on `UnlockRequested`. Nobody trusts who submits a claim.
///
/// **Assumptions about the token.** A transfer moves exactly its amount or fails by reverting or returning false (a fee on
/// transfer is refused when locking); balances change through transfers only (no rebase). A token that can freeze an
/// account, as USDC can, may block that account's own refund or sweep, and nobody else's.
///
/// **Vouchers and releases are ECDSA only**, a voucher's key fixed when the channel is funded. A signature check that asks
/// the wallet's code (ERC-1271, or any EOA after an EIP-7702 delegation) would let a wallet void a voucher after the work
/// was done.
///
/// **A payer needs no gas.** Its signature can stand in for its transaction: to fund (`lockFor`, `lockWithAuthorization`,
/// `lockWithPermit2`), to ask for its funds back (`requestUnlockFor`) and to take that back (`cancelUnlockFor`); the refund
/// itself anybody can trigger. Whoever sends it can choose nothing but when, up to the deadline, and whether: the money
/// can only go from the payer into the channel that was signed, and from there to the provider or back to the payer.
/// A sender that holds a signature back is replaced by another one; a payer that thinks better of it revokes.
///
/// The payer may be a key, a contract wallet (ERC-1271) or a wallet not deployed yet (ERC-6492); see `PayerSignature`.
/// Here, unlike for vouchers, a wallet that changes its mind harms nobody: the signature is used up when it is checked.
///
/// **Strangers cannot touch a channel.** Only the payer, or its signature, adds funds; so nobody can disturb a channel
/// with dust, keep a payer from leaving, or open channels in another's name.
///
/// **Units.** Amounts are in the token's smallest unit, times and delays in Unix seconds.
interface IRowenEscrow {
    /// @notice `payer` moved `amount` into its channel with (`provider`, `signer`).
    event Locked(address indexed payer, address indexed provider, address signer, uint96 amount);

    /// @notice A voucher was paid up to `total`. With `accumulatorOf`, these events prove themselves complete.
    event Claimed(
        address indexed provider,
        address indexed payer,
        address signer,
        uint96 total,
        uint32 receiptCount,
        bytes32 receiptsRoot
    );

    /// @notice Row `row` of a claim, counted from 0, was not paid. Anybody can cause this event; it proves nothing.
    event RowSkipped(address indexed provider, uint256 indexed row, SkipReason reason);

    /// @notice The provider asked for its earnings to go to `payout` from `applyAt` on.
    event PayoutRequested(address indexed provider, address indexed payout, uint64 applyAt);

    /// @notice The provider's earnings now go to `payout`.
    event PayoutChanged(address indexed provider, address indexed payout);

    /// @notice The present payout address refused `payout` as its successor.
    event PayoutVetoed(address indexed provider, address indexed payout);

    /// @notice The payer asked for its funds back. A provider stops serving the channel now and claims before `unlockAt`.
    event UnlockRequested(bytes32 indexed channelId, uint64 unlockAt);

    /// @notice The payer took its request back; the channel can be served and funded again.
    event UnlockCancelled(bytes32 indexed channelId);

    /// @notice The delay ran out and `amount` went back to the payer.
    event Unlocked(bytes32 indexed channelId, uint96 amount);

    /// @notice The provider agreed, and `amount` went back to the payer at once. If all that is left is claimed, a pending
    /// unlock has ended; if not, it goes on.
    event Released(bytes32 indexed channelId, uint96 amount);

    /// @notice The constructor was given an address without code.
    error TokenHasNoCode(address token);
    /// @notice The constructor was given a delay of 0 or above 30 days.
    error DelayOutOfRange(uint64 delay, uint64 delayMax);
    error ZeroAddress();
    error ZeroAmount();
    /// @notice What opens a channel must be at least `minLock`.
    error LockBelowMinimum(uint96 amount, uint96 minLock);
    /// @notice More than a channel can hold.
    error LockTooLarge(bytes32 channelId, uint96 locked, uint96 amount);
    /// @notice The token delivered another amount than it was asked for.
    error InexactTransfer(uint256 expected, uint256 received);
    /// @notice The token did not say what this contract holds.
    error BalanceUnknown(address token);
    /// @notice A provider's credit would reach 2^96: sweep it first, or claim fewer rows at once.
    error CreditTooLarge(address provider, uint256 credit);
    error UnlockPending(bytes32 channelId, uint64 unlockAt);
    error UnlockNotPending(bytes32 channelId);
    error UnlockTooEarly(uint64 unlockAt, uint256 timestamp);
    /// @notice All that was locked has been claimed: there is nothing to give back.
    error NothingLocked(bytes32 channelId);
    error NothingToSweep(address provider);
    error PayoutNotPending(address provider);
    error PayoutTooEarly(uint64 applyAt, uint256 timestamp);
    error NotPayoutAddress(address payout, address caller);
    /// @notice The payer's signature took back an unlock due at `signed`; what is pending (0: nothing) is another.
    error OtherUnlockPending(bytes32 channelId, uint64 signed, uint64 pending);
    error AuthorizationExpired(uint64 deadline, uint256 timestamp);
    /// @notice Used or revoked before.
    error AuthorizationUsed(address payer, bytes32 digest);
    /// @notice Neither the payer's key signed `digest`, nor does its wallet say so.
    error AuthorizationInvalid(address payer, bytes32 digest);
    error ReleaseExpired(uint64 deadline, uint256 timestamp);
    error ReleaseUsed(bytes32 digest);
    /// @notice The release was signed by `recovered` (the zero address: by nobody), not by the provider.
    error ReleaseSignerMismatch(address provider, address recovered);
    /// @notice The release keeps more for the provider than the channel holds.
    error ReleaseExceedsLock(uint96 total, uint96 locked);

    /// @notice Moves `amount` from the caller into its channel with (`provider`, `signer`), opening it if new.
    /// @dev Refused while an unlock is pending: the provider has stopped serving, and the new funds would leave with the old
    /// ones. Only the payer itself can add to its channel, so nobody can disturb one with dust.
    /// @param signer The session key whose vouchers spend the channel. It cannot be changed; use a new channel instead.
    /// @param amount At least `minLock` while the channel's `locked` is 0: for a new one, and for one that was never claimed
    /// from and gave all back. Any other takes any amount, also one that was claimed to the end.
    function lock(address provider, address signer, uint96 amount) external;

    /// @notice `lock`, with the allowance given by an ERC-2612 signature of the caller.
    /// @dev A permit that somebody else submitted first does no harm: what counts is the allowance afterwards.
    function lockWithPermit(Permit calldata permit, LockPart calldata part) external;

    /// @notice `lock` for each of `parts`, with one transfer for all. All or nothing.
    function lockMany(LockPart[] calldata parts) external;

    /// @notice `lock` for `wanted.payer`, out of the allowance it gave the escrow. Anybody may call.
    /// @dev The payer signs the EIP-712 struct `Lock`. Where the allowance comes from an ERC-2612 permit, whoever sends this
    /// sends the permit to the token first.
    /// @param signature The payer's, 65 bytes from a key, any from a contract wallet, or wrapped as ERC-6492 says.
    function lockFor(Lock calldata wanted, bytes calldata signature) external;

    /// @notice `lock` for `wanted.payer`, by an ERC-3009 authorization: no allowance, no gas. Anybody may call.
    /// @dev The payer signs the token's `ReceiveWithAuthorization` from itself to the escrow, of `wanted.amount`, validAfter
    /// 0, validBefore `wanted.deadline` (which the token excludes, so it ends a second earlier), and the nonce
    /// `authorizationNonce(channelId, wanted.salt)`. The nonce ties the money to this channel, and as only the escrow can
    /// use the authorization, whoever sends it cannot direct it elsewhere.
    ///
    /// 65 bytes go to the standard function. Any other length goes to USDC's own form for contract wallets.
    function lockWithAuthorization(Lock calldata wanted, bytes calldata signature) external;

    /// @notice `lock` for `wanted.payer`, out of the allowance it gave to Permit2. Anybody may call.
    /// @dev For tokens without ERC-3009. The payer signs Permit2's `PermitWitnessTransferFrom` with the escrow as spender,
    /// `wanted.amount` of the token, `wanted.salt` as nonce, and the witness `Channel(address provider,address signer)`,
    /// which ties the money to this channel. Fails where Permit2 is not deployed. Permit2 asks the code of an account that
    /// has any, so a key that has delegated needs code that agrees.
    function lockWithPermit2(Lock calldata wanted, bytes calldata signature) external;

    /// @notice Voids a digest that the caller signed for `lockFor`, `requestUnlockFor` or `cancelUnlockFor`.
    /// @dev `isAuthorizationUsed` then says yes, as after a use. ERC-3009 and Permit2 have their own ways to cancel.
    function revokeAuthorization(bytes32 digest) external;

    /// @notice Credits `provider` with what its vouchers are worth above the totals paid before.
    /// @dev Anybody may call; the money can only go to the provider. Rows are `payer 20 | total 12 | receiptCount 4 |
    /// receiptsRoot 32 | r 32 | vs 32` bytes, packed, signatures as EIP-2098. A channel follows from the recovered signer.
    /// A row is paid in full or skipped with `RowSkipped`, and a skipped row blocks no other: a voucher above what is
    /// locked pays nothing now rather than a part, and stays claimable once the channel is topped up. For rows of one
    /// channel, order them by rising total.
    ///
    /// Each row paid rolls the provider's accumulator to `keccak256(digest ++ accumulator)`, where `digest` is the
    /// voucher's EIP-712 digest. Rows that did not pay leave it alone, so nobody adds to it without paying. Whoever does pay
    /// can: a payer may put a voucher on chain that the provider never saw, for receipts that never were. An entry proves
    /// what was paid and which promise was shown for it, not that there was work.
    /// @return credited The sum of the rows paid.
    function claim(address provider, bytes calldata rows) external returns (uint256 credited);

    /// @notice Sends the provider's credit to its payout address. Anybody may call.
    /// @dev The token's own `Transfer` tells of it. What was swept in all is Σ `claimed` of the provider's channels less
    /// `creditOf`, so an event of the escrow's would prove nothing more.
    /// @return amount What was sent.
    function sweep(address provider) external returns (uint256 amount);

    /// @notice Sets where the caller's earnings go: at once if never set before, else after `payoutDelay`.
    /// @dev The delay and the veto protect earnings from the thief of an operator key, which is hot. Set a cold address
    /// before the first earnings. A second request replaces the first and starts the delay again.
    function requestPayout(address next) external;

    /// @notice Puts a requested payout address in force once its delay has passed. Anybody may call.
    function applyPayout(address provider) external;

    /// @notice Refuses the requested payout address. Only the present payout address may call.
    function vetoPayout(address provider) external;

    /// @notice Starts the caller's way out of its channel with (`provider`, `signer`), which takes `unlockDelay`.
    /// @dev Claims stay possible until `unlock` has run, however late that is.
    function requestUnlock(address provider, address signer) external;

    /// @notice Takes a request back. The next one waits the full delay again.
    function cancelUnlock(address provider, address signer) external;

    /// @notice `requestUnlock` for `payer`, by its signature. Anybody may call.
    /// @dev The payer signs EIP-712 `RequestUnlock(address payer,address provider,address signer,uint64 deadline)`. A
    /// signature works once: a payer that means to sign two alike varies the deadline.
    /// @param deadline Unix seconds; void after it.
    function requestUnlockFor(
        address payer,
        address provider,
        address signer,
        uint64 deadline,
        bytes calldata signature
    ) external;

    /// @notice `cancelUnlock` for `payer`, by its signature. Anybody may call.
    /// @dev The payer signs EIP-712
    /// `CancelUnlock(address payer,address provider,address signer,uint64 unlockAt,uint64 deadline)`. It takes back one
    /// request only, the one due at `unlockAt`: a signature held back cannot stop a later request.
    /// @param unlockAt When the request that is taken back would be due.
    /// @param deadline Unix seconds; void after it.
    function cancelUnlockFor(
        address payer,
        address provider,
        address signer,
        uint64 unlockAt,
        uint64 deadline,
        bytes calldata signature
    ) external;

    /// @notice Refunds to `payer` all that is not claimed, once the delay has passed. Anybody may call.
    function unlock(address payer, address provider, address signer) external;

    /// @notice Refunds `payer` at once, with the provider's signature. Anybody may call.
    /// @dev The provider signs EIP-712 `Release(bytes32 channelId,uint96 total,uint64 deadline)`. Vouchers up to `total`
    /// stay claimable; the rest of what is locked goes back. A pending unlock ends if nothing unclaimed is left. Else it
    /// goes on as before, and what `total` keeps must be claimed before it runs: only the payer takes a request back, or
    /// a provider could hold the funds of one that leaves for as long as it likes.
    ///
    /// Each release works once. If it could be used again before its deadline, the payer could lock new funds, be served on
    /// the strength of them, and take them out with the old signature, around the delay that protects the provider. For
    /// the same reason a provider stops serving the channel from signing until `deadline` or `Released`.
    /// @param total In token units; what the provider has earned on the channel, claimed or not.
    /// @param deadline Unix seconds; the release is void after it.
    /// @param r With `vs`, the provider's signature in EIP-2098 form.
    function release(
        address payer,
        address signer,
        address provider,
        uint96 total,
        uint64 deadline,
        bytes32 r,
        bytes32 vs
    ) external;

    /// @notice The one token of this escrow.
    function token() external view returns (IERC20);

    /// @notice Seconds from `requestUnlock` to `unlock`.
    function unlockDelay() external view returns (uint64);

    /// @notice Seconds from `requestPayout` to `applyPayout`.
    function payoutDelay() external view returns (uint64);

    /// @notice The least a channel can be opened with, so that a claim is worth its gas.
    function minLock() external view returns (uint96);

    /// @notice Makes the calls that ERC-6492 signatures ask for, and has no rights.
    function walletDeployer() external view returns (WalletDeployer);

    /// @notice The channel's slot; all zero if it was never funded.
    function channels(bytes32 id) external view returns (uint96 locked, uint96 claimed, uint64 unlockAt);

    /// @notice `keccak256(abi.encode(payer, provider, signer))`.
    function channelId(address payer, address provider, address signer) external pure returns (bytes32);

    /// @notice Claimed by the provider and not swept yet. Under 2^96.
    /// @dev Its slot holds `amount 96 | payout 160` from the lowest bit up: while there is credit, `payoutOf(provider)` stands
    /// beside it, so that a sweep reads and clears one slot.
    function creditOf(address provider) external view returns (uint256);

    /// @notice The hash chain over all vouchers paid to the provider; 0 before the first.
    function accumulatorOf(address provider) external view returns (bytes32);

    /// @notice Where the provider's earnings go: the provider itself until it has set another address.
    function payoutOf(address provider) external view returns (address);

    /// @notice The payout address waiting to take over, and from when; both 0 if none is.
    function pendingPayoutOf(address provider) external view returns (address next, uint64 applyAt);

    /// @notice Whether the release with this EIP-712 digest was used.
    function isReleaseUsed(bytes32 digest) external view returns (bool);

    /// @notice What a session key signs: EIP-712
    /// `Voucher(address payer,address provider,uint96 total,uint32 receiptCount,bytes32 receiptsRoot)`.
    function voucherDigest(address payer, address provider, uint96 total, uint32 receiptCount, bytes32 receiptsRoot)
        external
        view
        returns (bytes32);

    /// @notice What a provider signs: EIP-712 `Release(bytes32 channelId,uint96 total,uint64 deadline)`.
    function releaseDigest(bytes32 id, uint96 total, uint64 deadline) external view returns (bytes32);

    /// @notice Whether the payer's signature over this EIP-712 digest was used or revoked.
    function isAuthorizationUsed(address payer, bytes32 digest) external view returns (bool);

    /// @notice What a payer signs for `lockFor`.
    function lockDigest(Lock calldata wanted) external view returns (bytes32);

    /// @notice What a payer signs for `requestUnlockFor`.
    function requestUnlockDigest(address payer, address provider, address signer, uint64 deadline)
        external
        view
        returns (bytes32);

    /// @notice What a payer signs for `cancelUnlockFor`.
    function cancelUnlockDigest(address payer, address provider, address signer, uint64 unlockAt, uint64 deadline)
        external
        view
        returns (bytes32);

    /// @notice The nonce of the ERC-3009 authorization for `lockWithAuthorization`: `keccak256(channelId ++ salt)`.
    function authorizationNonce(bytes32 id, bytes32 salt) external pure returns (bytes32);
}
