"""``rowen --help`` answers at once."""

import signal
import subprocess
import sys

SLOW = {"web3", "libp2p", "sqlalchemy", "xllamacpp", "trio", "eth_account", "httpx", "requests"}
CODE = """
import sys
from rowen.cli.main import run_line
code = run_line({line!r})
print(code, *sys.modules, file=sys.stderr)
"""


def modules_after(*line: str) -> tuple[str, set[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(line=line)], capture_output=True, text=True, check=True
    )
    code, *modules = done.stderr.split()
    return code, set(modules), done.stdout


def test_help_imports_nothing_slow() -> None:
    code, modules, out = modules_after("--help")
    assert code == "0"
    assert not modules & SLOW
    for command in ("demo", "init", "serve", "run", "channel", "settle", "audit", "status"):
        assert command in out


def test_python_without_assertions_is_refused() -> None:
    """P18: they stay on."""
    command = [sys.executable, "-O", "-c", "import rowen.protocol.ids"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "run Python without -O" in done.stderr


def test_version_imports_nothing_slow() -> None:
    code, modules, _ = modules_after("version", "--json")
    assert code == "0"
    assert not modules & SLOW


INTERRUPTED = """
import os, runpy, signal, sys
class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
runpy.run_module("rowen.cli", run_name="__main__")
"""


def test_ctrl_c_while_modules_load_is_quiet() -> None:
    """The process ends by the signal, so that a shell sees 130."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
