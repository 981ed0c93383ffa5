"""A process that keeps and recovers more than it could hold, and says how large it became.

``python -m tests.integration.store.growing DIRECTORY jobs 100000`` prints resident bytes: after a
first tenth of so many job ids, after all of them, and after reading all that a restart replays.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import msgspec
import trio
from tests.integration.store.entries import KEY, opened, order

from rowen.store.base import Entry
from rowen.store.journal import open_journal

STEP = 250


class Grown(msgspec.Struct, frozen=True):
    """Resident bytes."""

    begun: int
    filled: int
    recovered: int


def resident_bytes() -> int:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _job(number: int) -> list[Entry]:
    job_id = sha256(b"%d" % number).digest()
    return [order(job_id)]


def _channel(number: int) -> list[Entry]:
    name = sha256(b"%d" % number).digest()
    return [opened(name, signer=name[:20])]


async def _fill(path: Path, kind: str, count: int) -> tuple[int, int]:
    made = {"jobs": _job, "channels": _channel}[kind]
    begun = 0
    async with open_journal(path, KEY) as journal:
        if kind == "jobs":
            await journal.append(opened())
        for first in range(0, count, STEP):
            if first * 10 >= count and not begun:
                begun = resident_bytes()
            entries = [entry for number in range(first, first + STEP) for entry in made(number)]
            await journal.append(*entries)
        return begun, resident_bytes()


async def _replay(path: Path) -> None:
    async with open_journal(path, KEY) as journal:
        for opening in await journal.openings("seller"):
            async for _ in journal.to_replay(opening.channel_id):
                pass


def main(directory: Path, kind: str, count: int) -> Grown:
    """Fills and recovers."""
    path = directory / "journal.db"
    begun, filled = trio.run(_fill, path, kind, count)
    trio.run(_replay, path)
    return Grown(begun, filled, resident_bytes())


if __name__ == "__main__":
    grown = main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    sys.stdout.buffer.write(msgspec.json.encode(grown))
