"""The daemon's control socket: its owner's other commands ask it, because it holds the journal.

One request a connection, each way one line of JSON. The socket lies in the node's home, which
only its user can enter. Whatever is asked, the node goes on: a request is judged by its type
before anything is done, and an answer that fails is its own failure.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
import structlog
import trio

import rowen
from rowen.home import Home
from rowen.protocol.errors import RowenError, Unavailable, UserError

log = structlog.get_logger("rowen.control")

REQUEST_BYTES_MAX = 1 << 20
"""Ten thousand channels to export."""
REQUEST_S = 10.0
CONNECTIONS_MAX = 32
"""More wait in the kernel: files that are open here are missing elsewhere."""
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, one of them a final zero.
SOCKET_PATH_BYTES_MAX = 103
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_NO_ROOM_S = 0.1

# Text that is not UTF-8, and JSON nested too deep, are no DecodeError of msgspec's.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

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
    """What comes back: a result, or who must act and what happened.

    Attributes:
        result: A JSON object.
        error: For a person; empty when all is well.
        kind: Name of the error's class.
        rowen: Version of who answers; empty from one that did not say it yet.
    """

    # Not `Raw | None`: msgspec reads such a field as null or nothing.
    result: msgspec.Raw = msgspec.Raw()
    error: str = ""
    kind: str = ""
    rowen: str = ""


async def serve_control(
    home: Home,
    answerers: Mapping[str, Answerer],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answers until cancelled; started once somebody can ask.

    Raises:
        UserError: The socket cannot be made; its path is too long for the system, perhaps.
    """
    path = home.control_socket
    if len(bytes(path)) > SOCKET_PATH_BYTES_MAX:
        raise UserError(
            f"{path} is too long for a socket: at most {SOCKET_PATH_BYTES_MAX} bytes; "
            "choose a shorter home"
        )
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            # The journal's lock says that no other daemon of this home is alive: this one is stale.
            path.unlink(missing_ok=True)
            await listener.bind(str(path))
            path.chmod(0o600)
        except OSError as error:
            raise UserError(f"cannot make the socket {path}: {error.strerror}") from error
        listener.listen(16)
        task_status.started()
        await _accept(trio.SocketListener(listener), answerers)
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def _accept(listener: trio.SocketListener, answerers: Mapping[str, Answerer]) -> None:
    places = trio.Semaphore(CONNECTIONS_MAX)

    async def serve_one(stream: trio.SocketStream) -> None:
        try:
            await _serve_one(stream, answerers)
        finally:
            places.release()

    async with trio.open_nursery() as nursery:
        while True:
            await places.acquire()
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                places.release()
                log.warning("no file is left for a command", why=error.strerror)
                await trio.sleep(_NO_ROOM_S)
                continue
            nursery.start_soon(serve_one, stream)


async def _serve_one(stream: trio.SocketStream, answerers: Mapping[str, Answerer]) -> None:
    async with stream:
        try:
            with trio.fail_after(REQUEST_S):
                line = await read_line(stream, REQUEST_BYTES_MAX)
            answer = await _answer(line, answerers)
            with trio.fail_after(REQUEST_S):
                await stream.send_all(msgspec.json.encode(answer) + b"\n")
        except (trio.TooSlowError, trio.BrokenResourceError, Unavailable):
            # Who asked has gone, or is not one of our commands.
            return


async def _answer(line: bytes, answerers: Mapping[str, Answerer]) -> Answer:
    """The answer to a line; whatever fails, the node has other things to do."""
    try:
        request = msgspec.json.decode(line, type=Request)
    except UNREADABLE as error:
        return _fault("UserError", f"this is no question: {error}")
    answerer = answerers.get(request.do)
    if answerer is None:
        why = f"this node is Rowen {rowen.__version__} and does not know {request.do!r}"
        return _fault("UserError", f"{why}: restart it with the version of the command that asks")
    try:
        result = msgspec.json.encode(await answerer(request.arguments))
    except Exception as error:  # one asker is isolated here, a defect included
        found = list(_leaves(error))
        for inner in found:
            if not isinstance(inner, RowenError | trio.TooSlowError):
                log.exception("a question could not be answered", do=request.do)
                why = f"the node failed at it ({type(inner).__name__}); its log says more"
                return _fault("Unavailable", why)
        return _fault(type(found[0]).__name__, str(found[0]) or "the node took too long")
    return Answer(result=msgspec.Raw(result), rowen=rowen.__version__)


def _fault(kind: str, why: str) -> Answer:
    # A file's name may hold what is no text.
    why = why.encode(errors="backslashreplace").decode()
    return Answer(error=why, kind=kind, rowen=rowen.__version__)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in the groups that nurseries wrap."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


async def read_line(stream: trio.SocketStream, bytes_max: int) -> bytes:
    """A line, whole and with its end.

    Raises:
        Unavailable: The connection ended before, or it is too long.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        part = await stream.receive_some(64 * 1024)
        if not part or len(line) + len(part) > bytes_max:
            raise Unavailable("the connection ended inside a line")
        line += part
    return bytes(line)
