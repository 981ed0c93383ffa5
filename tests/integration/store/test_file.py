"""The file itself: who may open it, what it says of itself, what it gives away."""

from __future__ import annotations

import shutil
import sqlite3
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
    settled,
    voucher,
)
from tests.integration.store.kept import kept

from rowen.chain.transactions import Attempt, Outcome
from rowen.protocol.errors import UserError
from rowen.store import migrations
from rowen.store.database import APPLICATION_ID
from rowen.store.journal import open_journal


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


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
    with pytest.raises(UserError, match="version 99, this program knows 2"):
        async with open_journal(path, KEY):
            pass


async def test_a_journal_of_the_first_version_is_still_read(tmp_path: Path) -> None:
    """Threat 33: a file of every version is kept here and opened for ever."""
    path = tmp_path / "journal.db"
    shutil.copy(Path(__file__).parent / "version1.journal", path)
    async with open_journal(path, KEY) as journal:
        stored = await kept(journal, CHANNEL)
        assert [stored.opened, *stored.history] == a_whole_channel()
        (found,) = await journal.transactions(1, Attempt, Outcome).pending(bytes(20))
        assert (found.intent, found.nonce, found.raw) == ("lock-1", 7, b"\x02raw")
        # And it takes what that version did not know.
        await journal.append(settled(2))


async def test_a_journal_of_the_second_version_is_still_read(tmp_path: Path) -> None:
    """Threat 33: it knows settled logs."""
    path = tmp_path / "journal.db"
    shutil.copy(Path(__file__).parent / "version2.journal", path)
    async with open_journal(path, KEY) as journal:
        stored = await kept(journal, CHANNEL)
        assert [stored.opened, *stored.history] == [opened(), settled()]
        assert [one async for one in journal.orders_of(CHANNEL)] == [order()]
        assert [one async for one in journal.receipts_of(CHANNEL)] == [receipt()]
        assert [one async for one in journal.vouchers_of(CHANNEL)] == [voucher()]


# --- secrets --------------------------------------------------------------------------------


async def test_no_prompt_or_answer_reaches_the_disk_in_the_clear(path: Path) -> None:
    """P16: neither the file nor its log holds the canary, in any encoding we use."""
    needles = [CANARY.encode(), CANARY.encode().hex().encode(), CANARY.encode("utf-16-le")]
    needles += [CANARY[:16].encode(), named("salt")]
    async with open_journal(path, KEY) as journal:
        await journal.append(opened(), order(input=CANARY.encode()))
        await journal.append(receipt(text=CANARY), voucher())
        await journal.append(receipt(1, text=CANARY, detail=CANARY, finish="failed"))
        stored = await kept(journal, CHANNEL)
        assert stored.receipts[1].detail == CANARY
        assert path.with_name("journal.db-wal").stat().st_size > 0
        files = list(path.parent.iterdir())
        live = b"".join(file.read_bytes() for file in files)
    closed = bytes_of(path)
    assert JOB in closed
    for needle in needles:
        assert needle not in live
        assert needle not in closed
