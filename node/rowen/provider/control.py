"""The daemon's control socket: its owner's other commands ask it, because it holds the journal.

One request a connection, each way one line of JSON. The socket lies in the node's home, which
only its user can enter.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import trio

from rowen.home import Home
from rowen.protocol.errors import RowenError, Unavailable, UserError

LINE_BYTES_MAX = 16 << 20
"""The books of many years, line by line, and nothing larger."""
REQUEST_S = 10.0
ANSWER_S = 300.0
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, one of them a final zero.
SOCKET_PATH_BYTES_MAX = 103

# Text that is not UTF-8 is no DecodeError of msgspec's.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)

Answerer = Callable[[Mapping[str, Any]], Awaitable[msgspec.Struct]]


class Request(msgspec.Struct, frozen=True):
    """What is asked.

    Attributes:
        do: Name of the command.
        arguments: By name.
    """

    do: str
    arguments: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What comes back: a result, or who must act and what happened."""

    # Not `Raw | None`: msgspec reads such a field as null or nothing.
    result: msgspec.Raw = msgspec.Raw()
    error: str = ""
    kind: str = ""


async def serve_control(
    home: Home,
    answerers: Mapping[str, Answerer],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answers until cancelled; started once somebody can ask.

    Raises:
        UserError: The socket's path is too long for the system.
    """
    path = home.control_socket
    if len(bytes(path)) > SOCKET_PATH_BYTES_MAX:
        raise UserError(
            f"{path} is too long for a socket: at most {SOCKET_PATH_BYTES_MAX} bytes; "
            "choose a shorter home"
        )
    # The journal's lock says that no other daemon of this home is alive: this one is stale.
    path.unlink(missing_ok=True)
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
        task_status.started()
        async with trio.open_nursery() as nursery:
            while True:
                peer, _ = await listener.accept()
                nursery.start_soon(_serve_one, trio.SocketStream(peer), answerers)
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def _serve_one(stream: trio.SocketStream, answerers: Mapping[str, Answerer]) -> None:
    async with stream:
        try:
            with trio.fail_after(REQUEST_S):
                line = await _read_line(stream)
            request = msgspec.json.decode(line, type=Request)
            answer = await _answer(request, answerers)
            with trio.fail_after(REQUEST_S):
                await stream.send_all(msgspec.json.encode(answer) + b"\n")
        except (trio.TooSlowError, trio.BrokenResourceError, *_UNREADABLE, Unavailable):
            # Who asked has gone, or is not one of our commands.
            return


async def _answer(request: Request, answerers: Mapping[str, Answerer]) -> Answer:
    answerer = answerers.get(request.do)
    if answerer is None:
        return Answer(error=f"this daemon does not know {request.do!r}", kind="UserError")
    try:
        result = await answerer(request.arguments)
    except RowenError as error:
        return Answer(error=str(error), kind=type(error).__name__)
    return Answer(result=msgspec.Raw(msgspec.json.encode(result)))


async def ask_daemon(home: Home, do: str, **arguments: Any) -> dict[str, Any] | None:
    """Asks the daemon of a home.

    Args:
        home: Whose.
        do: ``status``, ``settle``, ``sweep`` or ``export``.
        arguments: Of the command.

    Returns:
        Its answer, or None when no daemon runs there.

    Raises:
        UserError: The daemon says what is wrong.
        Unavailable: It failed, or does not answer.
    """
    try:
        stream = await trio.open_unix_socket(str(home.control_socket))
    except (OSError, ValueError):
        return None
    async with stream:
        try:
            with trio.fail_after(ANSWER_S):
                request = Request(do, arguments)
                await stream.send_all(msgspec.json.encode(request) + b"\n")
                answer = msgspec.json.decode(await _read_line(stream), type=Answer)
        except (trio.TooSlowError, trio.BrokenResourceError, *_UNREADABLE) as error:
            raise Unavailable("the daemon does not answer") from error
    if answer.error:
        fault = UserError if answer.kind in ("UserError", "Reverted") else Unavailable
        raise fault(answer.error)
    result: dict[str, Any] = msgspec.json.decode(answer.result)
    return result


async def _read_line(stream: trio.SocketStream) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        part = await stream.receive_some(64 * 1024)
        if not part or len(line) + len(part) > LINE_BYTES_MAX:
            raise Unavailable("the connection ended inside a line")
        line += part
    return bytes(line)
