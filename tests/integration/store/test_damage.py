"""What the journal says when the disk gives back something else than was written."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.integration.store.entries import KEY, a_whole_channel, named, opened, receipt
from tests.integration.store.kept import kept, kept_all

from rowen.chain.transactions import Attempt, Outcome
from rowen.protocol.errors import UserError
from rowen.store.base import JobReplayed, JournalCorrupt, JournalFailed, OrderKept, Role
from rowen.store.journal import SqliteJournal, open_journal

ROLES: tuple[Role, Role] = ("seller", "buyer")


async def is_taken(journal: SqliteJournal, order: OrderKept) -> bool:
    """Whether the order is refused a second time, which writes nothing."""
    try:
        await journal.append(order)
    except JobReplayed:
        return True
    return False


async def contents(journal: SqliteJournal) -> list[object]:
    """Everything the journal says, by every way of asking."""
    told: list[object] = []
    for role in ROLES:
        channels = await kept_all(journal, role)
        told += [*channels, await journal.vouchers(role)]
        for channel in channels:
            key = channel.opened.channel_id
            told.append(await kept(journal, key))
            told.append([entry async for entry in journal.to_replay(key)])
            told += [await journal.receipt(key, entry.sequence) for entry in channel.receipts]
            told.append([entry async for entry in journal.orders_of(key)])
            told.append([entry async for entry in journal.receipts_of(key)])
            told.append([entry async for entry in journal.vouchers_of(key)])
            told.append([await is_taken(journal, entry) for entry in channel.orders])
    log = journal.transactions(1, Attempt, Outcome)
    told += [await log.attempts(named("sender", 20), f"lock-{n}") for n in range(3)]
    return told


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes | bytearray) -> None:
    path.write_bytes(content)


async def fill(path: Path) -> list[object]:
    """Makes a journal with some of everything; returns what it tells."""
    async with open_journal(path, KEY) as journal:
        for number in range(4):
            key = named(f"channel {number}")
            await journal.append(*a_whole_channel(key, ROLES[number % 2]))
            job = named("job" + key.hex())
            for n in range(2, 12):
                await journal.append(receipt(n, key, job, text="straw " * 40))
        log = journal.transactions(1, Attempt, Outcome)
        for n in range(3):
            await log.record(
                Attempt(
                    sender=named("sender", 20),
                    intent=f"lock-{n}",
                    nonce=n,
                    hash=named(f"hash {n}"),
                    raw=b"\x02" * 500,
                )
            )
        return await contents(journal)


async def fill_until_killed(path: Path, copy: Path) -> list[list[object]]:
    """A copy of a journal as a killed process leaves it.

    Returns what it tells, without and with the last transaction.
    """
    told = [await fill(path)]
    async with open_journal(path, KEY) as journal:
        job = named("job" + named("channel 0").hex())
        for n in range(12, 24):
            await journal.append(receipt(n, named("channel 0"), job))
            told = [told[-1], await contents(journal)]
        copy.parent.mkdir()
        for file in path.parent.glob("journal.db*"):
            shutil.copy(file, copy.parent)
    return told


# --- damage ---------------------------------------------------------------------------------


async def look(path: Path) -> list[object] | None:
    """What the journal tells, or None where it reports an error."""
    try:
        async with open_journal(path, KEY) as journal:
            return await contents(journal)
    except (JournalFailed, UserError):
        return None


async def flip_everywhere(victim: Path, expected: list[list[object]], flips_per_page: int) -> int:
    """Flips bits all over one file of a journal; returns how often that showed as an error."""
    journal = victim.with_name("journal.db")
    originals = {file: bytes_of(file) for file in journal.parent.glob("journal.db*")}
    original = originals[victim]
    rng = random.Random(4096)
    errors = 0
    for page in range(0, len(original), 4096):
        for _ in range(flips_per_page):
            damaged = bytearray(original)
            at = page + rng.randrange(min(4096, len(original) - page))
            damaged[at] ^= 1 << rng.randrange(8)
            write(victim, damaged)
            found = await look(journal)
            assert found is None or found in expected, f"byte {at} of {victim.name}"
            errors += found is None
            for file in journal.parent.glob("journal.db*"):
                file.unlink()
            for file, content in originals.items():
                write(file, content)
    return errors


@pytest.mark.parametrize("flips_per_page", [3, pytest.param(25, marks=pytest.mark.slow)])
async def test_a_flipped_byte_is_an_error_or_changes_nothing(
    path: Path, flips_per_page: int
) -> None:
    """P11, threat 29: never a zero, never a row silently missing."""
    told = await fill(path)
    assert await look(path) == told
    assert await flip_everywhere(path, [told], flips_per_page) > 20


async def test_a_rotten_schema_is_an_error(path: Path) -> None:
    """The driver raises UnicodeDecodeError for an error message that quotes what it met."""
    await fill(path)
    content = bytearray(bytes_of(path))
    for word in (b"CREATE TABLE orders", b"CREATE TABLE vouchers"):
        content[content.index(word) + 7] ^= 0x80
    write(path, content)
    with pytest.raises(JournalCorrupt, match="is corrupt"):
        async with open_journal(path, KEY):
            pass


async def test_a_corrupt_row_is_named(path: Path) -> None:
    await fill(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE vouchers SET total = zeroblob(12) WHERE receipt_count = 2")
    connection.commit()
    connection.close()
    with pytest.raises(JournalCorrupt, match=r"vouchers\(0x[0-9a-f]{64}, 2\)"):
        async with open_journal(path, KEY) as journal:
            await journal.vouchers("seller")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM receipts WHERE sequence = 11",
        "DELETE FROM vouchers WHERE receipt_count = 1",
        "DELETE FROM vouchers WHERE receipt_count = 2",
        "DELETE FROM orders",
        "DELETE FROM notes WHERE kind = 'stopped'",
        "DELETE FROM channels WHERE number = 3",
        "DELETE FROM census WHERE name = 'channels'",
        "DELETE FROM transactions WHERE number = 2",
        "UPDATE census SET rows = 1",
    ],
)
async def test_a_row_that_vanished_is_missed(path: Path, statement: str) -> None:
    """Each channel counts its rows, and the file its channels."""
    await fill(path)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert await look(path) is None


async def test_damage_found_while_reading_ends_the_writing_too(path: Path) -> None:
    """P11: stop accepting, never serve."""
    await fill(path)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM receipts WHERE sequence = 11")
    connection.commit()
    connection.close()
    async with open_journal(path, KEY) as journal:
        with pytest.raises(JournalCorrupt, match="restore the newest backup"):
            await kept_all(journal, "seller")
        with pytest.raises(JournalCorrupt):
            await journal.append(opened(named("new"), signer=bytes(20)))


# --- the log beside it ----------------------------------------------------------------------


async def test_a_killed_process_leaves_its_log_and_nothing_is_lost(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy" / "journal.db"
    told = await fill_until_killed(path, copy)
    assert await look(copy) == told[-1]
    assert await look(copy) == told[-1]


@pytest.mark.parametrize("flips_per_page", [1, pytest.param(10, marks=pytest.mark.slow)])
async def test_a_log_broken_in_the_middle_is_an_error(
    path: Path, tmp_path: Path, flips_per_page: int
) -> None:
    """SQLite alone would take the broken frame for the end and forget what comes after.

    Only the last transaction may be missing: that is what a power cut looks like.
    """
    copy = tmp_path / "copy" / "journal.db"
    told = await fill_until_killed(path, copy)
    wal = copy.with_name("journal.db-wal")
    pages = len(bytes_of(wal)) // 4120
    assert await flip_everywhere(wal, told, flips_per_page) > pages // 2


@pytest.mark.parametrize("at", range(24))
async def test_a_rotten_frame_header_in_the_middle_of_the_log_is_an_error(
    path: Path, tmp_path: Path, at: int
) -> None:
    """SQLite stops at a frame whose salts are wrong, which the checksum does not cover."""
    copy = tmp_path / "copy" / "journal.db"
    await fill_until_killed(path, copy)
    wal = copy.with_name("journal.db-wal")
    damaged = bytearray(bytes_of(wal))
    damaged[32 + 4120 * (len(damaged) // 4120 // 2) + at] ^= 0x40
    write(wal, damaged)
    assert await look(copy) is None


@pytest.mark.parametrize("cut", [1, 100, 4120, 4121])
async def test_a_log_cut_in_its_last_transaction_is_a_power_cut(
    path: Path, tmp_path: Path, cut: int
) -> None:
    """What was never acknowledged may be missing; the rest is there."""
    copy = tmp_path / "copy" / "journal.db"
    told = await fill_until_killed(path, copy)
    wal = copy.with_name("journal.db-wal")
    write(wal, bytes_of(wal)[:-cut])
    assert await look(copy) == told[0]
