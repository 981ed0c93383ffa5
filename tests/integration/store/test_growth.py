"""What strangers can make a node keep, and how much of its memory that takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.integration.store.growing import Grown

MB = 1_000_000


def grown(directory: Path, kind: str, count: int) -> Grown:
    """In a process of its own, whose memory is that of nothing else."""
    command = [sys.executable, "-m", "tests.integration.store.growing"]
    done = subprocess.run(
        [*command, str(directory), kind, str(count)], stdout=subprocess.PIPE, check=True
    )
    return msgspec.json.decode(done.stdout, type=Grown)


@pytest.mark.parametrize("count", [50_000, pytest.param(300_000, marks=pytest.mark.slow)])
def test_job_ids_are_looked_up_on_disk_and_not_held(tmp_path: Path, count: int) -> None:
    """Threat 8: each lasts for ever, so none may cost memory, nor may a restart read all at once.

    An id and its place in a table would be 150 bytes at least, an order 2,000. What may grow is
    the cache of the last 10,000 ids, and the 2 MB of pages of each connection.
    """
    seen = grown(tmp_path, "jobs", count)
    assert seen.filled - seen.begun < 6 * MB
    assert seen.recovered - seen.begun < 8 * MB


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_channel_that_was_never_used_takes_a_kilobyte_or_two(tmp_path: Path, count: int) -> None:
    """Threat 13: each has cost its payer the least that can be locked."""
    seen = grown(tmp_path, "channels", count)
    assert seen.filled - seen.begun < 2_000 * count
    assert seen.recovered - seen.begun < 2_000 * count
