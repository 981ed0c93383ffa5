"""Runs commands in this process against a real chain: for stories whose steps are many.

What only shows between processes (streams, signals, exit codes of a real shell) is in the tests
that start ``rowen`` itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from tests.integration.cli.command import Done, make_home

from rowen.chain.rpc import Rpc
from rowen.cli.main import run_line
from rowen.home import Home


class Inside:
    """One home after the other on one devnet.

    Attributes:
        devnet: What ``rowen devnet --json`` said of itself.
    """

    def __init__(
        self,
        devnet: dict[str, Any],
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capture: pytest.CaptureFixture[str],
    ) -> None:
        self.devnet = devnet
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._capture = capture
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.delenv("ROWEN_PASSWORD_FILE", raising=False)

    def home(self, name: str, *, funded: str = "", **settings: object) -> Home:
        """A new home; ``funded`` names its key that gets $1,000 and gas."""
        settings = {"chain__confirmations": 0, "chain__stake": self.devnet["stake"], **settings}
        home = Home(make_home(self._folder / name, self.devnet, **settings))
        made = self(home, "init", "--yes", "--json").document("init")
        for key in funded.split():
            assert self(home, "devnet", "fund", made[key]).code == 0
        return home

    def address(self, home: Home, key: str) -> str:
        """Of one of its keys."""
        found: str = self(home, "init", "--yes", "--json").document("init")[key]
        return found

    def __call__(self, home: Home, *arguments: object) -> Done:
        """Runs a command to its end."""
        self._monkeypatch.setenv("ROWEN_HOME", str(home.path))
        self._capture.readouterr()
        code = run_line([str(argument) for argument in arguments])
        said = self._capture.readouterr()
        assert "Traceback" not in said.err, said.err
        return Done(code, said.out, said.err)

    def refused(self, home: Home, *arguments: object) -> str:
        """The message of a command that a person has to change."""
        done = self(home, *arguments, "--json")
        assert done.code == 2, done.out
        message: str = done.error()["message"]
        return message

    def rpc(self, method: str, *params: object) -> Any:
        """Asks the chain."""

        async def ask() -> Any:
            rpc = Rpc(self.devnet["rpc"])
            try:
                return await rpc.call(method, *params)
            finally:
                await rpc.aclose()

        return trio.run(ask)

    def warp(self, seconds: int) -> None:
        """Moves the chain's time."""
        self.rpc("evm_increaseTime", hex(seconds))
        self.rpc("anvil_mine", "0x1")
