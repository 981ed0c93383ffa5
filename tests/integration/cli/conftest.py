"""A chain for the commands, and homes to run them in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.integration.cli.command import first_document, make_home, running
from tests.integration.cli.inside import Inside


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What ``rowen devnet --json`` says of itself, while it runs."""
    home = tmp_path_factory.mktemp("devnet") / "home"
    with running(home, "devnet", "--port", 0, "--json") as process:
        yield first_document(process, "devnet")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, devnet: dict[str, Any]) -> Path:
    """A home on that chain. Tests leave its files alone."""
    return make_home(tmp_path_factory.mktemp("made") / "home", devnet)


@pytest.fixture
def inside(
    devnet: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Inside]:
    """Commands in this process, on that chain."""
    yield Inside(devnet, tmp_path, monkeypatch, capsys)
    structlog.reset_defaults()
