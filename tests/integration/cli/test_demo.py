"""The whole demo, once; and its evidence in the hands of somebody who edits it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.integration.cli.command import ROWEN, Done, environment, rowen

from rowen.protocol.evidence import CHANNELS, RECEIPTS, SNAPSHOT

INTERRUPT_S = 120


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What the demo measured, and the folder it kept."""
    folder = tmp_path_factory.mktemp("demo")
    done = rowen(folder / "home", "demo", "--json", "--keep", folder / "kept")
    assert done.code == 0, done.out + done.err
    assert done.err == ""
    return done.document("demo"), folder / "kept"


def test_the_demo_and_the_evidence_it_keeps(
    played: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    """One test, so that the demo is played once however tests are spread over processes."""
    document, kept = played
    check_the_books(document)
    check_the_acts(document)
    assert not pids_that_mention(str(kept))
    audit = document["audits"][0]
    assert Path(audit["path"]) == kept / "bundle" / "alder"
    pins = audit["command"][4:]
    for edit, code in EDITS:
        copy = tmp_path / edit.__name__
        shutil.copytree(audit["path"], copy)
        edit(copy)
        verdict = rowen(tmp_path / "home", "audit", "verify", copy, *pins, "--json")
        assert verdict.code == code, (edit.__name__, verdict.out)
        assert verdict.document("audit-verify")["exit_code"] == code
    untouched = rowen(tmp_path / "home", *audit["command"][1:])
    assert untouched.code == 0
    assert untouched.out.startswith("VERIFIED")


def check_the_books(document: dict[str, Any]) -> None:
    """Five parties, one number each; and every cent of the answers is in it once."""
    assert document["is_consistent"]
    for books in document["books"]:
        amounts = {value for name, value in books.items() if name not in ("provider", "agrees")}
        assert len(amounts) == 1, books
        assert int(books["client_owes"]) > 0
    bought = sum(int(answer["cost"]) for answer in document["answers"])
    recovery = document["recovery"]
    late = int(recovery["paid_after"]) - int(recovery["paid_before"])
    assert bought + late == sum(int(books["client_owes"]) for books in document["books"])


def check_the_acts(document: dict[str, Any]) -> None:
    bought, cancelled, continued = document["answers"]
    assert [bought["act"], bought["finish"]] == ["bought", "stop"]
    assert [cancelled["act"], cancelled["finish"]] == ["cancelled", "cancelled"]
    assert cancelled["output_units"] < 128
    assert continued["act"] == "continued"
    first, second = continued["parts"]
    assert first["provider"] != second["provider"]
    assert not first["is_settled"]
    assert second["is_settled"]
    recovery = document["recovery"]
    assert recovery["provider"] == first["provider"]
    assert recovery["unpaid_left"] == 0
    assert {audit["verdict"]["status"] for audit in document["audits"]} == {"verified"}


def tampered(bundle: Path) -> None:
    flip(bundle / RECEIPTS)


def shortened(bundle: Path) -> None:
    """The last receipt, cut away."""
    file = bundle / RECEIPTS
    raw = file.read_bytes()
    file.write_bytes(raw[: raw.rindex(raw[:4])])


def garbage(bundle: Path) -> None:
    for path in bundle.iterdir():
        path.write_bytes(b"\x00garbage")


def left_out(bundle: Path) -> None:
    (bundle / SNAPSHOT).unlink()


def swapped(bundle: Path) -> None:
    (bundle / CHANNELS).write_bytes(b"")


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(bytes(raw))


EDITS: list[tuple[Callable[[Path], None], int]] = [
    (tampered, 1),
    (shortened, 1),
    (swapped, 1),
    (garbage, 2),
    (left_out, 3),
]


@pytest.mark.parametrize("after", ["chain", "»"])
def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path, after: str) -> None:
    """While the stage is set up, and while an answer streams."""
    # Not below tmp_path, whose name is too long for the name of a socket.
    with TemporaryDirectory(prefix="cli-") as folder:
        interrupt_a_demo(tmp_path, Path(folder), after)


def interrupt_a_demo(tmp_path: Path, scratch: Path, after: str) -> None:
    process = start_demo(tmp_path, scratch)
    assert process.stdout is not None
    said = list(takewhile(lambda line: not line.strip().startswith(after), process.stdout))
    is_there = any(scratch.iterdir())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=INTERRUPT_S)
    assert process.returncode == 130, (said, err)
    assert err == ""
    assert is_there, "the demo keeps its files where it is told"
    assert not list(scratch.iterdir())
    assert not pids_that_mention(str(scratch))


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells when a stranger ends")
def test_a_demo_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    """The kernel closes the pipes that hold them, so not even SIGKILL leaves an orphan."""
    with TemporaryDirectory(prefix="cli-") as folder:
        process = start_demo(tmp_path, Path(folder))
        assert process.stdout is not None
        said = list(takewhile(lambda line: "»" not in line, process.stdout))
        others = [pid for pid in pids_that_mention(folder) if pid != process.pid]
        assert len(others) >= 3, f"two providers and a chain, after {said}"
        watched = [os.pidfd_open(pid) for pid in others]
        process.kill()
        process.communicate(timeout=INTERRUPT_S)
        for descriptor in watched:
            ended, _, _ = select([descriptor], [], [], INTERRUPT_S)
            os.close(descriptor)
            assert ended


def test_a_demo_that_cannot_start_says_why(tmp_path: Path) -> None:
    done: Done = rowen(tmp_path / "home", "demo", "--json", ROWEN_ANVIL=tmp_path / "no-anvil")
    assert done.code == 2
    assert "ROWEN_ANVIL" in done.error()["message"]


def start_demo(tmp_path: Path, scratch: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*ROWEN, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path / "home", TMPDIR=scratch),
    )


def pids_that_mention(text: str) -> list[int]:
    """Living processes with this text in their command line or environment."""
    return [
        int(directory.name)
        for directory in Path("/proc").glob("[0-9]*")
        if int(directory.name) != os.getpid() and is_mentioned(directory, text)
    ]


def is_mentioned(directory: Path, text: str) -> bool:
    try:
        command = (directory / "cmdline").read_bytes()
        environ = (directory / "environ").read_bytes()
    except OSError:
        # It ended meanwhile, or is another user's.
        return False
    return text.encode() in command + environ
