"""One harness for both journals: something that survives, opened again and again."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.store.entries import KEY

from rowen.store.journal import open_journal
from rowen.testing.store import FakeDisk, open_fake_journal


class OnDisk:
    """A file."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "node" / "journal.db"

    def open(self) -> AbstractAsyncContextManager[Any]:
        return open_journal(self.path, KEY)


class InMemory:
    """A fake disk."""

    def __init__(self) -> None:
        self.disk = FakeDisk()

    def open(self) -> AbstractAsyncContextManager[Any]:
        return open_fake_journal(self.disk)


Storage = OnDisk | InMemory


@pytest.fixture(params=["sqlite", "fake"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return OnDisk(tmp_path) if request.param == "sqlite" else InMemory()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node" / "journal.db"
