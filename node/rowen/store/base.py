"""The narrow waist between Rowen and its disk: what is kept, and the journal that keeps it.

Both sides of a channel append what they owe or are owed, wait until it is durable, and only
then send. After a restart they send ``Journal.to_replay`` through the same pure functions. Two
implementations stand behind ``Journal``: ``rowen.store.journal`` (SQLite) and
``rowen.testing.store`` (memory, with faults on order); both pass one conformance suite.

This module imports no SQLAlchemy, so that typing against it costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec

from rowen.protocol.channel import Head
from rowen.protocol.errors import Reason, Refused, Unavailable
from rowen.protocol.messages import Signed
from rowen.protocol.receipt_log import Frontier
from rowen.protocol.statements import Voucher

Role = Literal["seller", "buyer"]
"""Which side of a channel we are."""

# --- entries --------------------------------------------------------------------------------


class ChannelOpened(msgspec.Struct, frozen=True, kw_only=True):
    """A channel came into use; the first entry of each. Appending it again changes nothing.

    Attributes:
        channel_id: 32 bytes.
        role: Ours. One journal keeps one side of a channel only.
        chain_id: Chain of the escrow.
        escrow: Contract, 20 bytes.
        payer: Wallet that funds it, 20 bytes.
        provider: Who serves, 20 bytes.
        signer: The client's session key, 20 bytes.
    """

    channel_id: bytes
    role: Role
    chain_id: int
    escrow: bytes
    payer: bytes
    provider: bytes
    signer: bytes


class OrderKept(msgspec.Struct, frozen=True, kw_only=True):
    """A job: appended by the seller before work starts, by the buyer before the order is sent.

    Attributes:
        channel_id: 32 bytes.
        job_id: 32 bytes; once only per role and provider.
        order: Signed ``Order``.
        salt: Of the input's hash; sealed on disk.
        input: Encoded job input; sealed on disk.
        input_units: Seller: prompt tokens as the engine counted them.
        input_units_max: Buyer: more prompt tokens than this are not believed.
        output_units_max: Seller: what engine, order and money allow together.
        started_at_ms: Unix time.
    """

    channel_id: bytes
    job_id: bytes
    order: Signed
    salt: bytes
    input: bytes
    input_units: int = 0
    input_units_max: int = 0
    output_units_max: int = 0
    started_at_ms: int


class ReceiptKept(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt: appended by the seller before it is sent, by the buyer with its voucher.

    Attributes:
        channel_id: 32 bytes.
        sequence: Position in the channel's receipt log, from 0, without gaps.
        job_id: 32 bytes; of an order on this channel.
        receipt: Signed ``Receipt``.
        text: What its segment delivered; sealed on disk.
        finish: A ``Finish`` word on the last receipt of a job, empty before.
        detail: Why it ended so; sealed on disk.
    """

    channel_id: bytes
    sequence: int
    job_id: bytes
    receipt: Signed
    text: str
    finish: str = ""
    detail: str = ""


class VoucherKept(msgspec.Struct, frozen=True, kw_only=True):
    """A voucher: appended by the seller before it sends more, by the buyer before it is sent.

    Attributes:
        channel_id: 32 bytes.
        receipt_count: Receipts it covers; more than the voucher before it, and all of them kept.
        total: Owed since the channel opened, token units; not less than before. uint96.
        voucher: Signed ``Voucher``.
    """

    channel_id: bytes
    receipt_count: int
    total: int
    voucher: Signed


class LogSettled(msgspec.Struct, frozen=True, kw_only=True):
    """Every receipt is paid for and no job is open: a replay may begin here.

    Attributes:
        channel_id: 32 bytes.
        receipt_count: The whole log.
        peaks: Of its tree; see ``receipt_log.Frontier``.
        voucher: The newest one, which covers all of it.
    """

    channel_id: bytes
    receipt_count: int
    peaks: tuple[bytes, ...]
    voucher: Signed

    def log(self) -> Head:
        """The log it stands for.

        Raises:
            ValueError: The voucher was signed for another log.
        """
        voucher = Voucher.decode(self.voucher.words)
        frontier = Frontier(self.receipt_count, self.peaks)
        if (voucher.receipt_count, voucher.receipts_root) != (frontier.count, frontier.root()):
            raise ValueError(f"the log settled at receipt {self.receipt_count} is not the paid one")
        return Head(frontier, voucher.total)


class JobDropped(msgspec.Struct, frozen=True, kw_only=True):
    """A job that ended without a receipt: refused, or unknown to the provider after all."""

    channel_id: bytes
    job_id: bytes
    detail: str = ""


class DisputeKept(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt the client will not pay for, as evidence. Only the first of a channel counts.

    Attributes:
        channel_id: 32 bytes.
        sequence: As the receipt says, so not necessarily one that fits the log.
        receipt: Signed ``Receipt``.
        detail: What is wrong with it.
    """

    channel_id: bytes
    sequence: int
    receipt: Signed
    detail: str = ""


class ChannelStopped(msgspec.Struct, frozen=True, kw_only=True):
    """No more jobs on this channel. Only the first of a channel counts."""

    channel_id: bytes
    detail: str


Entry = (
    ChannelOpened
    | OrderKept
    | ReceiptKept
    | VoucherKept
    | LogSettled
    | JobDropped
    | DisputeKept
    | ChannelStopped
)

# --- errors ---------------------------------------------------------------------------------


class JobReplayed(Refused):
    """A job with this id was kept before."""

    def __init__(self, job_id: bytes) -> None:
        super().__init__(Reason.JOB_REPLAYED, f"job 0x{job_id.hex()} was ordered before")


class Contradiction(ValueError):
    """The append does not follow from what is kept: a gap, a falling total, a job unknown.

    One of our own invariants is broken. Nothing of the append was written; the journal goes on.
    """


class JournalFailed(Unavailable):
    """The journal is closed for good: stop taking work and end. The message says what to do.

    An append that raises this may or may not be durable; a restart shows.
    """


class JournalCorrupt(JournalFailed):
    """What is on disk is not what was written; the message names the row."""


# --- the journal ----------------------------------------------------------------------------


class Journal(Protocol):
    """Money facts on disk. Safe to use from many tasks at once.

    Every method raises ``JournalFailed`` (an ``Unavailable``) once the disk failed or the
    journal was closed.
    """

    async def append(self, *entries: Entry) -> None:
        """Returns when all of them are durable, in one transaction.

        Appends that wait at the same time share one fsync. Entries of one channel appended by
        one task keep their order. A cancelled append is either wholly durable or not at all.

        Raises:
            JobReplayed: An order's job id is known; nothing was written.
            Contradiction: See there; nothing was written.
            UserError: The channel is kept already with another role or deployment.
            ValueError: A field does not fit its type; nothing was written.
        """
        ...

    async def openings(self, role: Role) -> list[ChannelOpened]:
        """The first entry of every channel on that side, oldest first."""
        ...

    def to_replay(self, channel_id: bytes) -> AsyncIterator[Entry]:
        """The entries from the newest ``LogSettled`` on, in order; all of them without one.

        A bounded number is in memory at a time, and what is appended meanwhile is not among them.
        """
        ...

    async def receipt(self, channel_id: bytes, sequence: int) -> ReceiptKept | None:
        """One receipt, or None when there is none of that number."""
        ...

    async def vouchers(self, role: Role) -> list[VoucherKept]:
        """The newest voucher of every channel that has one, to claim."""
        ...

    def orders_of(self, channel_id: bytes) -> AsyncIterator[OrderKept]:
        """All orders of a channel, oldest first, a bounded number in memory at a time."""
        ...

    def receipts_of(self, channel_id: bytes) -> AsyncIterator[ReceiptKept]:
        """All receipts of a channel, in sequence, a bounded number in memory at a time."""
        ...

    def vouchers_of(self, channel_id: bytes) -> AsyncIterator[VoucherKept]:
        """All vouchers of a channel, oldest first, a bounded number in memory at a time."""
        ...
