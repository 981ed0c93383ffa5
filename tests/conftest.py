"""What holds for every test: the tiers that need something special, and a quiet engine."""

import os
import shutil
import signal
import sys

import pytest

# A spinning OpenMP thread starves its neighbours a hundredfold on a busy machine. The library reads
# these once, when it is loaded. The Makefile sets them too; this is for pytest run by itself.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# A shell without job control starts what it puts behind ``&`` with SIGINT ignored, and so would be
# every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


_RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_runtest_setup() -> None:
    """Gives each test the recursion limit that the node runs under.

    A test that imports web3 itself leaves 100,000; see ``rowen.chain.foreign``. Nested input would
    then kill the interpreter in whatever test comes after it.
    """
    sys.setrecursionlimit(_RECURSION_LIMIT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips, with the reason, what this machine cannot run."""
    if shutil.which("nvidia-smi") is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU here"))
