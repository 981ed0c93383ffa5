"""Whether an entry follows from what is kept: pure, and the same for the disk and the fake.

A ``Head`` counts what a channel holds. Every entry raises one of its counts, and the counts are
stored and checked with the rows, so that a row that vanished is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from rowen.protocol.errors import UserError
from rowen.protocol.ids import ADDRESS_BYTES, HASH_BYTES
from rowen.protocol.messages import Signed
from rowen.protocol.signing import SIGNATURE_BYTES
from rowen.protocol.statements import AMOUNT_MAX
from rowen.store.base import (
    ChannelOpened,
    ChannelStopped,
    Contradiction,
    DisputeKept,
    Entry,
    JobDropped,
    JobReplayed,
    LogSettled,
    OrderKept,
    ReceiptKept,
    VoucherKept,
)

INTEGER_MAX = 2**63 - 1
WORDS_BYTES_MAX = 1024


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a channel is kept.

    Attributes:
        opened: Its first entry.
        number: Position among all channels, from 0.
        entries: Entries after the first, of every kind.
        orders: Of these, orders.
        receipts: Of these, receipts; the next one's sequence.
        vouchers: Of these, vouchers.
        voucher_receipts: Receipt count of the newest voucher.
        voucher_total: Its total, token units.
    """

    opened: ChannelOpened
    number: int
    entries: int = 0
    orders: int = 0
    receipts: int = 0
    vouchers: int = 0
    voucher_receipts: int = 0
    voucher_total: int = 0


class JobKey(NamedTuple):
    """What a job id must be unique among."""

    job_id: bytes
    role: str
    provider: bytes


class Placed(NamedTuple):
    """An entry and its position in its channel, from 0, not counting the one that opened it."""

    position: int
    entry: Entry


class Draft:
    """What a group of appends would change, if it were committed.

    Attributes:
        heads: Channels that changed, by id.
        jobs: Channel of every new job.
        placed: New entries, in order.
        opened: How many of them open a channel.
    """

    def __init__(
        self, stored: Mapping[bytes, Head], find_job: Callable[[JobKey], bytes | None]
    ) -> None:
        """Takes every channel as committed, and how to find the channel of a committed job."""
        self._stored = stored
        self._find_job = find_job
        self.heads: dict[bytes, Head] = {}
        self.jobs: dict[JobKey, bytes] = {}
        self.placed: list[Placed] = []
        self.opened = 0

    def add(self, entries: Iterable[Entry]) -> None:
        """Adds one append, or nothing of it.

        Raises:
            JobReplayed: A job id is known.
            Contradiction: An entry does not follow from those before.
            UserError: A channel is kept with another role or deployment.
            ValueError: A field does not fit its type.
        """
        attempt = Draft({}, self._find_job)
        for entry in entries:
            check(entry)
            self._try(attempt, entry)
        self.heads |= attempt.heads
        self.jobs |= attempt.jobs
        self.placed += attempt.placed
        self.opened += attempt.opened

    def _try(self, attempt: Draft, entry: Entry) -> None:
        key = entry.channel_id
        head = attempt.heads.get(key) or self.heads.get(key) or self._stored.get(key)
        if isinstance(entry, ChannelOpened):
            if head is None:
                number = len(self._stored) + self.opened + attempt.opened
                attempt.heads[key] = Head(opened=entry, number=number)
                attempt.opened += 1
            elif head.opened != entry:
                raise UserError(
                    f"channel 0x{key.hex()} is kept as {_shown(head.opened)} and cannot be "
                    f"{_shown(entry)} too: give each side and each deployment a data directory "
                    "of its own"
                )
            return
        if head is None:
            raise Contradiction(f"channel 0x{key.hex()} was never opened")
        if isinstance(entry, OrderKept | ReceiptKept | JobDropped):
            self._check_job(attempt, entry, head.opened)
        attempt.heads[key] = after(head, entry)
        attempt.placed.append(Placed(head.entries, entry))

    def _check_job(
        self, attempt: Draft, entry: OrderKept | ReceiptKept | JobDropped, opened: ChannelOpened
    ) -> None:
        key = JobKey(entry.job_id, opened.role, opened.provider)
        channel = attempt.jobs.get(key) or self.jobs.get(key) or self._find_job(key)
        if not isinstance(entry, OrderKept):
            if channel != entry.channel_id:
                raise Contradiction(f"job 0x{entry.job_id.hex()} was not ordered on this channel")
        elif channel is None:
            attempt.jobs[key] = entry.channel_id
        else:
            raise JobReplayed(entry.job_id)


def after(head: Head, entry: Entry) -> Head:
    """The head with one more entry.

    Raises:
        Contradiction: The entry does not follow.
    """
    entries = head.entries + 1
    if isinstance(entry, OrderKept):
        return replace(head, entries=entries, orders=head.orders + 1)
    if isinstance(entry, ReceiptKept):
        if entry.sequence != head.receipts:
            raise Contradiction(f"receipt is number {entry.sequence}, the log has {head.receipts}")
        return replace(head, entries=entries, receipts=head.receipts + 1)
    if isinstance(entry, VoucherKept):
        if not head.voucher_receipts < entry.receipt_count <= head.receipts:
            raise Contradiction(
                f"voucher covers {entry.receipt_count} receipts, the one before "
                f"{head.voucher_receipts}, the log has {head.receipts}"
            )
        if entry.total < head.voucher_total:
            raise Contradiction(f"voucher total fell from {head.voucher_total} to {entry.total}")
        return replace(
            head,
            entries=entries,
            vouchers=head.vouchers + 1,
            voucher_receipts=entry.receipt_count,
            voucher_total=entry.total,
        )
    if isinstance(entry, LogSettled) and not (
        entry.receipt_count == head.receipts == head.voucher_receipts
    ):
        raise Contradiction(
            f"log is settled at {entry.receipt_count} receipts; it has {head.receipts}, "
            f"of which {head.voucher_receipts} are paid"
        )
    return replace(head, entries=entries)


def _shown(opened: ChannelOpened) -> str:
    return f"{opened.role} on chain {opened.chain_id}, escrow 0x{opened.escrow.hex()}"


# --- fields ---------------------------------------------------------------------------------


def check(entry: Entry) -> None:
    """Refuses what would not come back from the disk as it is.

    Raises:
        ValueError: A field does not fit its type.
    """
    _sized("channel_id", entry.channel_id, HASH_BYTES)
    match entry:
        case ChannelOpened():
            if entry.role not in ("seller", "buyer"):
                raise ValueError(f"role is {entry.role!r}, expected seller or buyer")
            _integer("chain_id", entry.chain_id)
            for name in ("escrow", "payer", "provider", "signer"):
                _sized(name, getattr(entry, name), ADDRESS_BYTES)
        case OrderKept():
            _sized("job_id", entry.job_id, HASH_BYTES)
            _signed(entry.order)
            _integer("input_units", entry.input_units)
            _integer("input_units_max", entry.input_units_max)
            _integer("output_units_max", entry.output_units_max)
            _integer("started_at_ms", entry.started_at_ms)
        case ReceiptKept():
            _sized("job_id", entry.job_id, HASH_BYTES)
            _signed(entry.receipt)
            _text("text", entry.text)
            _text("finish", entry.finish)
            _text("detail", entry.detail)
        case VoucherKept():
            _integer("total", entry.total, AMOUNT_MAX)
            _signed(entry.voucher)
        case LogSettled():
            _signed(entry.voucher)
            for peak in entry.peaks:
                _sized("peak", peak, HASH_BYTES)
        case JobDropped():
            _sized("job_id", entry.job_id, HASH_BYTES)
            _text("detail", entry.detail)
        case DisputeKept():
            _integer("sequence", entry.sequence)
            _signed(entry.receipt)
            _text("detail", entry.detail)
        case ChannelStopped():
            _text("detail", entry.detail)


def _sized(name: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise ValueError(f"{name} has {len(value)} bytes, expected {size}")


def _integer(name: str, value: int, most: int = INTEGER_MAX) -> None:
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {value}, expected 0 to {most}")


def _text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a character: {error.reason}") from error


def _signed(signed: Signed) -> None:
    if len(signed.words) > WORDS_BYTES_MAX:
        raise ValueError(f"statement has {len(signed.words)} bytes, at most {WORDS_BYTES_MAX}")
    _sized("signature", signed.signature, SIGNATURE_BYTES)
