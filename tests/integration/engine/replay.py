"""An HTTP server on loopback that answers as a recording says and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import h11
import trio
from tests.integration.engine.recordings import Answer


class Replay:
    """What one server does.

    Attributes:
        url: Where it is.
        answers: Status and body by method and path; what is not there is 404.
        chat: Writes of a streamed chat completion.
        chat_status: Of that answer.
        completion: Writes of a streamed completion; empty for a server that has none.
        hangs: Whether the stream stays open after its last write.
        asked: Method, path, decoded body and bearer key of every request.
        left: Set when a client closed a stream that was still open.
    """

    def __init__(self, answers: dict[str, Answer], chat: list[str]) -> None:
        self.url = ""
        self.answers = dict(answers)
        self.chat = list(chat)
        self.chat_status = 200
        self.completion: list[str] = []
        self.hangs = False
        self.asked: list[tuple[str, Any, str]] = []
        self.left = trio.Event()

    def bodies(self, path: str) -> list[Any]:
        """What was posted to a path."""
        return [body for asked, body, _ in self.asked if asked == f"POST {path}"]

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        async with stream:
            request, raw = await self._receive(connection, stream)
            name = f"{request.method.decode()} {request.target.decode()}"
            key = dict(request.headers).get(b"authorization", b"").decode()
            body = json.loads(raw) if raw else None
            self.asked.append((name, body, key))
            if name == "POST /v1/chat/completions":
                await self._stream(connection, stream, self.chat)
                return
            if name == "POST /v1/completions" and self.completion:
                if body.get("stream"):
                    await self._stream(connection, stream, self.completion)
                else:
                    # Whether there are completions at all is asked without a stream.
                    await self._send(connection, stream, 200, [b'{"choices":[{"text":"3"}]}'])
                return
            status, said = self.answers.get(name, (404, {"error": {"message": "Not Found"}}))
            data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            await self._send(connection, stream, status, [data])

    async def _stream(
        self, connection: h11.Connection, stream: trio.SocketStream, parts: list[str]
    ) -> None:
        writes = [part.encode() for part in parts]
        if self.hangs:
            await self._send(connection, stream, self.chat_status, writes, is_whole=False)
            # Reset, if something we sent was unread when it left.
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some(1) == b""
            self.left.set()
        else:
            await self._send(connection, stream, self.chat_status, writes)

    @staticmethod
    async def _receive(
        connection: h11.Connection, stream: trio.SocketStream
    ) -> tuple[h11.Request, bytes]:
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                assert isinstance(event, h11.EndOfMessage)
                assert request is not None
                return request, body

    @staticmethod
    async def _send(
        connection: h11.Connection,
        stream: trio.SocketStream,
        status: int,
        writes: list[bytes],
        *,
        is_whole: bool = True,
    ) -> None:
        head = h11.Response(status_code=status, headers=[("Connection", "close")])
        await stream.send_all(connection.send(head) or b"")
        for data in writes:
            await stream.send_all(connection.send(h11.Data(data=data)) or b"")
        if is_whole:
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")


@asynccontextmanager
async def replay(
    answers: dict[str, Answer], chat: list[str], completion: list[str]
) -> AsyncIterator[Replay]:
    """A server that plays a recording."""
    server = Replay(answers, chat)
    server.completion = list(completion)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, server.serve, 0)
        port = listeners[0].socket.getsockname()[1]
        server.url = f"http://127.0.0.1:{port}"
        yield server
        nursery.cancel_scope.cancel()
