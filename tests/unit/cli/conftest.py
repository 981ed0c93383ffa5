"""A command line with a home of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tests.unit.cli.command_line import CommandLine


@pytest.fixture
def line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """``rowen``, and a home that does not exist yet."""
    home = tmp_path / "home"
    monkeypatch.setenv("ROWEN_HOME", str(home))
    monkeypatch.delenv("ROWEN_PASSWORD_FILE", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    return CommandLine(home, capsys)


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """A command sets up logs for the whole process; the next test finds them as they were."""
    yield
    structlog.reset_defaults()
