"""The file itself: who may open it, what it gives away, what it survives."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from tests.integration.store.entries import (
    CANARY,
    CHANNEL,
    JOB,
    KEY,
    OTHER_KEY,
    a_whole_channel,
    named,
    opened,
    order,
    receipt,
    voucher,
)

from rowen.chain.transactions import Attempt, Outcome
from rowen.protocol.errors import UserError
from rowen.store import migrations
from rowen.store.base import Journal, JournalCorrupt, JournalFailed
from rowen.store.database import APPLICATION_ID
from rowen.store.journal import SqliteJournal, open_journal

ROLES = ("seller", "buyer")


async def contents(journal: SqliteJournal) -> list[object]:
    """Everything the journal says, by every way of asking."""
    told: list[object] = []
    for role in ROLES:
        channels = await journal.channels(role)
        told += [*channels, await journal.vouchers(role)]
        for channel in channels:
            key = channel.opened.channel_id
            told.append(await journal.channel(key))
            told.append(await journal.texts_after(key, 0))
            told.append([entry async for entry in journal.orders_of(key)])
            told.append([entry async for entry in journal.receipts_of(key)])
            told.append([entry async for entry in journal.vouchers_of(key)])
            told.append([await journal.is_job_known(entry.job_id) for entry in channel.orders])
    log = journal.transactions(1, Attempt, Outcome)
    told += [await log.attempts(named("sender", 20), f"lock-{n}") for n in range(3)]
    return told


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
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


# --- who may open it ------------------------------------------------------------------------


async def test_only_its_owner_may_read_it(path: Path) -> None:
    async with open_journal(path, KEY) as journal:
        await journal.append(opened())
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600, file
        assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_second_process_is_refused_and_told_who_has_it(path: Path) -> None:
    """Threat 31: two nodes with one key would sign two truths."""
    program = (
        "import sys, trio; from pathlib import Path\n"
        "from rowen.store.journal import open_journal\n"
        "async def main():\n"
        "    async with open_journal(Path(sys.argv[1]), bytes(range(32))): pass\n"
        "try: trio.run(main)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    async with open_journal(path, KEY):
        second = await trio.run_process(command, capture_stdout=True)
        with pytest.raises(UserError, match="in use by process"):
            async with open_journal(path, KEY):
                pass
    lock = path.with_name("journal.db.lock").read_text().strip()
    assert second.stdout.decode().startswith(f"UserError {path} is in use by process {lock}")
    after = await trio.run_process(command, capture_stdout=True)
    assert after.stdout == b""


async def test_the_wrong_key_is_named_as_such(path: Path) -> None:
    async with open_journal(path, KEY):
        pass
    with pytest.raises(UserError, match="another key"):
        async with open_journal(path, OTHER_KEY):
            pass
    with pytest.raises(UserError, match="5 bytes, expected 32"):
        async with open_journal(path, b"short"):
            pass


async def test_another_programs_file_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    before = bytes_of(path)
    with pytest.raises(UserError, match="no journal of Rowen"):
        async with open_journal(path, KEY):
            pass
    assert bytes_of(path) == before
    write(path, b"Dear diary, " * 100)
    with pytest.raises(UserError, match="no journal of Rowen"):
        async with open_journal(path, KEY):
            pass


# --- versions -------------------------------------------------------------------------------


async def test_the_file_says_what_it_is(path: Path) -> None:
    async with open_journal(path, KEY):
        pass
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE type = 'table'")
    assert all(strict for name, strict in tables if not name.startswith("sqlite_"))
    connection.close()


async def test_a_newer_programs_file_is_refused(path: Path) -> None:
    async with open_journal(path, KEY):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'version'", (b"99",))
    connection.close()
    with pytest.raises(UserError, match="version 99, this program knows 1"):
        async with open_journal(path, KEY):
            pass


async def test_a_journal_of_the_first_version_is_still_read(tmp_path: Path) -> None:
    """Threat 33: a file of every version is kept here and opened for ever."""
    path = tmp_path / "journal.db"
    shutil.copy(Path(__file__).parent / "version1.db", path)
    async with open_journal(path, KEY) as journal:
        stored = await journal.channel(CHANNEL)
        assert [stored.opened, *stored.history] == a_whole_channel()
        (kept,) = await journal.transactions(1, Attempt, Outcome).pending(bytes(20))
        assert (kept.intent, kept.nonce, kept.raw) == ("lock-1", 7, b"\x02raw")


# --- secrets --------------------------------------------------------------------------------


async def test_no_prompt_or_answer_reaches_the_disk_in_the_clear(path: Path) -> None:
    """P16: neither the file nor its log holds the canary, in any encoding we use."""
    needles = [CANARY.encode(), CANARY.encode().hex().encode(), CANARY.encode("utf-16-le")]
    needles += [CANARY[:16].encode(), named("salt")]
    async with open_journal(path, KEY) as journal:
        await journal.append(opened(), order(input=CANARY.encode()))
        await journal.append(receipt(text=CANARY), voucher())
        await journal.append(receipt(1, text=CANARY, detail=CANARY, finish="failed"))
        stored = await journal.channel(CHANNEL)
        assert stored.receipts[1].detail == CANARY
        assert path.with_name("journal.db-wal").stat().st_size > 0
        files = list(path.parent.iterdir())
        live = b"".join(file.read_bytes() for file in files)
    closed = bytes_of(path)
    assert JOB in closed
    for needle in needles:
        assert needle not in live
        assert needle not in closed


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


@pytest.mark.parametrize("flips_per_page", [3, pytest.param(60, marks=pytest.mark.slow)])
async def test_a_flipped_byte_is_an_error_or_changes_nothing(
    path: Path, flips_per_page: int
) -> None:
    """P11, threat 29: never a zero, never a row silently missing."""
    told = await fill(path)
    assert await look(path) == told
    assert await flip_everywhere(path, [told], flips_per_page) > 20


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
            await journal.channels("seller")
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


@pytest.mark.parametrize("flips_per_page", [1, pytest.param(20, marks=pytest.mark.slow)])
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


# --- faults ---------------------------------------------------------------------------------


WRITER = """
import resource, signal, sys, trio
from pathlib import Path
from rowen.store.base import JournalFailed
from rowen.store.journal import open_journal
from tests.integration.store.entries import CHANNEL, KEY, opened, order, receipt, voucher

async def main(path, limit):
    async with open_journal(path, KEY) as journal:
        await journal.append(opened(), order())
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        count = 0
        while True:
            try:
                await journal.append(receipt(count, text="straw " * 200), voucher(count + 1))
            except JournalFailed as failure:
                print("failed", failure, flush=True)
                break
            count += 1
            print(count, flush=True)
        try:
            await journal.append(receipt(count))
        except JournalFailed as failure:
            print("still", failure, flush=True)
        try:
            await journal.channel(CHANNEL)
        except JournalFailed as failure:
            print("nor", failure, flush=True)

trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def start_writer(path: Path, limit: int = 0, *wrapper: str) -> subprocess.Popen[str]:
    return start([*wrapper, sys.executable, "-c", WRITER, str(path), str(limit)])


async def recovered(path: Path) -> int:
    """Receipts after a restart; each with its voucher, and the journal takes more."""
    async with open_journal(path, KEY) as journal:
        stored = await journal.channel(CHANNEL)
        if stored is None:
            return 0
        count = len(stored.receipts)
        assert count == (stored.voucher.receipt_count if stored.voucher else 0)
        return count


@pytest.mark.parametrize("limit", [250_000, 600_000])
async def test_a_full_disk_ends_the_journal_and_loses_nothing(path: Path, limit: int) -> None:
    """P11, threat 28: the failing append says so, all later ones do, the earlier are there."""
    process = start_writer(path, limit)
    output, errors = await trio.to_thread.run_sync(process.communicate)
    lines = output.splitlines()
    acknowledged = sum(line.isdigit() for line in lines)
    assert acknowledged > 5, errors
    assert [line.split()[0] for line in lines[acknowledged:]] == ["failed", "still", "nor"]
    assert all("then start the node again" in line for line in lines[acknowledged:])
    assert await recovered(path) in (acknowledged, acknowledged + 1)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync:error=EIO:when=6",
        "fdatasync:error=EIO:when=20",
        "pwrite64:error=ENOSPC:when=60",
        "pwrite64:error=EIO:when=81",
    ],
)
async def test_an_error_of_the_disk_ends_the_journal_and_loses_nothing(
    path: Path, fault: str
) -> None:
    """P11: what the kernel reports once is never tried again as if nothing had happened."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
    process = start_writer(path, 400_000, *strace)
    output, errors = await trio.to_thread.run_sync(process.communicate)
    if "PTRACE" in errors or "ptrace" in errors:
        pytest.skip("tracing is not allowed here")
    lines = output.splitlines()
    acknowledged = sum(line.isdigit() for line in lines)
    words = [line.split()[0] for line in lines[acknowledged:]]
    assert words == ["failed", "still", "nor"], errors
    assert await recovered(path) in (acknowledged, acknowledged + 1)


@pytest.mark.parametrize("kills", [12, pytest.param(300, marks=pytest.mark.slow)])
async def test_what_was_acknowledged_survives_a_kill_at_any_moment(path: Path, kills: int) -> None:
    """P1, P7, threats 25 and 27: acknowledged ⊆ recovered, kill after kill on one file."""
    rng = random.Random(9)
    program = WRITER.replace("count = 0", "count = len((await journal.channel(CHANNEL)).receipts)")
    program = program.replace(
        "await journal.append(opened(), order())",
        "await journal.append(opened())\n"
        "        if not await journal.is_job_known(order().job_id):\n"
        "            await journal.append(order())\n"
        "        print('ready', flush=True)",
    )
    command = [sys.executable, "-c", program, str(path), "0"]
    acknowledged = 0
    for kill in range(kills):
        process = start(command)
        assert process.stdout is not None
        if kill % 4:
            process.stdout.readline()
        await trio.sleep(rng.random() * 0.1)
        process.kill()
        output, _ = process.communicate()
        acknowledged = max([acknowledged, *map(int, filter(str.isdigit, output.split()))])
        # Every other time the next process has to recover by itself.
        if kill % 2:
            assert await recovered(path) >= acknowledged
            assert await recovered(path) == await recovered(path)
    assert acknowledged > 0


def test_the_journal_is_what_the_shells_are_written_against() -> None:
    """Mypy reads this: the real journal satisfies the interface."""

    def take(journal: Journal) -> Journal:
        return journal

    def give(journal: SqliteJournal) -> Journal:
        return take(journal)

    assert callable(give)
