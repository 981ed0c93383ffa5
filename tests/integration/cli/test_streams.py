"""Standard streams that are closed, full, cut off, or short of Unicode."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cli.command import COMMAND_S, ROWEN, environment

# Enough for one verdict, which is all that these commands print.
NO_BUNDLE = ("audit", "verify", "ö")


def run(
    tmp_path: Path,
    *arguments: str,
    redirection: str = "",
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    stdin: bytes = b"",
    **more: str,
) -> subprocess.CompletedProcess[bytes]:
    """A command through a shell, which can close streams."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *ROWEN, *arguments],
        input=stdin,
        stdout=stdout,
        stderr=stderr,
        timeout=COMMAND_S,
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path / "home", **more),
    )


@pytest.fixture
def cut_off() -> Iterator[int]:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize("arguments", [("version",), NO_BUNDLE, ("--help",)])
def test_whoever_has_read_enough_ends_a_command_quietly(
    tmp_path: Path, cut_off: int, arguments: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """As `rowen … | head -1` does; 141 is what a shell expects."""
    done = run(tmp_path, *arguments, *more, stdout=cut_off)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_full_disk_is_told_and_is_no_verdict(tmp_path: Path, more: tuple[str, ...]) -> None:
    done = run(tmp_path, *NO_BUNDLE, *more, redirection="> /dev/full")
    assert done.returncode == 4
    assert done.stderr == b"error: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize("redirection", [">&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_no_verdict(
    tmp_path: Path, redirection: str, more: tuple[str, ...]
) -> None:
    done = run(tmp_path, *NO_BUNDLE, *more, redirection=redirection)
    assert (done.returncode, done.stderr) == (2, b"")


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path, cut_off: int) -> None:
    done = run(tmp_path, "nonsense", stderr=cut_off)
    assert done.returncode == 2


def test_a_terminal_without_unicode_gets_an_answer(tmp_path: Path) -> None:
    """What it cannot show is spelled; JSON stays what it is."""
    done = run(tmp_path, *NO_BUNDLE, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (2, b"")
    assert b"\\xf6" in done.stdout
    done = run(tmp_path, *NO_BUNDLE, "--json", PYTHONIOENCODING="ascii")
    assert "ö" in json.loads(done.stdout)["findings"][0]["detail"]


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Documents are UTF-8, and name files."""
    name = os.fsdecode(b"\xff")
    for arguments in (("status", "--home", name), ("audit", "verify", name)):
        done = run(tmp_path, *arguments, "--json")
        assert done.returncode == 2
        assert json.loads(done.stdout)["error"]["kind"] == "user_error"
    done = run(tmp_path, "status", "--json", ROWEN_HOME=name)
    assert "ROWEN_HOME" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("stdin", [b"caf\xe9", b"", b"\xff" * (1 << 20)])
def test_a_question_that_is_no_text_is_told(tmp_path: Path, stdin: bytes) -> None:
    """``-`` may be anything: a photograph, an empty file, a disk."""
    (tmp_path / "home").mkdir()
    nowhere = "0x" + "11" * 20
    done = run(tmp_path, "run", "-", stdin=stdin, ROWEN_CHAIN_ESCROW=nowhere)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: ")
    done = run(tmp_path, "run", "-", redirection="<&-", ROWEN_CHAIN_ESCROW=nowhere)
    assert done.stderr == b"error: the prompt is empty\n"
