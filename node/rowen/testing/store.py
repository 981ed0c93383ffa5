"""A journal in memory whose disk fails on order: ``Journal`` for tests and the simulator.

A ``FakeDisk`` outlives the journals opened on it, as a file does. It runs in no thread, so a
simulation on trio's mock clock stays deterministic; entries are judged by the same function as
on the real disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from rowen.store.base import (
    ChannelOpened,
    Entry,
    JournalCorrupt,
    JournalFailed,
    LogSettled,
    OrderKept,
    ReceiptKept,
    Role,
    VoucherKept,
)
from rowen.store.heads import Draft, Head, JobKey
from rowen.store.transactions import (
    A,
    AttemptIndex,
    AttemptKept,
    TransactionFact,
    Transactions,
    settled,
)

__all__ = ["FakeDisk", "FakeJournal", "open_fake_journal"]

NO_SPACE = "the journal cannot use its disk: no space left on device"

E = TypeVar("E", OrderKept, ReceiptKept, VoucherKept)


class FakeDisk:
    """What survives, and what goes wrong.

    Attributes:
        commits: Transactions written so far.
        commit_s: How long the next ones take.
        fails_at: Number of the commit, from 0, that fails; None for never.
        failure: What it says.
        is_torn: Whether the failing commit is durable all the same, as after a failed fsync.
        corrupt: Channels that can no longer be read.
    """

    def __init__(self, *, fails_at: int | None = None, failure: str = NO_SPACE) -> None:
        self.commits = 0
        self.commit_s = 0.0
        self.fails_at = fails_at
        self.failure = failure
        self.is_torn = False
        self.corrupt: set[bytes] = set()
        self._life = 0
        self._is_open = False
        self._heads: dict[bytes, Head] = {}
        self._jobs: dict[JobKey, bytes] = {}
        self._histories: dict[bytes, list[Entry]] = {}
        self._attempts: list[AttemptKept] = []
        self._index = AttemptIndex()

    def crash(self) -> None:
        """The process dies: what was not committed is lost, and its journal answers no more."""
        self._life += 1
        self._is_open = False

    def _commit_entries(self, draft: Draft) -> None:
        self._heads |= draft.heads
        self._jobs |= draft.jobs
        for key in draft.heads:
            self._histories.setdefault(key, [])
        for placed in draft.placed:
            self._histories[placed.entry.channel_id].append(placed.entry)

    def _commit_fact(self, fact: TransactionFact) -> None:
        numbers = self._index.add(fact)
        if isinstance(fact, AttemptKept):
            self._attempts.append(fact)
            return
        for number in numbers:
            self._attempts[number] = settled(self._attempts[number], fact)


class FakeJournal:
    """See ``rowen.store.base.Journal``; made by ``open_fake_journal``."""

    def __init__(self, disk: FakeDisk) -> None:
        self._disk = disk
        self._life = disk._life
        self._failure: JournalFailed | None = None
        self._writing = trio.StrictFIFOLock()

    async def append(self, *entries: Entry) -> None:
        """See ``Journal``."""

        def judge() -> Callable[[], None]:
            draft = Draft(self._disk._heads, self._disk._jobs.get)
            draft.add(entries)
            return lambda: self._disk._commit_entries(draft)

        await self._write(judge)

    async def _write(self, judge: Callable[[], Callable[[], None]]) -> None:
        self._check_open()
        disk = self._disk
        async with self._writing:
            await trio.sleep(disk.commit_s)
            self._check_open()
            commit = judge()
            is_failing = disk.commits == disk.fails_at
            disk.commits += 1
            if not is_failing or disk.is_torn:
                commit()
            if is_failing:
                self._failure = JournalFailed(disk.failure)
                self._check_open()
        # Cancelled here, the caller does not know that it is durable.
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))
        if self._life != self._disk._life:
            raise JournalFailed("the journal is closed")

    async def openings(self, role: Role) -> list[ChannelOpened]:
        """See ``Journal``."""
        await self._begin_reading()
        return [head.opened for head in self._of_role(role)]

    async def to_replay(self, channel_id: bytes) -> AsyncIterator[Entry]:
        """See ``Journal``."""
        await self._begin_reading()
        head = self._disk._heads.get(channel_id)
        history = [] if head is None else self._history(head)
        settled = [n for n, entry in enumerate(history) if isinstance(entry, LogSettled)]
        for entry in history[settled[-1] if settled else 0 :]:
            yield entry

    async def receipt(self, channel_id: bytes, sequence: int) -> ReceiptKept | None:
        """See ``Journal``."""
        await self._begin_reading()
        found = (e for e in self._all(channel_id, ReceiptKept) if e.sequence == sequence)
        return next(found, None)

    async def vouchers(self, role: Role) -> list[VoucherKept]:
        """See ``Journal``."""
        await self._begin_reading()
        every = [self._all(head.opened.channel_id, VoucherKept) for head in self._of_role(role)]
        return [vouchers[-1] for vouchers in every if vouchers]

    async def orders_of(self, channel_id: bytes) -> AsyncIterator[OrderKept]:
        """See ``Journal``."""
        await self._begin_reading()
        for entry in self._all(channel_id, OrderKept):
            yield entry

    async def receipts_of(self, channel_id: bytes) -> AsyncIterator[ReceiptKept]:
        """See ``Journal``."""
        await self._begin_reading()
        for entry in self._all(channel_id, ReceiptKept):
            yield entry

    async def vouchers_of(self, channel_id: bytes) -> AsyncIterator[VoucherKept]:
        """See ``Journal``."""
        await self._begin_reading()
        for entry in self._all(channel_id, VoucherKept):
            yield entry

    def transactions(
        self, chain_id: int, attempt: Callable[..., A], outcome: Callable[[str], Any]
    ) -> Transactions[A]:
        """See ``rowen.store.journal.SqliteJournal``."""
        return Transactions(chain_id, self._keep_fact, self._find_attempts, attempt, outcome)

    async def _keep_fact(self, fact: TransactionFact) -> None:
        def judge() -> Callable[[], None]:
            self._disk._index.check(fact)
            return lambda: self._disk._commit_fact(fact)

        await self._write(judge)

    async def _find_attempts(
        self, numbers: Callable[[AttemptIndex], Iterable[int]]
    ) -> list[AttemptKept]:
        await self._begin_reading()
        return [self._disk._attempts[number] for number in numbers(self._disk._index)]

    async def _begin_reading(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check_open()

    def _of_role(self, role: Role) -> list[Head]:
        return [head for head in self._disk._heads.values() if head.opened.role == role]

    def _history(self, head: Head) -> list[Entry]:
        key = head.opened.channel_id
        if key in self._disk.corrupt:
            self._failure = JournalCorrupt(f"the journal's row channels(0x{key.hex()}) is corrupt")
            self._check_open()
        return list(self._disk._histories[key])

    def _all(self, channel_id: bytes, kind: type[E]) -> list[E]:
        head = self._disk._heads.get(channel_id)
        history = [] if head is None else self._history(head)
        return [entry for entry in history if isinstance(entry, kind)]


@asynccontextmanager
async def open_fake_journal(disk: FakeDisk) -> AsyncIterator[FakeJournal]:
    """Opens the journal on a disk; only one at a time can be open."""
    assert not disk._is_open, "two processes, one journal: crash() or close the first"
    disk._is_open = True
    journal = FakeJournal(disk)
    try:
        yield journal
    finally:
        if journal._life == disk._life:
            disk.crash()
