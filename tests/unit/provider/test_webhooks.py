"""Alerts reach the owner although webhooks fail, hang or lie; and tell nobody their URLs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from rowen.protocol.errors import UserError
from rowen.provider import webhooks
from rowen.provider.alerts import Alert
from rowen.provider.webhooks import QUEUE_MAX, TRIES_MAX, Webhooks

ALERT = Alert(name="gas_low", severity="critical", state="raised", text="send some", since_ms=5)
Answer = Callable[[int], bytes]
OK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Hook:
    """A real HTTP server that keeps what was posted.

    Attributes:
        bodies: In their order.
        came: Set when one came.
    """

    def __init__(self, answer: Answer) -> None:
        self.bodies: list[dict[str, object]] = []
        self.came = trio.Event()
        self._answer = answer

    async def serve(self, stream: trio.SocketStream) -> None:
        raw = b""
        while b"\r\n\r\n" not in raw or len(raw.partition(b"\r\n\r\n")[2]) < _length(raw):
            part = await stream.receive_some()
            if not part:
                return
            raw += part
        self.bodies.append(msgspec.json.decode(raw.partition(b"\r\n\r\n")[2]))
        await stream.send_all(self._answer(len(self.bodies)))
        self.came.set()
        self.came = trio.Event()


def _length(raw: bytes) -> int:
    for line in raw.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


@asynccontextmanager
async def running(answer: Answer) -> AsyncIterator[tuple[Hook, str]]:
    hook = Hook(answer)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/services/planted-key"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, hook.serve, [listener])
        yield hook, url
        nursery.cancel_scope.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(120):
        while not is_so():
            await trio.sleep(0.01)


async def test_every_webhook_hears_and_the_message_says_all() -> None:
    async with running(lambda _: OK) as (one, first), running(lambda _: OK) as (two, second):
        hooks = Webhooks([first, second], node="0xnode")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hooks.run)
            hooks.tell([ALERT], 9)
            await until(lambda: hooks.outcomes["delivered"] == 2)
            nursery.cancel_scope.cancel()
    assert one.bodies == two.bodies
    (body,) = one.bodies
    assert (body["alert"], body["state"], body["severity"]) == ("gas_low", "raised", "critical")
    assert (body["node"], body["since_ms"], body["at_ms"]) == ("0xnode", 5, 9)
    assert body["text"] == body["content"] == "[raised] gas_low on 0xnode: send some"


async def test_a_webhook_that_fails_is_tried_again_with_the_same_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The id lets the other side drop what it has already."""
    monkeypatch.setattr(webhooks, "FIRST_PAUSE_S", 0.001)
    async with running(lambda n: OK if n == 3 else BUSY) as (hook, url):
        hooks = Webhooks([url], node="0xnode")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hooks.run)
            hooks.tell([ALERT], 9)
            await until(lambda: hooks.outcomes["delivered"] == 1)
            nursery.cancel_scope.cancel()
    assert len(hook.bodies) == 3
    assert len({str(body["id"]) for body in hook.bodies}) == 1


async def test_a_dead_webhook_costs_its_own_messages_and_its_url_is_not_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "FIRST_PAUSE_S", 0.001)
    async with running(lambda _: OK) as (_, dead):
        pass
    with capture_logs() as lines:
        async with running(lambda _: OK) as (hook, url):
            hooks = Webhooks([dead, url], node="0xnode")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hooks.run)
                hooks.tell([ALERT], 9)
                await until(lambda: hooks.outcomes == {"delivered": 1, "failed": 1})
                nursery.cancel_scope.cancel()
    assert len(hook.bodies) == 1
    assert [line["tried"] for line in lines] == list(range(1, TRIES_MAX + 1))
    assert all(line["host"] == "127.0.0.1" for line in lines)
    assert "planted-key" not in str(lines)
    assert "planted-key" not in repr(hooks)


async def test_a_redirect_is_no_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followed, it would send the message wherever the other side says."""
    monkeypatch.setattr(webhooks, "FIRST_PAUSE_S", 0.001)
    async with running(lambda _: OK) as (elsewhere, target):
        moved = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
        async with running(lambda _: moved) as (_, url):
            hooks = Webhooks([url], node="0xnode")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hooks.run)
                hooks.tell([ALERT], 9)
                await until(lambda: hooks.outcomes["failed"] == 1)
                nursery.cancel_scope.cancel()
    assert not elsewhere.bodies


def test_a_full_queue_drops_and_counts() -> None:
    hooks = Webhooks(["http://127.0.0.1:9/"], node="0xnode")
    hooks.tell([ALERT] * (QUEUE_MAX + 3), 9)
    assert hooks.outcomes == {"dropped": 3}


@pytest.mark.parametrize("url", ["ftp://host/", "planted", "http://", "http://[::/"])
def test_what_is_no_url_is_refused_without_being_said(url: str) -> None:
    with pytest.raises(UserError) as caught:
        Webhooks([url], node="0xnode")
    assert "planted" not in str(caught.value)
