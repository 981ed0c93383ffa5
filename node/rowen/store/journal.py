"""The journal on SQLite: one task collects appends, one thread writes them, two threads read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from rowen.store.base import (
    ChannelOpened,
    Entry,
    JournalFailed,
    OrderKept,
    ReceiptKept,
    Role,
    VoucherKept,
)
from rowen.store.committer import Committer
from rowen.store.database import READERS_MAX, create_file, disk_errors, make_engine, prepare
from rowen.store.group import Append, GroupWriter
from rowen.store.lock import only_process
from rowen.store.reader import PAGE_ROWS, Reader
from rowen.store.transactions import (
    A,
    AttemptIndex,
    AttemptKept,
    TransactionFact,
    Transactions,
)
from rowen.store.wal import check_wal

T = TypeVar("T")

ENTRY_BYTES = 512
"""What an entry takes beside its texts, roughly."""


class SqliteJournal:
    """See ``rowen.store.base.Journal``; made by ``open_journal``."""

    def __init__(self, committer: Committer, reader: Reader, writer: GroupWriter) -> None:
        self._committer = committer
        self._reader = reader
        self._writer = writer
        self._limiter = trio.CapacityLimiter(READERS_MAX)

    async def append(self, *entries: Entry) -> None:
        """See ``Journal``."""
        size_bytes = sum(
            ENTRY_BYTES + len(getattr(entry, "input", "")) + len(getattr(entry, "text", ""))
            for entry in entries
        )
        await self._writer.append(Append(entries, size_bytes))

    async def openings(self, role: Role) -> list[ChannelOpened]:
        """See ``Journal``."""
        await trio.lowlevel.checkpoint()
        return [self._committer.heads[key].opened for key in self._ids(role)]

    async def to_replay(self, channel_id: bytes) -> AsyncIterator[Entry]:
        """See ``Journal``."""
        if not self._is_kept(channel_id) or not self._committer.heads[channel_id].entries:
            return
        cursor = await self._read(self._reader.replay_start, channel_id)
        while cursor.position < cursor.end:
            page, cursor = await self._read(self._reader.replay_page, channel_id, cursor)
            for entry in page:
                yield entry

    async def receipt(self, channel_id: bytes, sequence: int) -> ReceiptKept | None:
        """See ``Journal``."""
        if not self._is_kept(channel_id):
            await trio.lowlevel.checkpoint()
            return None
        return next(iter(await self._read(self._reader.receipts, channel_id, sequence, 1)), None)

    async def vouchers(self, role: Role) -> list[VoucherKept]:
        """See ``Journal``."""
        ids = [key for key in self._ids(role) if self._committer.heads[key].vouchers]
        newest: list[VoucherKept] = []
        for first in range(0, len(ids), PAGE_ROWS):
            page = ids[first : first + PAGE_ROWS]
            newest += await self._read(self._reader.newest_vouchers, page)
        return newest

    async def orders_of(self, channel_id: bytes) -> AsyncIterator[OrderKept]:
        """See ``Journal``."""
        if not self._is_kept(channel_id):
            return
        first = seen = 0
        is_more = True
        while is_more:
            page, first = await self._read(self._reader.orders, channel_id, first, seen)
            for order in page:
                yield order
            seen += len(page)
            is_more = len(page) == PAGE_ROWS

    async def receipts_of(self, channel_id: bytes) -> AsyncIterator[ReceiptKept]:
        """See ``Journal``."""
        if not self._is_kept(channel_id):
            return
        seen = 0
        is_more = True
        while is_more:
            page = await self._read(self._reader.receipts, channel_id, seen)
            for receipt in page:
                yield receipt
            seen += len(page)
            is_more = len(page) == PAGE_ROWS

    async def vouchers_of(self, channel_id: bytes) -> AsyncIterator[VoucherKept]:
        """See ``Journal``."""
        if not self._is_kept(channel_id):
            return
        first = seen = 0
        is_more = True
        while is_more:
            page, first = await self._read(self._reader.vouchers, channel_id, first, seen)
            for voucher in page:
                yield voucher
            seen += len(page)
            is_more = len(page) == PAGE_ROWS

    def transactions(
        self, chain_id: int, attempt: Callable[..., A], outcome: Callable[[str], Any]
    ) -> Transactions[A]:
        """The log of our transactions on one chain: a ``rowen.chain`` ``TransactionLog``.

        Args:
            chain_id: EIP-155.
            attempt: Makes the caller's ``Attempt`` from its fields.
            outcome: Makes its ``Outcome`` from a word.
        """
        return Transactions(chain_id, self._keep_fact, self._find_attempts, attempt, outcome)

    async def _keep_fact(self, fact: TransactionFact) -> None:
        await self._writer.append(Append((), ENTRY_BYTES, fact=fact))

    async def _find_attempts(
        self, numbers: Callable[[AttemptIndex], Iterable[int]]
    ) -> list[AttemptKept]:
        found = list(numbers(self._committer.attempts))
        return await self._read(self._reader.transactions, found)

    def _ids(self, role: Role) -> list[bytes]:
        self._writer.check_open()
        heads = self._committer.heads
        return [key for key in list(heads) if heads[key].opened.role == role]

    def _is_kept(self, channel_id: bytes) -> bool:
        self._writer.check_open()
        return channel_id in self._committer.heads

    async def _read(self, read: Callable[..., T], *arguments: Any) -> T:
        self._writer.check_open()
        try:
            return await trio.to_thread.run_sync(read, *arguments, limiter=self._limiter)
        except JournalFailed as failure:
            # What cannot be read may not be added to either.
            self._writer.fail(failure)
            raise


@asynccontextmanager
async def open_journal(path: Path, sealing_key: bytes) -> AsyncIterator[SqliteJournal]:
    """Opens the journal at ``path``, creating it if need be, and closes it.

    Args:
        path: The database file; ``-wal``, ``-shm`` and ``.lock`` stand beside it.
        sealing_key: 32 bytes, the same ever after.

    Raises:
        UserError: In use by another process, sealed with another key, or not a journal.
        JournalFailed: The disk fails.
        JournalCorrupt: The file is damaged.
    """
    stack = ExitStack()
    try:
        committer, reader = await trio.to_thread.run_sync(_open, stack, path, sealing_key)
        writer = GroupWriter(committer.commit)
        journal = SqliteJournal(committer, reader, writer)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writer.run)
                try:
                    yield journal
                finally:
                    writer.close()
        except BaseExceptionGroup as group:
            # The writer tells those who wait and raises nothing itself: this is the caller's.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from group.exceptions[0].__cause__
            raise
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(stack.close)


def _open(stack: ExitStack, path: Path, sealing_key: bytes) -> tuple[Committer, Reader]:
    create_file(path)
    stack.enter_context(only_process(path))
    with disk_errors():
        check_wal(path)
    engine = make_engine(path)
    stack.callback(engine.dispose)
    with disk_errors():
        connection = stack.enter_context(engine.connect())
    vault = prepare(connection, sealing_key)
    reader = Reader(engine, vault)
    return Committer(connection, vault, reader.heads(), reader.attempts()), reader
