// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IRowenEscrow} from "./IRowenEscrow.sol";

/// @notice What a provider has at stake. Fills one storage slot.
/// @param amount All of it, in token units. All of it can be slashed.
/// @param leaving The part of `amount` that was asked back, in token units.
/// @param leaveAt Unix seconds from which `withdraw` may run; 0 while nothing is leaving.
struct Bond {
    uint96 amount;
    uint96 leaving;
    uint64 leaveAt;
}

/// @notice A provider's meter reading, as it signs it: EIP-712, in the escrow's domain.
/// @dev `Receipt(bytes32 channelId,uint32 sequence,bytes32 orderHash,uint32 segment,uint8 status,uint32 inputUnits,`
/// `uint32 cachedUnits,uint32 outputUnits,uint96 amount,uint96 total,bytes32 outputHash,uint64 startedAtMs,`
/// `uint64 finishedAtMs,uint64 gpuMs,uint64 energyMj,uint8 energySource)`. Only five fields matter here.
/// @param sequence Position in the channel's receipt log, from 0.
/// @param status 4 if the job failed, and so costs nothing.
/// @param amount What this receipt adds, in token units.
/// @param total The sum of all amounts in the log up to and with this one, in token units.
struct Receipt {
    bytes32 channelId;
    uint32 sequence;
    bytes32 orderHash;
    uint32 segment;
    uint8 status;
    uint32 inputUnits;
    uint32 cachedUnits;
    uint32 outputUnits;
    uint96 amount;
    uint96 total;
    bytes32 outputHash;
    uint64 startedAtMs;
    uint64 finishedAtMs;
    uint64 gpuMs;
    uint64 energyMj;
    uint8 energySource;
}

/// @param r With `vs`, the provider's signature in EIP-2098 form.
struct SignedReceipt {
    Receipt receipt;
    bytes32 r;
    bytes32 vs;
}

/// @notice What a provider can be slashed for. Each is proved by the provider's own signatures and nothing else.
enum Offence {
    Equivocation,
    BrokenTotal,
    ChargedFailure
}

/// @title What a provider stands to lose.
///
/// @notice A provider bonds tokens. Whoever shows that it signed receipts that contradict each other, or themselves, has it
/// slashed. What cannot be proved (a slow answer, another model, false joules) is never slashed.
///
/// @dev Immutable and ownerless: no proxy, no pause, no fee, no privileged caller, and nobody's judgement.
///
/// **Invariant.** `token.balanceOf(stake) >= Σ bonds.amount + burned`. The two sides are equal unless somebody transfers
/// tokens here directly; those are lost.
///
/// **Leaving does not outrun a proof.** Funds that are leaving can be slashed until `withdraw` has in fact run, and
/// `unbondDelay` is longer than the escrow's `unlockDelay`: a client that finds out when its channel closes still has
/// time. Clients count `activeOf`, not `amount`: what is active when a receipt is signed can be slashed for at least
/// `unbondDelay` after it.
///
/// **Slashing oneself never pays.** Of each slash a quarter, rounded down, goes to whoever reports and the rest is burned.
/// A provider that sees a proof coming can report itself first, and so can anybody who copies a report out of the mempool:
/// the reward then goes to another, but the provider is poorer by at least three quarters of the penalty in every case,
/// three times what it could have paid itself. Were the reward as large as the burned part or larger, a provider could
/// keep most of its bond in the face of any proof, and take it out without the delay. Burned tokens stay here for ever;
/// nothing can move them. Sending them to a dead address instead would let a token that freezes it stop all slashing.
///
/// **What one offence costs.** One penalty for each (offence, channel, sequence): whoever signs three receipts for one
/// sequence has broken one rule once, and a pair that breaks two rules is two offences. When the bond is smaller than the
/// penalty, what there is is taken, and the proof stays good for the rest should the provider bond again. Otherwise it
/// could report itself while it has next to nothing at stake, and be done with the proof.
///
/// **Hot keys.** Receipts are signed by the operator key, so its thief can have the bond slashed and take the reward, a
/// quarter of each penalty. It cannot take the bond itself, which returns to the escrow's payout address: set a cold one
/// before bonding. A node restored from an old backup signs old sequences anew, which is equivocation; it must compare
/// its journal with its peers and the chain before it serves.
///
/// **Assumptions.** The token is the escrow's, under the same assumptions. The escrow is a `RowenEscrow`. The operator key
/// is an ECDSA key: code at its address (EIP-7702) is not asked, so it cannot disown a receipt.
///
/// **Units.** Amounts are in the token's smallest unit, times and delays in Unix seconds.
interface IRowenStake {
    /// @notice `from` added `amount` to the provider's bond, which is now `bonded` in all.
    event Bonded(address indexed provider, address indexed from, uint96 amount, uint96 bonded);

    /// @notice The provider asked for part of its bond back; `leaving` in all is due at `leaveAt`.
    event UnbondRequested(address indexed provider, uint96 leaving, uint64 leaveAt);

    /// @notice The provider took its request back.
    event UnbondCancelled(address indexed provider);

    /// @notice The delay ran out and `amount` went to `payout`.
    event Withdrawn(address indexed provider, address indexed payout, uint96 amount);

    /// @notice The provider lost `burned + reward`, of which `reward` went to the reporter.
    event Slashed(
        address indexed provider,
        address indexed reporter,
        Offence indexed offence,
        bytes32 channelId,
        uint32 sequence,
        uint96 burned,
        uint96 reward
    );

    /// @notice The constructor was given an address without code.
    error EscrowHasNoCode(address escrow);
    /// @notice The constructor was given a delay that is not above the escrow's, or is above 180 days.
    error UnbondDelayOutOfRange(uint64 delay, uint64 unlockDelay, uint64 delayMax);
    error ZeroAddress();
    error ZeroAmount();
    /// @notice A bond must cover one penalty.
    error BondBelowPenalty(uint96 bonded, uint96 penalty);
    /// @notice The token delivered another amount than it was asked for.
    error InexactTransfer(uint256 expected, uint256 received);
    /// @notice Only the provider and its payout address decide over its bond.
    error NotProvider(address provider, address caller);
    error UnbondExceedsBond(uint96 amount, uint96 active);
    error UnbondNotPending(address provider);
    error UnbondTooEarly(uint64 leaveAt, uint256 timestamp);
    /// @notice The receipt is for another channel than the one of payer, provider and session key.
    error ChannelMismatch(bytes32 expected, bytes32 given);
    /// @notice The receipt was signed by `recovered` (the zero address: by nobody), not by the provider.
    error ReceiptSignerMismatch(address provider, address recovered);
    /// @notice No equivocation: the two are one and the same receipt.
    error SameReceipt(bytes32 digest);
    error SequencesDiffer(uint32 first, uint32 second);
    error SequencesNotConsecutive(uint32 first, uint32 second);
    /// @notice The running total is right.
    error TotalsAddUp(uint96 total, uint96 amount, uint96 nextTotal);
    error NotFailed(uint8 status);
    error NothingCharged();
    /// @notice The penalty for this was paid in full.
    error OffencePunished(address provider, Offence offence, bytes32 channelId, uint32 sequence);
    error NothingBonded(address provider);

    /// @notice Moves `amount` from the caller into the provider's bond. Anybody may add to it; it becomes the provider's.
    /// @dev Leaves a pending withdrawal as it is.
    function bond(address provider, uint96 amount) external;

    /// @notice Asks for `amount` of the bond back, which takes `unbondDelay`. Only the provider or its payout address.
    /// @dev A second request adds to the first and starts the delay again for both.
    function requestUnbond(address provider, uint96 amount) external;

    /// @notice Takes the request back. Only the provider or its payout address.
    function cancelUnbond(address provider) external;

    /// @notice Sends what was leaving to the escrow's payout address of the provider, once the delay has passed. Anybody
    /// may call.
    /// @return amount What was sent.
    function withdraw(address provider) external returns (uint96 amount);

    /// @notice Slashes for two different receipts with one channel and sequence.
    /// @dev Different means that their EIP-712 digests differ: two signatures over one receipt are no offence.
    /// @param payer With `provider` and `signer`, the channel, which both receipts must name.
    function slashEquivocation(
        address payer,
        address provider,
        address signer,
        SignedReceipt calldata first,
        SignedReceipt calldata second
    ) external;

    /// @notice Slashes for a receipt whose total is not the one before plus its own amount.
    /// @dev The first of a log, sequence 0, has none before it: its total is its client's to check before it pays.
    /// @param second The one with the sequence after `first`'s, and the one that is punished.
    function slashBrokenTotal(
        address payer,
        address provider,
        address signer,
        SignedReceipt calldata first,
        SignedReceipt calldata second
    ) external;

    /// @notice Slashes for a charge on a receipt that says the job failed.
    function slashChargedFailure(address payer, address provider, address signer, SignedReceipt calldata charged)
        external;

    /// @notice Whose receipts count, and whose payout addresses bonds return to.
    function escrow() external view returns (IRowenEscrow);

    /// @notice The escrow's token.
    function token() external view returns (IERC20);

    /// @notice Seconds from `requestUnbond` to `withdraw`.
    function unbondDelay() external view returns (uint64);

    /// @notice What one offence costs, in token units, as far as the bond goes.
    function penalty() external view returns (uint96);

    /// @notice The provider's slot; all zero if it has nothing at stake.
    function bonds(address provider) external view returns (uint96 amount, uint96 leaving, uint64 leaveAt);

    /// @notice What the provider has at stake and has not asked back, in token units. What a client should count.
    function activeOf(address provider) external view returns (uint96);

    /// @notice All that was ever burned, in token units. It is still here, and stays.
    function burned() external view returns (uint256);

    /// @notice What the provider has paid for this offence, in token units; `penalty` when it is done with.
    /// @param sequence The second receipt's for a broken total.
    function paidFor(address provider, Offence offence, bytes32 channelId, uint32 sequence)
        external
        view
        returns (uint96);

    /// @notice What a provider signs: the receipt's EIP-712 digest in the escrow's domain.
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32);
}
