"""Health and metrics over HTTP: what programs on this machine get, and what nobody else does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from rowen.protocol.errors import UserError
from rowen.provider.pages import CONNECTIONS_MAX, Page, parse_place, serve_pages


async def hello(query: str) -> Page:
    await trio.lowlevel.checkpoint()
    return Page(HTTPStatus.OK, f"hello {query}".encode())


@asynccontextmanager
async def pages() -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_pages, ("127.0.0.1", 0), {"/hello": hello})
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def raw(address: str) -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_tcp_stream("127.0.0.1", urlsplit(address).port or 0) as stream:
        yield stream


async def test_a_page_is_answered_with_its_query() -> None:
    async with pages() as address, httpx.AsyncClient(trust_env=False) as http:
        found = await http.get(f"{address}/hello?you")
        assert (found.status_code, found.text) == (200, "hello you")
        head = await http.head(f"{address}/hello?you")
        assert (head.status_code, head.text) == (200, "")
        assert head.headers["content-length"] == "9"


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/other", "localhost", 404),
        ("POST", "/hello", "localhost", 405),
        ("GET", "/hello", "attacker.example", 421),
        ("GET", "/hello", "127.0.0.1.attacker.example", 421),
        ("GET", "/hello", "[::1]:80", 200),
    ],
)
async def test_what_is_not_meant_for_it_is_refused(
    method: str, path: str, host: str, status: int
) -> None:
    """A web page under another name cannot read it through its visitor's browser."""
    async with pages() as address, httpx.AsyncClient(trust_env=False) as http:
        found = await http.request(method, address + path, headers={"Host": host})
        assert found.status_code == status


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /hello\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"x" * 20_000,
        b"GET /hello HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 5_000,
        b"",
    ],
)
async def test_junk_costs_its_own_connection(said: bytes) -> None:
    async with pages() as address:
        async with raw(address) as stream:
            with trio.move_on_after(60):
                try:
                    await stream.send_all(said)
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{address}/hello")).status_code == 200


async def test_connections_are_few_and_make_room_again() -> None:
    """Thirty-two that say nothing take all places; when they leave, others are served."""
    async with pages() as address:
        async with trio.open_nursery() as nursery:

            async def hold(
                task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
            ) -> None:
                async with raw(address):
                    task_status.started()
                    await trio.sleep_forever()

            for _ in range(CONNECTIONS_MAX):
                await nursery.start(hold)
            async with raw(address) as late:
                with trio.fail_after(60):
                    assert await _until_closed(late) == b""
            nursery.cancel_scope.cancel()
        async with httpx.AsyncClient(trust_env=False) as http:
            with trio.fail_after(60):
                while True:
                    try:
                        assert (await http.get(f"{address}/hello")).status_code == 200
                        return
                    except httpx.HTTPError:
                        # The server has not yet seen that the others left.
                        await trio.lowlevel.checkpoint()


async def _until_closed(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


async def test_a_port_that_is_taken_is_told() -> None:
    async with pages() as address:
        port = urlsplit(address).port
        assert port
        with pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be used"):
            await serve_pages(("127.0.0.1", port), {})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:4138", ("127.0.0.1", 4138)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_a_place_is_read(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["0.0.0.0:4138", "192.0.2.1:1", "[::]:1", "example.org:1", "4138",
                                  "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"])  # fmt: skip
def test_a_place_that_others_reach_or_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_place(text)
