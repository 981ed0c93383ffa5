"""RowenEscrow and its token, rule by rule, in Python.

Follows ``contracts/src/RowenEscrow.sol``; the conformance suite holds both to the same
tests. Each rule is one method: it raises ``Reverted`` with the contract's own error, or
changes the state and emits the contract's own events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rowen.chain.base import ChannelKey, Deployment, Reverted
from rowen.chain.events import (
    Claimed,
    Locked,
    PayoutChanged,
    PayoutRequested,
    PayoutVetoed,
    Released,
    RowSkipped,
    SkipReason,
    Swept,
    UnlockCancelled,
    Unlocked,
    UnlockRequested,
)
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import ZERO_HASH, keccak
from rowen.protocol.signing import recover
from rowen.protocol.statements import Release, Voucher

ZERO_ADDRESS = bytes(20)
EMPTY = ChannelView(locked=0, claimed=0)


class Call(NamedTuple):
    """Who calls, when, and where its events go.

    Attributes:
        sender: 20 bytes.
        now_s: The block's time, Unix seconds.
        emit: Takes the event's class and its own fields.
    """

    sender: bytes
    now_s: int
    emit: Callable[..., None]


class Payout(NamedTuple):
    """Where a provider's earnings go, and what may take over when."""

    present: bytes
    following: bytes | None = None
    apply_at_s: int = 0


@dataclass(slots=True)
class EscrowModel:
    """All storage of the two contracts. ``copy`` gives a block its own."""

    deployment: Deployment
    channels: dict[bytes, ChannelView] = field(default_factory=dict)
    credits: dict[bytes, int] = field(default_factory=dict)
    accumulators: dict[bytes, bytes] = field(default_factory=dict)
    payouts: dict[bytes, Payout] = field(default_factory=dict)
    used_releases: frozenset[bytes] = frozenset()
    tokens: dict[bytes, int] = field(default_factory=dict)

    def copy(self) -> EscrowModel:
        """A state that changes without this one changing."""
        return replace(
            self,
            channels=dict(self.channels),
            credits=dict(self.credits),
            accumulators=dict(self.accumulators),
            payouts=dict(self.payouts),
            tokens=dict(self.tokens),
        )

    def mint(self, _call: Call, to: bytes, amount: int) -> None:
        """TestUSDC.mint."""
        self.tokens[to] = self.tokens.get(to, 0) + amount

    def lock(self, call: Call, provider: bytes, signer: bytes, amount: int) -> None:
        """RowenEscrow.lockWithPermit, with a permit that is right."""
        if ZERO_ADDRESS in (provider, signer):
            raise Reverted("lock", "ZeroAddress")
        if amount == 0:
            raise Reverted("lock", "ZeroAmount")
        channel_id = ChannelKey(call.sender, provider, signer).id
        channel = self.channels.get(channel_id, EMPTY)
        if channel.unlock_at_s:
            raise Reverted("lock", "UnlockPending", (channel_id, channel.unlock_at_s))
        if channel.locked == 0 and amount < self.deployment.min_lock:
            raise Reverted("lock", "LockBelowMinimum", (amount, self.deployment.min_lock))
        self._move(call.sender, self.deployment.domain.escrow, amount)
        locked = channel.locked + amount
        self.channels[channel_id] = ChannelView(locked=locked, claimed=channel.claimed)
        call.emit(
            Locked,
            channel_id=channel_id,
            payer=call.sender,
            provider=provider,
            signer=signer,
            amount=amount,
            locked=locked,
        )

    def claim(self, call: Call, provider: bytes, rows: Sequence[bytes]) -> None:
        """RowenEscrow.claim: a row is paid in full or skipped, and blocks no other."""
        accumulator = self.accumulators.get(provider, ZERO_HASH)
        credited = 0
        for index, row in enumerate(rows):
            paid = self._claim_row(call, provider, row)
            if isinstance(paid, SkipReason):
                call.emit(RowSkipped, provider=provider, row=index, reason=paid)
            else:
                digest, amount = paid
                accumulator = keccak(digest + accumulator)
                credited += amount
        if credited:
            self.accumulators[provider] = accumulator
            self.credits[provider] = self.credits.get(provider, 0) + credited

    def _claim_row(self, call: Call, provider: bytes, row: bytes) -> SkipReason | tuple[bytes, int]:
        voucher = Voucher(
            payer=row[:20],
            provider=provider,
            total=int.from_bytes(row[20:32], "big"),
            receipt_count=int.from_bytes(row[32:36], "big"),
            receipts_root=row[36:68],
        )
        digest = voucher.digest(self.deployment.domain)
        try:
            signer = recover(digest, row[68:])
        except PeerError:
            return SkipReason.BAD_SIGNATURE
        channel_id = ChannelKey(voucher.payer, provider, signer).id
        channel = self.channels.get(channel_id, EMPTY)
        if voucher.total <= channel.claimed:
            return SkipReason.NOT_INCREASING
        if voucher.total > channel.locked:
            return SkipReason.LOCK_EXCEEDED
        self.channels[channel_id] = ChannelView(
            locked=channel.locked, claimed=voucher.total, unlock_at_s=channel.unlock_at_s
        )
        call.emit(
            Claimed,
            provider=provider,
            payer=voucher.payer,
            signer=signer,
            total=voucher.total,
            receipt_count=voucher.receipt_count,
            receipts_root=voucher.receipts_root,
        )
        return digest, voucher.total - channel.claimed

    def sweep(self, call: Call, provider: bytes) -> None:
        """RowenEscrow.sweep."""
        amount = self.credits.get(provider, 0)
        if amount == 0:
            raise Reverted("sweep", "NothingToSweep", (provider,))
        payout = self.payout_of(provider)
        self.credits[provider] = 0
        call.emit(Swept, provider=provider, payout=payout, amount=amount)
        self._move(self.deployment.domain.escrow, payout, amount)

    def request_payout(self, call: Call, following: bytes) -> None:
        """RowenEscrow.requestPayout."""
        if following == ZERO_ADDRESS:
            raise Reverted("request_payout", "ZeroAddress")
        payout = self.payouts.get(call.sender)
        if payout is None:
            self.payouts[call.sender] = Payout(following)
            call.emit(PayoutChanged, provider=call.sender, payout=following)
        else:
            apply_at_s = call.now_s + self.deployment.payout_delay_s
            self.payouts[call.sender] = Payout(payout.present, following, apply_at_s)
            call.emit(
                PayoutRequested, provider=call.sender, payout=following, apply_at_s=apply_at_s
            )

    def apply_payout(self, call: Call, provider: bytes) -> None:
        """RowenEscrow.applyPayout."""
        payout = self.payouts.get(provider, Payout(provider))
        if payout.following is None:
            raise Reverted("apply_payout", "PayoutNotPending", (provider,))
        if call.now_s < payout.apply_at_s:
            raise Reverted("apply_payout", "PayoutTooEarly", (payout.apply_at_s, call.now_s))
        self.payouts[provider] = Payout(payout.following)
        call.emit(PayoutChanged, provider=provider, payout=payout.following)

    def veto_payout(self, call: Call, provider: bytes) -> None:
        """RowenEscrow.vetoPayout."""
        payout = self.payouts.get(provider, Payout(provider))
        if payout.following is None:
            raise Reverted("veto_payout", "PayoutNotPending", (provider,))
        if call.sender != payout.present:
            raise Reverted("veto_payout", "NotPayoutAddress", (payout.present, call.sender))
        self.payouts[provider] = Payout(payout.present)
        call.emit(PayoutVetoed, provider=provider, payout=payout.following)

    def request_unlock(self, call: Call, provider: bytes, signer: bytes) -> None:
        """RowenEscrow.requestUnlock."""
        channel_id = ChannelKey(call.sender, provider, signer).id
        channel = self.channels.get(channel_id, EMPTY)
        if channel.unlock_at_s:
            raise Reverted("request_unlock", "UnlockPending", (channel_id, channel.unlock_at_s))
        if channel.locked == channel.claimed:
            raise Reverted("request_unlock", "NothingLocked", (channel_id,))
        unlock_at_s = call.now_s + self.deployment.unlock_delay_s
        self._set_unlock(channel_id, channel, unlock_at_s)
        call.emit(UnlockRequested, channel_id=channel_id, unlock_at_s=unlock_at_s)

    def cancel_unlock(self, call: Call, provider: bytes, signer: bytes) -> None:
        """RowenEscrow.cancelUnlock."""
        channel_id = ChannelKey(call.sender, provider, signer).id
        channel = self.channels.get(channel_id, EMPTY)
        if not channel.unlock_at_s:
            raise Reverted("cancel_unlock", "UnlockNotPending", (channel_id,))
        self._set_unlock(channel_id, channel, 0)
        call.emit(UnlockCancelled, channel_id=channel_id)

    def unlock(self, call: Call, key: ChannelKey) -> None:
        """RowenEscrow.unlock."""
        channel = self.channels.get(key.id, EMPTY)
        if not channel.unlock_at_s:
            raise Reverted("unlock", "UnlockNotPending", (key.id,))
        if call.now_s < channel.unlock_at_s:
            raise Reverted("unlock", "UnlockTooEarly", (channel.unlock_at_s, call.now_s))
        call.emit(Unlocked, channel_id=key.id, amount=self._close(key, channel.claimed))

    def release(self, call: Call, key: ChannelKey, release: Release, signature: bytes) -> None:
        """RowenEscrow.release. The contract derives the channel from its three addresses."""
        if call.now_s > release.deadline_s:
            raise Reverted("release", "ReleaseExpired", (release.deadline_s, call.now_s))
        digest = Release(
            channel_id=key.id, total=release.total, deadline_s=release.deadline_s
        ).digest(self.deployment.domain)
        try:
            recovered = recover(digest, signature)
        except PeerError:
            recovered = ZERO_ADDRESS
        if recovered != key.provider:
            raise Reverted("release", "ReleaseSignerMismatch", (key.provider, recovered))
        if digest in self.used_releases:
            raise Reverted("release", "ReleaseUsed", (digest,))
        channel = self.channels.get(key.id, EMPTY)
        if release.total > channel.locked:
            raise Reverted("release", "ReleaseExceedsLock", (release.total, channel.locked))
        self.used_releases |= {digest}
        amount = self._close(key, max(release.total, channel.claimed))
        call.emit(Released, channel_id=key.id, amount=amount)

    def payout_of(self, provider: bytes) -> bytes:
        """RowenEscrow.payoutOf."""
        return self.payouts.get(provider, Payout(provider)).present

    def _set_unlock(self, channel_id: bytes, channel: ChannelView, unlock_at_s: int) -> None:
        self.channels[channel_id] = ChannelView(
            locked=channel.locked, claimed=channel.claimed, unlock_at_s=unlock_at_s
        )

    def _close(self, key: ChannelKey, keep: int) -> int:
        channel = self.channels.get(key.id, EMPTY)
        self.channels[key.id] = ChannelView(locked=keep, claimed=channel.claimed)
        amount = channel.locked - keep
        self._move(self.deployment.domain.escrow, key.payer, amount)
        return amount

    def _move(self, sender: bytes, to: bytes, amount: int) -> None:
        held = self.tokens.get(sender, 0)
        if held < amount:
            raise Reverted("transfer", "ERC20InsufficientBalance", (sender, held, amount))
        self.tokens[sender] = held - amount
        self.tokens[to] = self.tokens.get(to, 0) + amount
