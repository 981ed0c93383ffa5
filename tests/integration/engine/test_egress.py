"""P17, threat 51: a job speaks to nobody."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.engine.confined import MACHINE_TO_SOCKET

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in MACHINE_TO_SOCKET,
    reason="the kernel's filter is written for Linux on x86-64 and ARM64",
)


def confined(argument: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.integration.engine.confined", argument]
    return subprocess.run(command, capture_output=True, check=False, timeout=300)


def test_the_canary_sings() -> None:
    """A process that asks for an internet socket is ended, whoever asks: Python or C++."""
    assert confined("--fetch").returncode == -signal.SIGSYS


def test_a_job_full_of_addresses_makes_no_internet_socket(model_file: Path) -> None:
    """Client, provider, session, accounts and llama.cpp are real; network and chain are not."""
    done = confined(str(model_file))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()
