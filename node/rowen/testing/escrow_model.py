"""RowenEscrow, rule by rule, in Python.

Follows ``contracts/src/RowenEscrow.sol``; the conformance suite holds both to the same
tests. Each rule is one method: it raises ``Reverted`` with the contract's own error, or
changes the state and emits the contract's own events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rowen.chain import authorizations
from rowen.chain.base import ChannelKey
from rowen.chain.calls.escrow import Lock, LockPart
from rowen.chain.events import (
    Claimed,
    Locked,
    PayoutChanged,
    PayoutRequested,
    PayoutVetoed,
    Released,
    RowSkipped,
    SkipReason,
    UnlockCancelled,
    Unlocked,
    UnlockRequested,
)
from rowen.chain.refusals import Reverted
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import ZERO_HASH, keccak
from rowen.protocol.signing import recover
from rowen.protocol.statements import Release, Voucher
from rowen.testing.token_model import ZERO_ADDRESS, Call, TokenModel, signer_of

EMPTY = ChannelView(locked=0, claimed=0)


class Payout(NamedTuple):
    """Where a provider's earnings go, and what may take over when."""

    present: bytes
    following: bytes | None = None
    apply_at_s: int = 0


@dataclass(slots=True)
class EscrowModel(TokenModel):
    """All storage of escrow and token."""

    channels: dict[bytes, ChannelView] = field(default_factory=dict)
    credits: dict[bytes, int] = field(default_factory=dict)
    accumulators: dict[bytes, bytes] = field(default_factory=dict)
    payouts: dict[bytes, Payout] = field(default_factory=dict)
    used_releases: frozenset[bytes] = frozenset()
    used_digests: frozenset[tuple[bytes, bytes]] = frozenset()

    def lock(self, call: Call, provider: bytes, signer: bytes, amount: int) -> None:
        """RowenEscrow.lockWithPermit, with a permit that is right; and all ways like it."""
        self._lock(call, call.sender, provider, signer, amount)
        self.move(call.sender, self.deployment.domain.escrow, amount)

    def lock_allowed(self, call: Call, provider: bytes, signer: bytes, amount: int) -> None:
        """RowenEscrow.lock, out of the allowance."""
        self._lock(call, call.sender, provider, signer, amount)
        self.spend(call.sender, self.deployment.domain.escrow, amount)

    def lock_many(self, call: Call, parts: Sequence[LockPart]) -> None:
        """RowenEscrow.lockMany."""
        for part in parts:
            self._lock(call, call.sender, *part)
        total = sum(part.amount for part in parts)
        self.spend(call.sender, self.deployment.domain.escrow, total)

    def lock_for(self, call: Call, wanted: Lock, signature: bytes) -> None:
        """RowenEscrow.lockFor."""
        signable = authorizations.lock(self.deployment.domain, wanted)
        self._authorize(call, wanted.payer, signable.digest, wanted.deadline, signature)
        self._lock(call, wanted.payer, wanted.provider, wanted.signer, wanted.amount)
        self.spend(wanted.payer, self.deployment.domain.escrow, wanted.amount)

    def lock_with_authorization(self, call: Call, wanted: Lock, signature: bytes) -> None:
        """RowenEscrow.lockWithAuthorization, of a payer with a key."""
        self._lock(call, wanted.payer, wanted.provider, wanted.signer, wanted.amount)
        deployment = self.deployment
        signable = authorizations.authorization(
            self.facts(wanted.payer), deployment.domain, deployment.token, wanted
        )
        self.receive_with_authorization(call, wanted, signable, signature)

    def request_unlock_for(
        self, call: Call, key: ChannelKey, deadline_s: int, signature: bytes
    ) -> None:
        """RowenEscrow.requestUnlockFor."""
        signable = authorizations.request_unlock(self.deployment.domain, key, deadline_s)
        self._authorize(call, key.payer, signable.digest, deadline_s, signature)
        self._request_unlock(call, key.id)

    def cancel_unlock_for(
        self, call: Call, key: ChannelKey, unlock_at_s: int, deadline_s: int, signature: bytes
    ) -> None:
        """RowenEscrow.cancelUnlockFor: of one request, told by when it is due."""
        domain = self.deployment.domain
        signable = authorizations.cancel_unlock(domain, key, unlock_at_s, deadline_s)
        self._authorize(call, key.payer, signable.digest, deadline_s, signature)
        pending = self.channels.get(key.id, EMPTY).unlock_at_s
        if pending != unlock_at_s:
            raise Reverted(
                "cancel_unlock_for", "OtherUnlockPending", (key.id, unlock_at_s, pending)
            )
        self._cancel_unlock(call, key.id)

    def revoke_authorization(self, call: Call, digest: bytes) -> None:
        """RowenEscrow.revokeAuthorization."""
        self._use(call.sender, digest)

    def _authorize(
        self, call: Call, payer: bytes, digest: bytes, deadline_s: int, signature: bytes
    ) -> None:
        if call.now_s > deadline_s:
            raise Reverted("authorization", "AuthorizationExpired", (deadline_s, call.now_s))
        self._use(payer, digest)
        if signer_of(digest, signature) != payer:
            raise Reverted("authorization", "AuthorizationInvalid", (payer, digest))

    def _use(self, payer: bytes, digest: bytes) -> None:
        if (payer, digest) in self.used_digests:
            raise Reverted("authorization", "AuthorizationUsed", (payer, digest))
        self.used_digests |= {(payer, digest)}

    def _lock(self, call: Call, payer: bytes, provider: bytes, signer: bytes, amount: int) -> None:
        if ZERO_ADDRESS in (provider, signer):
            raise Reverted("lock", "ZeroAddress")
        if amount == 0:
            raise Reverted("lock", "ZeroAmount")
        channel_id = ChannelKey(payer, provider, signer).id
        channel = self.channels.get(channel_id, EMPTY)
        if channel.unlock_at_s:
            raise Reverted("lock", "UnlockPending", (channel_id, channel.unlock_at_s))
        if channel.locked == 0 and amount < self.deployment.min_lock:
            raise Reverted("lock", "LockBelowMinimum", (amount, self.deployment.min_lock))
        locked = channel.locked + amount
        self.channels[channel_id] = ChannelView(locked=locked, claimed=channel.claimed)
        call.emit(Locked, payer=payer, provider=provider, signer=signer, amount=amount)

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
        self.move(self.deployment.domain.escrow, payout, amount)

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
        self._request_unlock(call, ChannelKey(call.sender, provider, signer).id)

    def _request_unlock(self, call: Call, channel_id: bytes) -> None:
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
        self._cancel_unlock(call, ChannelKey(call.sender, provider, signer).id)

    def _cancel_unlock(self, call: Call, channel_id: bytes) -> None:
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
        self.channels[key.id] = ChannelView(
            locked=keep,
            claimed=channel.claimed,
            unlock_at_s=channel.unlock_at_s if keep > channel.claimed else 0,
        )
        amount = channel.locked - keep
        self.move(self.deployment.domain.escrow, key.payer, amount)
        return amount
