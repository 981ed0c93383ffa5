"""Runs the real ``rowen`` as a user does: another process, its streams and its exit code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import trio
from tests.integration.cli.json_schema import complaints, schema

from rowen.cli.initialise import make_keys, write_password, write_settings
from rowen.home import Home

ROOT = Path(__file__).resolve().parents[3]
ROWEN = [sys.executable, "-m", "rowen.cli"]
COMMAND_S = 180


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    def document(self, name: str) -> dict[str, Any]:
        """Its one document; nothing else may be on standard output."""
        return valid(self.out, name)

    def error(self) -> dict[str, Any]:
        """The error it printed as JSON."""
        found: dict[str, Any] = self.document("error")["error"]
        return found


def valid(text: str, name: str) -> dict[str, Any]:
    """One JSON document that fits its schema."""
    value: dict[str, Any] = json.loads(text)
    rule = schema(name)
    assert not complaints(value, rule, rule), complaints(value, rule, rule)
    return value


def environment(home: Path, **settings: object) -> dict[str, str]:
    """What a command sees: this home, these settings, and none of the tester's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROWEN_")}
    models = os.environ.get("ROWEN_MODELS_DIR") or str(ROOT / "models")
    # What a node of this test must not share with others of this user lies beside its home.
    kept |= {"XDG_STATE_HOME": str(home.parent / "state")}
    kept |= {"ROWEN_HOME": str(home), "ROWEN_MODELS_DIR": models, "NO_COLOR": "1"}
    return kept | {name: str(value) for name, value in settings.items()}


def make_home(path: Path, devnet: dict[str, Any], **settings: object) -> Path:
    """A home as ``rowen init`` makes one, but with keys that take no second to open."""
    home = Home(path)
    home.make()
    write_password(home, "a password for tests")
    chain = {
        "chain.rpc": (devnet["rpc"],),
        "chain.escrow": devnet["escrow"],
        "watch.listen": "127.0.0.1:0",
        # The model runs on the processor; a GPU of the tester's has nothing to do with it.
        "gpu.watch": "none",
    }
    write_settings(home, chain | {f"{k.replace('__', '.')}": v for k, v in settings.items()})
    trio.run(partial(make_keys, home, "a password for tests", scrypt_n=2))
    return path


def rowen(home: Path, *arguments: object, stdin: str = "", **settings: object) -> Done:
    """Runs a command to its end."""
    done = subprocess.run(
        [*ROWEN, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
        cwd=home.parent,
        env=environment(home, **settings),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def running(home: Path, *arguments: object, **settings: object) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; interrupted at the end, as by Ctrl-C."""
    log: IO[str]
    with (home.parent / f"{home.name}-{arguments[0]}.log").open("w+") as log:
        process = subprocess.Popen(
            [*ROWEN, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=home.parent,
            env=environment(home, **settings),
        )
        try:
            yield process
        finally:
            interrupt(process)


def interrupt(process: subprocess.Popen[str]) -> int:
    """Ctrl-C, and the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=COMMAND_S)
    finally:
        process.kill()
    return process.returncode


def first_document(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """What a running command says when it is ready."""
    assert process.stdout is not None
    return valid(process.stdout.readline(), name)
