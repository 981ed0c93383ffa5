// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {IRowenEscrow} from "./interfaces/IRowenEscrow.sol";
import {Bond, IRowenStake, Offence, Receipt, SignedReceipt} from "./interfaces/IRowenStake.sol";

/// @title RowenStake
/// @notice See `IRowenStake` for what it promises and what it assumes.
contract RowenStake is IRowenStake, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("Rowen");
    bytes32 private constant VERSION_HASH = keccak256("1");
    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(bytes32 channelId,uint32 sequence,bytes32 orderHash,uint32 segment,uint8 status,uint32 inputUnits,uint32 cachedUnits,uint32 outputUnits,uint96 amount,uint96 total,bytes32 outputHash,uint64 startedAtMs,uint64 finishedAtMs,uint64 gpuMs,uint64 energyMj,uint8 energySource)"
    );

    /// @dev `FAILED` of the receipt's status.
    uint8 private constant STATUS_FAILED = 4;

    /// @dev A longer delay is taken for a mistake of the deployer's: it could never be corrected.
    uint64 private constant DELAY_MAX = 180 days;

    /// @dev The reporter gets one part of so many. At 2 or below, the reward would not be below what is burned.
    uint96 private constant REWARD_DIVISOR = 4;

    IRowenEscrow public immutable escrow;
    IERC20 public immutable token;
    uint64 public immutable unbondDelay;
    uint96 public immutable penalty;

    mapping(address provider => Bond) public bonds;
    mapping(bytes32 offence => uint96) private _paid;
    uint256 public burned;

    constructor(IRowenEscrow escrow_, uint64 unbondDelay_, uint96 penalty_) {
        require(address(escrow_).code.length != 0, EscrowHasNoCode(address(escrow_)));
        uint64 unlockDelay = escrow_.unlockDelay();
        require(
            unbondDelay_ > unlockDelay && unbondDelay_ <= DELAY_MAX,
            UnbondDelayOutOfRange(unbondDelay_, unlockDelay, DELAY_MAX)
        );
        require(penalty_ != 0, ZeroAmount());

        escrow = escrow_;
        token = escrow_.token();
        unbondDelay = unbondDelay_;
        penalty = penalty_;
    }

    // ---- Bond ----

    function bond(address provider, uint96 amount) external nonReentrant {
        require(provider != address(0), ZeroAddress());
        require(amount != 0, ZeroAmount());
        uint96 bonded = bonds[provider].amount + amount;
        require(bonded >= penalty, BondBelowPenalty(bonded, penalty));

        bonds[provider].amount = bonded;
        emit Bonded(provider, msg.sender, amount, bonded);

        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        require(received == amount, InexactTransfer(amount, received));
    }

    function requestUnbond(address provider, uint96 amount) external {
        _requireOwner(provider);
        require(amount != 0, ZeroAmount());
        uint96 active = activeOf(provider);
        require(amount <= active, UnbondExceedsBond(amount, active));

        Bond storage held = bonds[provider];
        uint96 leaving = held.leaving + amount;
        uint64 leaveAt = uint64(block.timestamp) + unbondDelay;
        held.leaving = leaving;
        held.leaveAt = leaveAt;
        emit UnbondRequested(provider, leaving, leaveAt);
    }

    function cancelUnbond(address provider) external {
        _requireOwner(provider);
        Bond storage held = bonds[provider];
        require(held.leaveAt != 0, UnbondNotPending(provider));

        held.leaving = 0;
        held.leaveAt = 0;
        emit UnbondCancelled(provider);
    }

    function withdraw(address provider) external nonReentrant returns (uint96 amount) {
        Bond memory held = bonds[provider];
        require(held.leaveAt != 0, UnbondNotPending(provider));
        require(block.timestamp >= held.leaveAt, UnbondTooEarly(held.leaveAt, block.timestamp));
        address payout = escrow.payoutOf(provider);

        // Not 0: a slash that leaves nothing to leave ends the request.
        amount = held.leaving;
        bonds[provider] = Bond({amount: held.amount - amount, leaving: 0, leaveAt: 0});
        emit Withdrawn(provider, payout, amount);

        token.safeTransfer(payout, amount);
    }

    /// @dev The payout address too, so that a provider that lost its operator key gets its bond back.
    function _requireOwner(address provider) private view {
        require(msg.sender == provider || msg.sender == escrow.payoutOf(provider), NotProvider(provider, msg.sender));
    }

    // ---- Slash ----

    function slashEquivocation(
        address payer,
        address provider,
        address signer,
        SignedReceipt calldata first,
        SignedReceipt calldata second
    ) external nonReentrant {
        bytes32 id = _channelId(payer, provider, signer);
        bytes32 digest = _requireSigned(id, provider, first);
        require(digest != _requireSigned(id, provider, second), SameReceipt(digest));
        (uint32 sequence, uint32 other) = (first.receipt.sequence, second.receipt.sequence);
        require(sequence == other, SequencesDiffer(sequence, other));

        _slash(provider, Offence.Equivocation, id, sequence);
    }

    function slashBrokenTotal(
        address payer,
        address provider,
        address signer,
        SignedReceipt calldata first,
        SignedReceipt calldata second
    ) external nonReentrant {
        bytes32 id = _channelId(payer, provider, signer);
        _requireSigned(id, provider, first);
        _requireSigned(id, provider, second);
        (uint32 sequence, uint32 next) = (first.receipt.sequence, second.receipt.sequence);
        require(uint256(sequence) + 1 == next, SequencesNotConsecutive(sequence, next));
        (uint96 total, uint96 amount, uint96 nextTotal) =
            (first.receipt.total, second.receipt.amount, second.receipt.total);
        require(uint256(total) + amount != nextTotal, TotalsAddUp(total, amount, nextTotal));

        _slash(provider, Offence.BrokenTotal, id, next);
    }

    function slashChargedFailure(address payer, address provider, address signer, SignedReceipt calldata charged)
        external
        nonReentrant
    {
        bytes32 id = _channelId(payer, provider, signer);
        _requireSigned(id, provider, charged);
        require(charged.receipt.status == STATUS_FAILED, NotFailed(charged.receipt.status));
        require(charged.receipt.amount != 0, NothingCharged());

        _slash(provider, Offence.ChargedFailure, id, charged.receipt.sequence);
    }

    /// @dev A receipt counts only on a channel of the provider's own: elsewhere its signature says nothing to anybody.
    function _requireSigned(bytes32 id, address provider, SignedReceipt calldata signed)
        private
        view
        returns (bytes32 digest)
    {
        require(signed.receipt.channelId == id, ChannelMismatch(id, signed.receipt.channelId));
        digest = receiptDigest(signed.receipt);
        (address recovered,,) = ECDSA.tryRecover(digest, signed.r, signed.vs);
        require(recovered != address(0) && recovered == provider, ReceiptSignerMismatch(provider, recovered));
    }

    function _slash(address provider, Offence offence, bytes32 id, uint32 sequence) private {
        bytes32 key = _offenceKey(provider, offence, id, sequence);
        uint96 unpaid = penalty - _paid[key];
        require(unpaid != 0, OffencePunished(provider, offence, id, sequence));
        Bond memory held = bonds[provider];
        require(held.amount != 0, NothingBonded(provider));

        uint96 taken = held.amount < unpaid ? held.amount : unpaid;
        // Rounded down, so that the burned part is never the smaller one.
        uint96 reward = taken / REWARD_DIVISOR;
        held.amount -= taken;
        // What is active goes first; then what is leaving.
        if (held.leaving > held.amount) held.leaving = held.amount;
        if (held.leaving == 0) held.leaveAt = 0;

        _paid[key] += taken;
        bonds[provider] = held;
        burned += taken - reward;
        emit Slashed(provider, msg.sender, offence, id, sequence, taken - reward, reward);

        // Some tokens revert on a transfer of 0.
        if (reward != 0) token.safeTransfer(msg.sender, reward);
    }

    // ---- Views ----

    function activeOf(address provider) public view returns (uint96) {
        Bond storage held = bonds[provider];
        return held.amount - held.leaving;
    }

    function paidFor(address provider, Offence offence, bytes32 channelId, uint32 sequence)
        external
        view
        returns (uint96)
    {
        return _paid[_offenceKey(provider, offence, channelId, sequence)];
    }

    function receiptDigest(Receipt calldata receipt) public view returns (bytes32) {
        bytes32 separator =
            keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(escrow)));
        // The words of the struct are its EIP-712 encoding.
        return MessageHashUtils.toTypedDataHash(separator, keccak256(abi.encode(RECEIPT_TYPEHASH, receipt)));
    }

    function _channelId(address payer, address provider, address signer) private pure returns (bytes32) {
        return keccak256(abi.encode(payer, provider, signer));
    }

    function _offenceKey(address provider, Offence offence, bytes32 id, uint32 sequence)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(provider, offence, id, sequence));
    }
}
