"""Runs a command line in this process: for what ends before anything slow begins."""

import json
from pathlib import Path
from typing import Any

import pytest

from rowen.cli.main import run_line


class CommandLine:
    """``rowen`` in a home of its own."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capture = capture

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        self._capture.readouterr()
        code = run_line([str(argument) for argument in arguments])
        said = self._capture.readouterr()
        return code, said.out, said.err

    def error(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Exit code and the error as JSON."""
        code, out, _ = self(*arguments, "--json")
        found: dict[str, Any] = json.loads(out)["error"]
        return code, found
