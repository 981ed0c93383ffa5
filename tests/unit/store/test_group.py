"""Group commit, without a disk."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from rowen.store.base import Contradiction, JournalCorrupt, JournalFailed
from rowen.store.group import GROUP_BYTES_MAX, GROUP_MAX, WAITING_MAX, Append, GroupWriter

Commit = Callable[[list[Append]], None]


class SlowDisk:
    """Remembers every group; the first commit waits until ``let_go``."""

    def __init__(self) -> None:
        self.groups: list[list[Append]] = []
        self._gate = threading.Event()
        self.is_gated = True

    def commit(self, group: list[Append]) -> None:
        if self.is_gated:
            self._gate.wait()
        self.groups.append(group)

    def let_go(self) -> None:
        self.is_gated = False
        self._gate.set()


@asynccontextmanager
async def running(commit: Commit) -> AsyncIterator[GroupWriter]:
    writer = GroupWriter(commit)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        yield writer
        writer.close()


async def wait(writer: GroupWriter, append: Append, errors: list[Exception]) -> None:
    try:
        await writer.append(append)
    except (JournalFailed, Contradiction) as error:
        errors.append(error)


async def test_what_arrives_while_the_disk_works_shares_the_next_commit() -> None:
    """One fsync for many: that is where the throughput comes from."""
    disk = SlowDisk()
    async with running(disk.commit) as writer, trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(writer.append, Append((), 1))
            await trio.testing.wait_all_tasks_blocked()
        disk.let_go()
    assert [len(group) for group in disk.groups] == [1, 99]


async def test_a_group_is_bounded_in_number_and_in_bytes() -> None:
    disk = SlowDisk()
    async with running(disk.commit) as writer, trio.open_nursery() as nursery:
        for _ in range(1 + GROUP_MAX + 10):
            nursery.start_soon(writer.append, Append((), 1))
        for _ in range(3):
            nursery.start_soon(writer.append, Append((), GROUP_BYTES_MAX))
        await trio.testing.wait_all_tasks_blocked()
        disk.let_go()
    assert max(len(group) for group in disk.groups) <= GROUP_MAX
    assert all(
        sum(append.size_bytes for append in group[:-1]) < GROUP_BYTES_MAX for group in disk.groups
    )
    assert sum(len(group) for group in disk.groups) == 1 + GROUP_MAX + 10 + 3


async def test_the_queue_is_bounded_and_pushes_back() -> None:
    disk = SlowDisk()
    async with running(disk.commit) as writer, trio.open_nursery() as nursery:
        for _ in range(WAITING_MAX + 500):
            nursery.start_soon(writer.append, Append((), 1))
        await trio.testing.wait_all_tasks_blocked()
        assert writer._send.statistics().current_buffer_used <= WAITING_MAX
        disk.let_go()
    assert sum(len(group) for group in disk.groups) == WAITING_MAX + 500


async def test_appends_are_written_in_the_order_they_came() -> None:
    disk = SlowDisk()
    appends = [Append((), number) for number in range(50)]
    async with running(disk.commit) as writer, trio.open_nursery() as nursery:
        for append in appends:
            nursery.start_soon(writer.append, append)
            await trio.testing.wait_all_tasks_blocked()
        disk.let_go()
    written = [append.size_bytes for group in disk.groups for append in group]
    assert written == list(range(50))


async def test_a_failing_disk_fails_all_that_wait_and_all_that_come() -> None:
    """P11: stop accepting. Each task gets an exception of its own."""
    calls: list[int] = []
    errors: list[Exception] = []

    def commit(group: list[Append]) -> None:
        calls.append(len(group))
        raise JournalCorrupt("row 7 is corrupt")

    async with running(commit) as writer:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(wait, writer, Append((), 1), errors)
        with pytest.raises(JournalCorrupt, match="row 7"):
            await writer.append(Append((), 1))
    assert len(calls) == 1
    assert len({id(error) for error in errors}) == 20
    assert all(isinstance(error, JournalCorrupt) for error in errors)


async def test_a_refused_append_fails_alone() -> None:
    errors: list[Exception] = []

    def commit(group: list[Append]) -> None:
        group[0].error = Contradiction("a gap")

    async with running(commit) as writer:
        await wait(writer, Append((), 1), errors)
        assert isinstance(errors.pop(), Contradiction)
        writer.check_open()


async def test_an_append_cancelled_before_it_is_handed_over_leaves_no_trace() -> None:
    disk = SlowDisk()
    async with running(disk.commit) as writer, trio.open_nursery() as nursery:
        nursery.start_soon(writer.append, Append((), 1))
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await writer.append(Append((), 2))
        disk.let_go()
    assert [append.size_bytes for group in disk.groups for append in group] == [1]


async def test_a_cancelled_writer_leaves_nobody_waiting() -> None:
    """Whoever waited is told that it cannot know; nobody hangs."""
    errors: list[Exception] = []
    disk = SlowDisk()
    writer = GroupWriter(disk.commit)
    async with trio.open_nursery() as outer:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writer.run)
                for _ in range(3):
                    outer.start_soon(wait, writer, Append((), 1), errors)
                    await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                disk.let_go()
    assert len(disk.groups) == 1
    assert len(errors) == 2
    assert all(isinstance(error, JournalFailed) for error in errors)


async def test_a_bug_while_committing_is_not_hidden() -> None:
    """P18: an exception nobody foresaw ends the nursery, and those who wait are told."""
    errors: list[Exception] = []

    def commit(_group: list[Append]) -> None:
        raise AssertionError("broken invariant")

    with pytest.RaisesGroup(AssertionError):
        async with running(commit) as writer:
            with trio.CancelScope(shield=True):
                await wait(writer, Append((), 1), errors)
            await trio.lowlevel.checkpoint()
    assert isinstance(errors[0], JournalFailed)
