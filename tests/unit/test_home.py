"""The files of a node, on disks and for users that do not let it have them."""

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rowen.home import scratch
from rowen.protocol.errors import UserError
from rowen.store.lock import only_process


@contextmanager
def full_disk() -> Iterator[None]:
    """Not one byte more for any file of this process."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_temporary_directory_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch() as place:
        assert place.parent == tmp_path
        assert place.stat().st_mode & 0o777 == 0o700
        (place / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_without_a_temporary_directory_a_person_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python tries every place it knows by writing there."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    with full_disk(), pytest.raises(UserError, match="set TMPDIR to a directory"), scratch():
        pass


def test_a_temporary_directory_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UserError, match="No such file or directory"), scratch():
        pass


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="lock: No such file"),
        only_process(tmp_path / "gone" / "seller.db"),
    ):
        pass


def test_a_lock_holds_on_a_full_disk(tmp_path: Path) -> None:
    """Its text is for people; the kernel needs none."""
    journal = tmp_path / "seller.db"
    with (
        full_disk(),
        only_process(journal),
        pytest.raises(UserError, match="in use by process"),
        only_process(journal),
    ):
        pass
