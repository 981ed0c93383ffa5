"""A few pages over HTTP, for programs on this machine that watch the node.

GET only, one request a connection, on loopback only; a page that a browser opens cannot reach
it under another name (DNS rebinding), because only this machine's own names are answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

import h11
import trio

from rowen.protocol.errors import UserError

CONNECTIONS_MAX = 32
REQUEST_BYTES_MAX = 8 * 1024
REQUEST_S = 5.0
ANSWER_S = 30.0

_OWN_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered.

    Attributes:
        status: HTTP's.
        body: All of it.
        content_type: Of the body.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


PageMaker = Callable[[str], Awaitable[Page]]
"""Makes a page from what stands after ``?``."""


def parse_place(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:4138`` or ``[::1]:4138``.

    Raises:
        UserError: Something else, or an address that other machines reach.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
        is_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError as error:
        raise UserError(f"[watch] listen {text!r}: write it as 127.0.0.1:4138") from error
    if port is None:
        raise UserError(f"[watch] listen {text!r} has no port: write it as 127.0.0.1:4138")
    if not is_loopback:
        raise UserError(
            f"[watch] listen {text!r} is reached from other machines, and has no password: listen "
            "on 127.0.0.1, and put a proxy with one in front"
        )
    return host, port


async def serve_pages(
    place: tuple[str, int],
    pages: Mapping[str, PageMaker],
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answers until cancelled; started with its address, such as ``http://127.0.0.1:4138``.

    Args:
        place: Host and port; 0 takes any free one.
        pages: By path.
        task_status: Started once somebody can ask.

    Raises:
        UserError: The port is taken.
    """
    host, port = place
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise UserError(
            f"[watch] listen {host}:{port} cannot be used ({error.strerror or error}): choose "
            "another port, or stop the program that has it"
        ) from error
    bound = listeners[0].socket.getsockname()[1]
    task_status.started(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
    places = trio.Semaphore(CONNECTIONS_MAX)

    async def serve_one(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                places.acquire_nowait()
            except trio.WouldBlock:
                return
            try:
                await _answer(stream, pages)
            finally:
                places.release()

    await trio.serve_listeners(serve_one, listeners)


async def _answer(stream: trio.SocketStream, pages: Mapping[str, PageMaker]) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_BYTES_MAX)
    try:
        with trio.fail_after(REQUEST_S):
            request = await _read_request(stream, connection)
        if request is None:
            return
        page = await _page_for(request, pages)
        headers = [
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(page.body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        said = connection.send(h11.Response(status_code=page.status, headers=headers)) or b""
        if request.method != b"HEAD":
            said += connection.send(h11.Data(page.body)) or b""
        with trio.fail_after(ANSWER_S):
            await stream.send_all(said)
    except (h11.ProtocolError, trio.BrokenResourceError, trio.TooSlowError):
        # Whoever asked has gone, or speaks no HTTP.
        return


async def _read_request(
    stream: trio.SocketStream, connection: h11.Connection
) -> h11.Request | None:
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(REQUEST_BYTES_MAX))
            continue
        return None


async def _page_for(request: h11.Request, pages: Mapping[str, PageMaker]) -> Page:
    if request.method not in (b"GET", b"HEAD"):
        return Page(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET is answered here\n")
    hosts = [value for name, value in request.headers if name == b"host"]
    if len(hosts) != 1 or not _is_own_name(hosts[0].decode("ascii", "replace")):
        return Page(HTTPStatus.MISDIRECTED_REQUEST, b"ask this machine by its own name\n")
    path, _, query = request.target.decode("ascii", "replace").partition("?")
    maker = pages.get(path)
    if maker is None:
        return Page(HTTPStatus.NOT_FOUND, f"here are {', '.join(pages)}\n".encode())
    with trio.move_on_after(ANSWER_S):
        return await maker(query)
    return Page(HTTPStatus.SERVICE_UNAVAILABLE, b"it takes too long\n")


def _is_own_name(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in _OWN_NAMES
    except ValueError:
        return False
