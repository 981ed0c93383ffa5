"""The same messages without Rowen, over a plain TCP socket; ``bare`` has them over libp2p.

A job is four kinds of message of the sizes that Rowen's have: the client asks, the answer comes
in messages at the engine's pace, a bill follows, and the client pays. Nothing is encoded,
signed, checked or kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from struct import Struct
from typing import Any, Protocol

import trio

from benchmarks import trade
from benchmarks.side import Client, Lags, Load, message_sizes, stamp
from rowen.protocol import messages
from rowen.protocol.messages import Bill, Chunk, Pay, Signed

HEADER_BYTES = 5

_ASK = Struct("!IIId")
"""Messages of the answer, bytes of each, tokens in each, tokens per second or 0."""

_SIGNED = Signed(bytes(512), bytes(64))
_BILL = bytes(HEADER_BYTES + len(messages.encode(Bill(_SIGNED, bytes(32), "stop"))))
_PAY = bytes(HEADER_BYTES + len(messages.encode(Pay(Signed(bytes(160), bytes(64))))))
_ASK_BYTES = HEADER_BYTES + len(messages.encode(trade.submit(0)))


class Wire(Protocol):
    """One byte stream."""

    async def send(self, data: bytes) -> None:
        """Sends all of it."""

    async def receive(self) -> bytes:
        """The next bytes, or none at the end."""


Dial = Callable[[], Awaitable[Wire]]


async def serve_wire(wire: Wire) -> None:
    """Answers one ask after the other."""
    reader = _Reader(wire)
    while ask := await reader.read(_ASK_BYTES):
        count, size, tokens, rate_per_s = _ASK.unpack_from(ask)
        began = trio.current_time()
        body = bytes(size - HEADER_BYTES - len(stamp()))
        for number in range(count):
            if rate_per_s:
                await trio.sleep_until(began + number * tokens / rate_per_s)
            await wire.send(stamp().encode() + body + bytes(HEADER_BYTES))
        await wire.send(_BILL)
        await reader.read(len(_PAY))


async def _ask(reader: _Reader, load: Load, lags: Lags) -> None:
    count, tokens = message_sizes(load)
    text = stamp() + " word" * tokens
    size = HEADER_BYTES + len(messages.encode(Chunk(bytes(32), 1 << 16, 1 << 16, text)))
    ask = _ASK.pack(count, size, tokens, load.rate_per_s or 0)
    await reader.wire.send(ask.ljust(_ASK_BYTES, b"\0"))
    for _ in range(count):
        lags.note(await reader.read(size))
    await reader.read(len(_BILL))
    await reader.wire.send(_PAY)


class _Reader:
    """Cuts a stream into messages of known size."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._held = bytearray()

    async def read(self, size: int) -> bytes:
        """Exactly so many bytes; none when the peer ended first."""
        while len(self._held) < size:
            data = await self.wire.receive()
            if not data:
                return b""
            self._held += data
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


def client_of(dial: Dial) -> Client:
    """Runs loads over wires of its own, one for each stream and kept for the next load."""
    wires: list[_Reader] = []

    async def run(load: Load, lags: Lags) -> int:
        while len(wires) < load.streams:
            wires.append(_Reader(await dial()))

        async def stream(reader: _Reader) -> None:
            for _ in range(load.jobs):
                await _ask(reader, load, lags)

        async with trio.open_nursery() as nursery:
            for reader in wires[: load.streams]:
                nursery.start_soon(stream, reader)
        return load.streams * load.jobs * load.tokens

    return run


class _TcpWire:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive(self) -> bytes:
        return bytes(await self._stream.receive_some(65_536))


@asynccontextmanager
async def trio_server() -> AsyncIterator[tuple[Any, Callable[[Any], None]]]:
    """Serves on a TCP port."""

    async def serve(stream: trio.SocketStream) -> None:
        await serve_wire(_TcpWire(stream))

    async with trio.open_nursery() as nursery:
        listen = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        listeners = await nursery.start(listen)
        yield str(listeners[0].socket.getsockname()[1]), no_preparation
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def trio_client(port: str) -> AsyncIterator[Client]:
    """Connects to a TCP port."""

    async def dial() -> Wire:
        return _TcpWire(await trio.open_tcp_stream("127.0.0.1", int(port)))

    yield client_of(dial)


def no_preparation(_request: Any) -> None:
    """These servers are told with each ask what to do."""
