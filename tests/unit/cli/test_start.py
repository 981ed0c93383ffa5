"""``rowen --help`` answers at once."""

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


def test_version_imports_nothing_slow() -> None:
    code, modules, _ = modules_after("version", "--json")
    assert code == "0"
    assert not modules & SLOW
