"""A process that kills its children while they write to a journal, and looks what is left.

``python -m tests.integration.store.killing PATH KILLS SEED`` prints what it saw as JSON. The
children are forked, because starting an interpreter takes longer than what is to be killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from tests.integration.store.entries import KEY, named, opened, order, receipt, voucher
from tests.integration.store.kept import kept

from rowen.store.journal import open_journal

CHANNELS = [named(f"channel {number}") for number in range(4)]


async def write(path: Path, told: int) -> None:
    """Appends on several channels at once until killed; tells each channel's durable count."""

    async def work(number: int) -> None:
        key = CHANNELS[number]
        stored = await kept(journal, key)
        if stored is None:
            await journal.append(opened(key), order(key, key))
        count = 0 if stored is None else len(stored.receipts)
        while True:
            await journal.append(receipt(count, key, key), voucher(count + 1, key))
            count += 1
            os.write(told, f"{number} {count}\n".encode())

    async with open_journal(path, KEY) as journal, trio.open_nursery() as nursery:
        os.write(told, b"opened\n")
        for number in range(len(CHANNELS)):
            nursery.start_soon(work, number)


async def look(path: Path, told: int) -> None:
    """Tells each channel's count after recovery."""
    async with open_journal(path, KEY) as journal:
        for number, key in enumerate(CHANNELS):
            stored = await kept(journal, key)
            if stored is not None:
                count = len(stored.receipts)
                # A receipt and its voucher were one append.
                assert count == (stored.voucher.receipt_count if stored.voucher else 0)
                os.write(told, f"{number} {count}\n".encode())


def child(work: Callable[[Path, int], Awaitable[None]], path: Path) -> tuple[int, int]:
    """Forks; returns the child's process id and where it tells what it did."""
    read, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            trio.run(work, path, told)
        except BaseException as error:  # noqa: BLE001 - a forked child must not return from here
            os.write(told, f"error {type(error).__name__} {error}\n".encode())
        finally:
            os._exit(0)
    os.close(told)
    return pid, read


def heard(read: int) -> tuple[dict[int, int], list[str]]:
    """The last count of each channel, and errors."""
    with os.fdopen(read) as pipe:
        lines = [line.split(maxsplit=1) for line in pipe]
    errors = [line[1] for line in lines if line[0] == "error"]
    return {int(line[0]): int(line[1]) for line in lines if line[0].isdigit()}, errors


def recover(path: Path) -> tuple[dict[int, int], list[str]]:
    pid, read = child(look, path)
    found = heard(read)
    os.waitpid(pid, 0)
    return found


def main(path: Path, kills: int, seed: int) -> None:
    """Kills, looks, and compares."""
    rng = random.Random(seed)
    acknowledged: dict[int, int] = {}
    violations: list[str] = []
    for kill in range(kills):
        pid, read = child(write, path)
        if rng.random() < 0.7:
            # A busy disk takes its time to open; most kills are to fall into the writing.
            os.read(read, len(b"opened\n"))
        time.sleep(rng.random() * 0.15)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        counts, errors = heard(read)
        acknowledged |= counts
        violations += errors
        if rng.random() < 0.5:
            # Left to the next writer to recover from.
            continue
        found, errors = recover(path)
        again, _ = recover(path)
        violations += errors
        lost = {n: c for n, c in acknowledged.items() if found.get(n, 0) < c}
        if lost or found != again:
            violations.append(f"kill {kill}: acknowledged {acknowledged}, found {found}, {again}")
    total = sum(acknowledged.values())
    sys.stdout.write(
        json.dumps({"kills": kills, "acknowledged": total, "violations": violations}) + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
