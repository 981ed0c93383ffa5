"""Full disks, failing disks and kills: what was acknowledged is there afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from tests.integration.store.entries import CHANNEL, KEY
from tests.integration.store.kept import kept

from rowen.store.journal import open_journal

ROOT = Path(__file__).parents[3]

WRITER = """
import resource, signal, sys, trio
from pathlib import Path
from rowen.store.base import JournalFailed
from rowen.store.journal import open_journal
from tests.integration.store.entries import CHANNEL, KEY, opened, order, receipt, voucher
from tests.integration.store.kept import kept

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
            await kept(journal, CHANNEL)
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
        cwd=ROOT,
    )


def start_writer(path: Path, limit: int = 0, *wrapper: str) -> subprocess.Popen[str]:
    return start([*wrapper, sys.executable, "-c", WRITER, str(path), str(limit)])


async def recovered(path: Path) -> int:
    """Receipts after a restart; each with its voucher, and the journal takes more."""
    async with open_journal(path, KEY) as journal:
        stored = await kept(journal, CHANNEL)
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


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.slow
@pytest.mark.parametrize("nth", range(1, 30))
@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
async def test_what_was_acknowledged_survives_a_kill_at_every_write(
    path: Path, call: str, nth: int
) -> None:
    """P1: killed at the nth write and at the nth fsync, the first included."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null"]
    process = start_writer(path, 400_000, *strace, "-e", f"inject={call}:signal=KILL:when={nth}")
    output, _ = await trio.to_thread.run_sync(process.communicate)
    acknowledged = sum(line.isdigit() for line in output.splitlines())
    assert await recovered(path) in (acknowledged, acknowledged + 1)


@pytest.mark.parametrize("kills", [50, pytest.param(500, marks=pytest.mark.slow)])
async def test_what_was_acknowledged_survives_a_kill_at_any_moment(path: Path, kills: int) -> None:
    """P1, P7, threats 25 and 27: acknowledged ⊆ recovered, kill after kill on one file.

    Recovery itself is among what is killed, and recovering twice gives the same.
    """
    command = [sys.executable, "-m", "tests.integration.store.killing", str(path), str(kills), "9"]
    done = await trio.run_process(command, capture_stdout=True, cwd=ROOT)
    result = json.loads(done.stdout)
    assert result["violations"] == []
    assert result["kills"] == kills
    assert result["acknowledged"] > 0
