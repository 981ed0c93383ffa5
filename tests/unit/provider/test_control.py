"""Whatever arrives at the control socket, the node behind it goes on."""

from __future__ import annotations

import errno
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

import rowen
from rowen.home import Home
from rowen.protocol.errors import Unavailable, UserError
from rowen.provider.asking import OtherVersion, ask_as, ask_daemon
from rowen.provider.control import (
    CONNECTIONS_MAX,
    REQUEST_BYTES_MAX,
    REQUEST_S,
    Answerer,
    serve_control,
)
from rowen.provider.questions import (
    Acting,
    Counting,
    Exporting,
    Nothing,
    Switching,
    Withdrawing,
    question,
)


class Said(msgspec.Struct):
    """An answer."""

    word: str


async def say(asked: Nothing) -> msgspec.Struct:
    await trio.lowlevel.checkpoint()
    return Said(repr(asked))


def raising(error: BaseException) -> Callable[[Nothing], Awaitable[msgspec.Struct]]:
    async def fail(_asked: Nothing) -> msgspec.Struct:
        await trio.lowlevel.checkpoint()
        raise error

    return fail


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@asynccontextmanager
async def daemon(home: Home, answerers: dict[str, Answerer]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, home, answerers)
        yield
        nursery.cancel_scope.cancel()


async def send(home: Home, raw: bytes) -> dict[str, Any] | None:
    """What comes back; None when the connection is closed instead."""
    stream = await trio.open_unix_socket(str(home.control_socket))
    async with stream:
        try:
            await stream.send_all(raw)
            await stream.send_eof()
            line = b"".join([part async for part in stream])
        except trio.BrokenResourceError:
            return None
    answer: dict[str, Any] | None = msgspec.json.decode(line) if line else None
    return answer


DEEP = b"[" * 100_000 + b"]" * 100_000
ODD = {
    "nothing": b"",
    "half": b'{"do":"say"',
    "an empty line": b"\n",
    "garbage": bytes(range(256)) * 8 + b"\n",
    "no text": b'{"do":"\xff"}\n',
    "another type": b"[1,2,3]\n",
    "a word for a list": b'{"do":"say","arguments":"all"}\n',
    "a number for a name": b'{"do":7}\n',
    "a nest": b'{"do":"say","arguments":{"x":' + DEEP + b"}}\n",
    "a nest alone": DEEP + b"\n",
    "two lines": b'{"do":"say"}\n{"do":"say"}\n',
    "huge": b" " * (REQUEST_BYTES_MAX + 1) + b"\n",
    "an unknown name": b'{"do":"\\u001b[2J"}\n',
    "an argument too many": b'{"do":"say","arguments":{"loud":true}}\n',
}


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
async def test_what_is_no_question_is_refused_and_the_next_one_answered(
    home: Home, raw: bytes
) -> None:
    async with daemon(home, {"say": question(Nothing, say)}):
        answer = await send(home, raw)
        assert answer is None or answer["error"]
        assert await ask_daemon(home, "say") == {"word": "Nothing()"}


@pytest.mark.parametrize(
    "error",
    [
        KeyError("path"),
        TypeError("not a list"),
        ValueError("embedded null byte"),
        OSError(errno.ENOSPC, "No space left on device"),
        RecursionError(),
        AssertionError(),
        UnicodeError("\udcff"),
        ExceptionGroup("a nursery", [UserError("mine"), KeyError("and a defect")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_defect_in_an_answer_is_logged_and_not_the_end(
    home: Home, error: Exception
) -> None:
    answerers = {"fail": question(Nothing, raising(error)), "say": question(Nothing, say)}
    async with daemon(home, answerers):
        with pytest.raises(Unavailable, match="the node failed at it"), capture_logs() as logs:
            await ask_daemon(home, "fail")
        assert [one["event"] for one in logs] == ["a question could not be answered"]
        assert await ask_daemon(home, "say") == {"word": "Nothing()"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("a file named \udcff"), UserError),
        (Unavailable("no chain"), Unavailable),
        (trio.TooSlowError(), Unavailable),
        (ExceptionGroup("a nursery", [UserError("mine")]), UserError),
    ],
)
async def test_who_must_act_is_told_to_who_asks(
    home: Home, error: Exception, kind: type[Exception]
) -> None:
    async with daemon(home, {"fail": question(Nothing, raising(error))}):
        with pytest.raises(kind) as raised:
            await ask_daemon(home, "fail")
    assert str(raised.value) in (
        "a file named \\udcff",
        "no chain",
        "mine",
        "the node took too long",
    )


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Exporting, {}),
        (Exporting, {"path": 7}),
        (Exporting, {"path": None}),
        (Exporting, {"path": "/tmp/x", "channels": "0xab"}),
        (Exporting, {"path": "/tmp/x", "channels": [1]}),
        (Counting, {"by": "moon"}),
        (Counting, {"since": 2026}),
        (Withdrawing, {"is_wished": "no"}),
        (Withdrawing, {"is_dry": True}),
        (Switching, {"gpus": 0}),
        (Acting, {"action": "stake-bond"}),
        (Acting, {"action": "self-destruct", "provider": "0x"}),
        (Acting, {"action": "stake-bond", "provider": "0x", "amount": "-1"}),
    ],
)
async def test_arguments_of_another_type_reach_nobody(
    home: Home, kind: type[Nothing], arguments: dict[str, Any]
) -> None:
    """Also those that a newer command knows: to leave out "only look" would be to send."""
    async with daemon(home, {"do": question(kind, raising(AssertionError("it was asked")))}):
        with pytest.raises(UserError, match="does not understand the question"):
            await ask_daemon(home, "do", **arguments)


async def test_who_stops_in_the_middle_is_left_after_a_while(
    home: Home, autojump_clock: trio.testing.MockClock
) -> None:
    """As many as there are places: the next one waits no longer than they may take."""
    async with daemon(home, {"say": question(Nothing, say)}):
        silent = [
            await trio.open_unix_socket(str(home.control_socket)) for _ in range(CONNECTIONS_MAX)
        ]
        began_s = trio.current_time()
        assert await ask_daemon(home, "say") is not None
        assert trio.current_time() - began_s <= REQUEST_S
        for stream in silent:
            await stream.aclose()


async def test_who_leaves_before_the_answer_ends_nothing(home: Home) -> None:
    asked, go_on = trio.Event(), trio.Event()

    async def think(_asked: Nothing) -> msgspec.Struct:
        asked.set()
        await go_on.wait()
        return Said("x" * 10_000_000)

    answerers = {"think": question(Nothing, think), "say": question(Nothing, say)}
    async with daemon(home, answerers):
        stream = await trio.open_unix_socket(str(home.control_socket))
        await stream.send_all(b'{"do":"think"}\n')
        await asked.wait()
        await stream.aclose()
        go_on.set()
        assert await ask_daemon(home, "say") == {"word": "Nothing()"}


async def test_a_process_without_files_left_takes_questions_again_later(home: Home) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with daemon(home, {"say": question(Nothing, say)}):
        stream = await trio.open_unix_socket(str(home.control_socket))
        # The connection waits in the kernel; there is no number left for it here.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with capture_logs() as logs:
                await trio.testing.wait_all_tasks_blocked(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert logs[0]["event"] == "no file is left for a command"
        await stream.send_all(b'{"do":"say"}\n')
        assert msgspec.json.decode(await stream.receive_some())["result"] == {"word": "Nothing()"}
        await stream.aclose()


async def test_a_node_of_another_version_is_named_and_what_it_said_kept(home: Home) -> None:
    class Newer(msgspec.Struct):
        words: list[str]

    async with daemon(home, {"say": question(Nothing, say)}):
        with pytest.raises(OtherVersion, match="missing required field `words`") as raised:
            await ask_as(home, Newer, "say")
        assert (raised.value.rowen, raised.value.told) == (rowen.__version__, {"word": "Nothing()"})
        assert await ask_as(home, Said, "say") == Said("Nothing()")
        with pytest.raises(UserError, match="does not know 'sing': restart it"):
            await ask_daemon(home, "sing")


async def test_an_answer_of_a_daemon_from_before_versions_is_read(home: Home) -> None:
    """Its answers had no version."""
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(home.control_socket))
    listener.listen(1)

    async def old_daemon() -> None:
        peer, _ = await listener.accept()
        async with trio.SocketStream(peer) as stream:
            await stream.receive_some()
            await stream.send_all(b'{"result":{"word":"hello"}}\n')

    async with trio.open_nursery() as nursery:
        nursery.start_soon(old_daemon)
        with pytest.raises(OtherVersion, match="Rowen of another version"):
            await ask_as(home, Exporting, "say")
    listener.close()


async def test_a_socket_that_cannot_be_made_says_what_to_do(home: Home) -> None:
    deep = Home(home.path / ("x" * 120))
    with pytest.raises(UserError, match="choose a shorter home"):
        await serve_control(deep, {})
    with pytest.raises(UserError, match="cannot make the socket"):
        await serve_control(Home(home.path / "nowhere"), {})
