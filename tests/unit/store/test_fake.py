"""What the fake disk does wrong when told to."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from tests.integration.store.kept import kept, kept_all

from rowen.store.base import ChannelOpened, ChannelStopped, JournalCorrupt, JournalFailed
from rowen.testing.store import FakeDisk, open_fake_journal

OPENED = ChannelOpened(
    channel_id=bytes(32),
    role="buyer",
    chain_id=1,
    escrow=bytes(20),
    payer=bytes(20),
    provider=bytes(20),
    signer=bytes(20),
)
STOPPED = ChannelStopped(channel_id=bytes(32), detail="enough")


async def test_the_nth_commit_fails_and_so_does_everything_after_it() -> None:
    disk = FakeDisk(fails_at=1)
    async with open_fake_journal(disk) as journal:
        await journal.append(OPENED)
        for _ in range(2):
            with pytest.raises(JournalFailed, match="no space left"):
                await journal.append(STOPPED)
        with pytest.raises(JournalFailed):
            await kept_all(journal, "buyer")
    async with open_fake_journal(disk) as journal:
        assert (await kept(journal, bytes(32))).history == ()
        await journal.append(STOPPED)


async def test_a_torn_commit_is_reported_and_kept() -> None:
    """After a failed fsync nobody knows; callers must cope with both."""
    disk = FakeDisk(fails_at=1)
    disk.is_torn = True
    async with open_fake_journal(disk) as journal:
        await journal.append(OPENED)
        with pytest.raises(JournalFailed):
            await journal.append(STOPPED)
    async with open_fake_journal(disk) as journal:
        assert (await kept(journal, bytes(32))).stopped == "enough"


async def test_a_crash_loses_what_was_not_committed() -> None:
    disk = FakeDisk()
    async with open_fake_journal(disk) as journal, trio.open_nursery() as nursery:
        await journal.append(OPENED)
        disk.commit_s = 0.01

        async def late() -> None:
            with pytest.raises(JournalFailed):
                await journal.append(STOPPED)

        nursery.start_soon(late)
        await trio.testing.wait_all_tasks_blocked()
        disk.crash()
    async with open_fake_journal(disk) as journal:
        assert (await kept(journal, bytes(32))).history == ()


async def test_a_corrupt_channel_cannot_be_read_and_ends_the_journal() -> None:
    disk = FakeDisk()
    async with open_fake_journal(disk) as journal:
        await journal.append(OPENED)
        disk.corrupt.add(bytes(32))
        with pytest.raises(JournalCorrupt, match="channels"):
            await kept_all(journal, "buyer")
        with pytest.raises(JournalFailed):
            await journal.append(STOPPED)
