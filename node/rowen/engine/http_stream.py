"""One streamed answer over HTTP/1.1, on a connection of its own: closing it cancels the work.

httpx is for questions with short answers. Its streams are nested generators, which cannot be left
half-way under trio without leaving some to the garbage collector; and here nearly every answer
may be left half-way.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, urlsplit

import h11
import trio

from rowen.protocol.errors import Unavailable

RECEIVE_BYTES = 64 * 1024
CONNECT_S = 10.0
REFUSAL_BYTES_MAX = 4096


class AnswerStream:
    """The body of an answer as it arrives.

    Attributes:
        status: HTTP's.
    """

    def __init__(self, stream: trio.abc.Stream, silence_s_max: float) -> None:
        self._stream = stream
        self._silence_s_max = silence_s_max
        self._http = h11.Connection(h11.CLIENT)
        self.status = 0

    async def ask(self, request: h11.Request, body: bytes) -> None:
        """Sends the request and waits for the answer's head.

        Raises:
            Unavailable: The connection broke, or what came is no HTTP.
        """
        parts = [self._http.send(request), self._http.send(h11.Data(data=body))]
        parts.append(self._http.send(h11.EndOfMessage()))
        try:
            await self._stream.send_all(b"".join(part or b"" for part in parts))
        except (trio.BrokenResourceError, OSError) as error:
            raise _broken_off(error) from error
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise Unavailable("the engine closed the connection without an answer")
        self.status = event.status_code

    async def receive(self) -> bytes:
        """Some more of the body; empty at its end.

        Raises:
            Unavailable: The connection broke, or nothing came for too long.
        """
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return b""

    async def refusal(self) -> bytes:
        """The beginning of a body that is no answer."""
        found = b""
        while len(found) < REFUSAL_BYTES_MAX and (raw := await self.receive()):
            found += raw
        return found

    async def _next(self) -> h11.Event:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                with trio.fail_after(self._silence_s_max):
                    self._http.receive_data(bytes(await self._stream.receive_some(RECEIVE_BYTES)))
        except trio.TooSlowError as error:
            raise Unavailable(f"the engine was silent for {self._silence_s_max:g} s") from error
        except (trio.BrokenResourceError, OSError, h11.RemoteProtocolError) as error:
            raise _broken_off(error) from error
        if event is h11.PAUSED:
            return h11.EndOfMessage()
        assert not isinstance(event, type)
        return event


@asynccontextmanager
async def post(
    url: str, body: bytes, *, api_key: str, silence_s_max: float
) -> AsyncIterator[AnswerStream]:
    """Posts JSON; the connection is closed with the block.

    Args:
        url: ``http`` or ``https``.
        body: Encoded JSON.
        api_key: Shown as a bearer key, unless it is empty.
        silence_s_max: How long the engine may say nothing.

    Raises:
        Unavailable: It cannot be reached.
    """
    address = urlsplit(url)
    headers = [
        ("Host", address.netloc.rpartition("@")[2]),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Accept", "text/event-stream"),
        ("Connection", "close"),
    ]
    if api_key:
        headers.append(("Authorization", f"Bearer {api_key}"))
    target = address.path + (f"?{address.query}" if address.query else "")
    stream = await _connect(address)
    try:
        answer = AnswerStream(stream, silence_s_max)
        await answer.ask(h11.Request(method="POST", target=target, headers=headers), body)
        yield answer
    finally:
        # Not politely: the engine must notice at once, whatever it has still to say.
        await trio.aclose_forcefully(stream)


async def _connect(address: SplitResult) -> trio.abc.Stream:
    host, is_secret = address.hostname or "", address.scheme == "https"
    try:
        with trio.fail_after(CONNECT_S):
            stream = await trio.open_tcp_stream(host, address.port or (443 if is_secret else 80))
            if not is_secret:
                return stream
            context = ssl.create_default_context()
            secret = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
            await secret.do_handshake()
            return secret
    except (trio.TooSlowError, trio.BrokenResourceError, OSError) as error:
        raise Unavailable(f"the engine cannot be reached at {address.netloc}: {error!r}") from error


def _broken_off(error: Exception) -> Unavailable:
    return Unavailable(f"the engine broke off: {error!r}")
