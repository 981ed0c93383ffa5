"""Group commit: what waits while the disk works goes into the next transaction together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from rowen.store.base import Entry, JournalFailed
from rowen.store.transactions import TransactionFact

WAITING_MAX = 4096
GROUP_MAX = 512
GROUP_BYTES_MAX = 8 * 1024 * 1024

CLOSED = "the journal is closed"


@dataclass(slots=True, eq=False)
class Append:
    """One call on its way to the disk.

    Attributes:
        entries: What to keep, all or nothing.
        size_bytes: About what they take in memory.
        fact: In their place, something about a transaction of ours.
        error: Why nothing of it was kept; None when it is durable.
        done: Set when one or the other is certain.
    """

    entries: tuple[Entry, ...]
    size_bytes: int
    fact: TransactionFact | None = None
    error: Exception | None = None
    done: trio.Event = field(default_factory=trio.Event)


class GroupWriter:
    """Hands everything that waits to one thread at a time."""

    def __init__(self, commit: Callable[[list[Append]], None]) -> None:
        """Takes what makes a group durable, in a thread.

        It sets ``error`` of the appends it refuses, and raises ``JournalFailed`` when none of
        the group can be trusted to be durable.
        """
        self._commit = commit
        self._limiter = trio.CapacityLimiter(1)
        self._send, self._receive = trio.open_memory_channel[Append](WAITING_MAX)
        self._failure: JournalFailed | None = None
        self._is_closed = False

    def check_open(self) -> None:
        """Raises ``JournalFailed`` when nothing more is to be expected of the disk."""
        if self._failure is not None:
            # A new object each time: one shared by many tasks would gather all their tracebacks.
            raise type(self._failure)(str(self._failure)) from self._failure
        if self._is_closed:
            raise JournalFailed(CLOSED)

    def fail(self, failure: JournalFailed) -> None:
        """Closes for good; the first failure is the one reported."""
        if self._failure is None:
            self._failure = failure

    def close(self) -> None:
        """Takes no more; what waits is still written."""
        self._is_closed = True
        self._send.close()

    async def append(self, append: Append) -> None:
        """Returns when it is durable; raises why it is not."""
        self.check_open()
        try:
            await self._send.send(append)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise JournalFailed(CLOSED) from None
        await append.done.wait()
        if append.error is not None:
            raise append.error

    async def run(self) -> None:
        """Writes until ``close`` or cancellation; whoever still waits then learns of it."""
        group: list[Append] = []
        try:
            async for first in self._receive:
                group = [first]
                self._collect(group)
                await self._write(group)
        finally:
            self.close()
            self._give_up(group)
            self._receive.close()

    def _collect(self, group: list[Append]) -> None:
        size_bytes = group[0].size_bytes
        while len(group) < GROUP_MAX and size_bytes < GROUP_BYTES_MAX:
            try:
                group.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return
            size_bytes += group[-1].size_bytes

    async def _write(self, group: list[Append]) -> None:
        try:
            if self._failure is None:
                await trio.to_thread.run_sync(self._commit, group, limiter=self._limiter)
        except JournalFailed as failure:
            self.fail(failure)
        if self._failure is not None:
            self._refuse(group)
        for append in group:
            append.done.set()

    def _refuse(self, group: list[Append]) -> None:
        for append in group:
            try:
                self.check_open()
            except JournalFailed as error:
                append.error = error

    def _give_up(self, group: list[Append]) -> None:
        waiting = [append for append in group if not append.done.is_set()]
        while True:
            try:
                waiting.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                break
        self._refuse(waiting)
        for append in waiting:
            append.done.set()
