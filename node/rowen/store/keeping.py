"""What an account keeps of its channel: the same entries on both sides of it."""

from __future__ import annotations

import trio

from rowen.protocol.channel import Head
from rowen.protocol.messages import Signed
from rowen.protocol.statements import Receipt, Voucher
from rowen.store.base import (
    ChannelStopped,
    Entry,
    Journal,
    JournalFailed,
    LogSettled,
    ReceiptKept,
    VoucherKept,
)

RECEIPTS_PER_SETTLED = 256
"""A replay reads about so many receipts, however long the log is."""


class Keeper:
    """Appends for one channel; once an append failed, for good, never again.

    Args:
        journal: Where to.
        channel_id: 32 bytes.
        settled_count: Receipts of the newest ``LogSettled`` that is kept.
    """

    def __init__(self, journal: Journal, channel_id: bytes, settled_count: int = 0) -> None:
        self._journal = journal
        self._channel_id = channel_id
        self._settled_count = settled_count
        # Output of the open segment of each job.
        self._job_to_segment: dict[bytes, list[str]] = {}
        self._failure = ""

    def check(self) -> None:
        """Raises ``JournalFailed`` when nothing more can be kept."""
        if self._failure:
            # Said as what it is, whoever asks: a node without its disk must end.
            raise JournalFailed(self._failure)

    async def keep(self, *entries: Entry) -> None:
        """Returns when all of them are durable; raises as ``Journal.append``."""
        if not entries:
            return
        # A cancelled write may or may not be on disk; memory must not guess.
        with trio.CancelScope(shield=True):
            try:
                await self._journal.append(*entries)
            except JournalFailed as error:
                self._failure = str(error)
                raise

    # --- entries

    def delivered(self, job_id: bytes, text: str) -> None:
        """Takes note of output, for the receipt that will cover it."""
        self._job_to_segment.setdefault(job_id, []).append(text)

    def receipt(
        self, job_id: bytes, receipt: Receipt, signed: Signed, finish: str, detail: str
    ) -> ReceiptKept:
        """A receipt, with what its segment delivered."""
        return ReceiptKept(
            channel_id=self._channel_id,
            sequence=receipt.sequence,
            job_id=job_id,
            receipt=signed,
            text="".join(self._job_to_segment.pop(job_id, ())),
            finish=finish,
            detail=detail,
        )

    def voucher(self, voucher: Voucher, signed: Signed) -> VoucherKept:
        """A voucher."""
        return VoucherKept(
            channel_id=self._channel_id,
            receipt_count=voucher.receipt_count,
            total=voucher.total,
            voucher=signed,
        )

    def settled(self, log: Head, voucher: Signed) -> list[Entry]:
        """What spares the next life the replay so far, if it would be long.

        Args:
            log: The whole of it, paid for, with no job open and the channel not stopped.
            voucher: The one that paid.
        """
        if log.count - self._settled_count < RECEIPTS_PER_SETTLED:
            return []
        self._settled_count = log.count
        settled = LogSettled(
            channel_id=self._channel_id,
            receipt_count=log.count,
            peaks=log.frontier.peaks,
            voucher=voucher,
        )
        return [settled]

    def stopped(self, why: str) -> ChannelStopped:
        """The end of the channel."""
        return ChannelStopped(channel_id=self._channel_id, detail=why)
