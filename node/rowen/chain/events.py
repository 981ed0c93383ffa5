"""The contracts' events as values. Amounts are token units, addresses 20 and hashes 32 bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from rowen.protocol.fraud import Offence
from rowen.protocol.ids import channel_id_of


class SkipReason(IntEnum):
    """Why a claim passed over a row; the contract's own numbers.

    A signature over other bytes recovers to some address nearly always, whose channel is
    empty, and so shows as ``LOCK_EXCEEDED``.
    """

    BAD_SIGNATURE = 0
    NOT_INCREASING = 1
    LOCK_EXCEEDED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        block: Height.
        index: Position among the block's logs; (block, index) orders all events.
        tx_hash: 32 bytes.
    """

    block: int
    index: int
    tx_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked(Event):
    """``amount`` came into the channel."""

    payer: bytes
    provider: bytes
    signer: bytes
    amount: int

    @property
    def channel_id(self) -> bytes:
        """The escrow's key for the channel, 32 bytes."""
        return channel_id_of(self.payer, self.provider, self.signer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Event):
    """A voucher was paid up to ``total``."""

    provider: bytes
    payer: bytes
    signer: bytes
    total: int
    receipt_count: int
    receipts_root: bytes

    @property
    def channel_id(self) -> bytes:
        """The escrow's key for the channel, 32 bytes."""
        return channel_id_of(self.payer, self.provider, self.signer)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSkipped(Event):
    """Row ``row`` of a claim was not paid. Anybody can cause it; it proves nothing."""

    provider: bytes
    row: int
    reason: SkipReason


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequested(Event):
    """The provider asked for another payout address, in force from ``apply_at_s`` on."""

    provider: bytes
    payout: bytes
    apply_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutChanged(Event):
    """The provider's earnings now go to ``payout``."""

    provider: bytes
    payout: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutVetoed(Event):
    """The present payout address refused ``payout`` as its successor."""

    provider: bytes
    payout: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockRequested(Event):
    """The payer wants its funds back: stop serving, claim before ``unlock_at_s``."""

    channel_id: bytes
    unlock_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockCancelled(Event):
    """The payer took its request back."""

    channel_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked(Event):
    """The delay ran out and ``amount`` went back to the payer."""

    channel_id: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(Event):
    """The provider agreed and ``amount`` went back to the payer at once."""

    channel_id: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bonded(Event):
    """``sender`` added ``amount`` to the provider's bond, then ``bonded`` in all."""

    provider: bytes
    sender: bytes
    amount: int
    bonded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbondRequested(Event):
    """The provider wants part of its bond back; ``leaving`` in all is due at ``leave_at_s``."""

    provider: bytes
    leaving: int
    leave_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbondCancelled(Event):
    """The provider took that back."""

    provider: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    """The delay ran out and ``amount`` of the bond went to ``payout``."""

    provider: bytes
    payout: bytes
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slashed(Event):
    """The provider lost ``burned`` and ``reward``, the latter to the reporter."""

    provider: bytes
    reporter: bytes
    offence: Offence
    channel_id: bytes
    sequence: int
    burned: int
    reward: int
