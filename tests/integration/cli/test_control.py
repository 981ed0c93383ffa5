"""A running node, and what its own user can do to it: odd questions, other versions."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from tests.integration.cli.command import Done, first_document, make_home, rowen, running

import rowen as package
from rowen.home import Home
from rowen.provider.control import serve_control

JSON = "--json"


def ask(home: Path, line: bytes) -> dict[str, Any] | None:
    """What the daemon answers to a line; None when it only closes the connection."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(Home(home).control_socket))
        asking.sendall(line)
        asking.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(partial(asking.recv, 65536), b""))
    found: dict[str, Any] | None = msgspec.json.decode(answer) if answer else None
    return found


def question(do: str, **arguments: object) -> bytes:
    return msgspec.json.encode({"do": do, "arguments": arguments}) + b"\n"


def odd_questions(folder: Path, taken: Path) -> list[bytes]:
    nobody = "0x" + "ee" * 20
    return [
        question("export"),
        question("export", path=7),
        question("export", path=str(folder / "nul\0")),
        question("export", path=str(folder / ("long" * 100))),
        question("export", path=str(folder / "no" / "such" / "folder")),
        question("export", path=str(taken)),
        question("export", path=str(taken / "below")),
        question("export", path="/proc/rowen"),
        question("export", path=str(folder / "one"), channels=["0x" + "ab" * 32]),
        question("export", path=str(folder / "one"), channels=["nonsense"]),
        question("export", path=str(folder / "one"), channels=[None]),
        question("earnings", by="moon"),
        question("earnings", until="9999-12-31"),
        question("earnings", since="0001-01-01"),
        question("payout", payout="0x12"),
        question("pause", gpus=["GPU-9"]),
        question("pause", gpus=[""]),
        question("pause", gpus=7),
        question("act", action="stake-bond", provider=nobody, amount="9" * 29),
        question("act", action="stake-bond", provider="me", amount="1"),
        question("act", action="burn", provider=nobody),
        question("act"),
        question("withdraw", is_wished="yes"),
        question("dance"),
        b"{",
        b"[" * 50_000 + b"]" * 50_000 + b"\n",
    ]


def test_no_question_of_its_own_user_ends_a_node(devnet: dict[str, Any], tmp_path: Path) -> None:
    """All of them at one node, which answers the next one each time."""
    owner = make_home(tmp_path / "owner", devnet, provider__listen=("/ip4/127.0.0.1/tcp/0",))
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with running(owner, "serve", JSON) as serving:
        first_document(serving, "serve")
        for line in odd_questions(tmp_path, taken):
            answer = ask(owner, line)
            assert answer is None or answer["error"], line
            alive = ask(owner, question("logs"))
            assert alive is not None, line
            assert "error" not in alive, line
        assert serving.poll() is None
        assert rowen(owner, "status", JSON).document("status")["is_running"]
    log = (tmp_path / "owner-serve.log").read_text()
    assert "a question could not be answered" not in log, log
    assert taken.read_text() == "mine"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"owner", "owner-serve.log", "state", "taken"}


class Later(msgspec.Struct):
    """The status of a version to come: fields are gone, one is new, one is of another type."""

    address: str
    mood: str
    sessions: list[str]
    unclaimed: int | None


async def later(_arguments: object) -> Later:
    await trio.lowlevel.checkpoint()
    return Later("0x" + "ab" * 20, "fine", ["a", "b"], None)


def beside(home: Path, *arguments: object) -> Done:
    """A command while a daemon of another version runs in the home."""

    async def work() -> Done:
        answerers = dict.fromkeys(("status", "settle", "pause", "earnings", "payout"), later)
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control, Home(home), answerers)
            done = await trio.to_thread.run_sync(partial(rowen, home, *arguments))
            nursery.cancel_scope.cancel()
        return done

    return trio.run(work)


def test_the_status_of_a_node_of_another_version_is_read_as_far_as_it_goes(made: Path) -> None:
    done = beside(made, "status", JSON)
    document = done.document("status")
    assert (done.code, document["is_running"], document["provider"]) == (2, True, None)
    other = document["other_version"]
    assert other["rowen"] == package.__version__
    assert {"name": "mood", "value": "fine"} in other["facts"]
    assert other["unread"] == ["sessions"]
    assert "restart it with this version" in other["what"]
    shown = beside(made, "status")
    assert shown.code == 2
    assert "0x" + "ab" * 20 in shown.out
    assert "restart it with this version" in shown.out


@pytest.mark.parametrize("command", [("settle",), ("pause",), ("earnings",), ("payout",)])
def test_no_command_falls_over_a_node_of_another_version(
    made: Path, command: tuple[str, ...]
) -> None:
    done = beside(made, *command, JSON)
    assert done.code == 2
    assert "restart it with this version" in done.error()["message"]


def test_doctor_and_support_bundle_live_with_another_version(made: Path, tmp_path: Path) -> None:
    """Those that are run when something is odd."""
    beside(made, "doctor", JSON).document("doctor")
    done = beside(made, "support-bundle", tmp_path / "support.tar.gz", JSON)
    assert "status.json" in [file["name"] for file in done.document("support-bundle")["files"]]
