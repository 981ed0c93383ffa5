"""Two worlds with the same promises: sockets with libp2p, and memory."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import trio

from rowen.p2p.limits import Limits
from rowen.p2p.network import Network, Stream
from rowen.testing.network import MemoryHub

Kind = Literal["memory", "libp2p"]
KINDS: tuple[Kind, ...] = ("memory", "libp2p")

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
HANG_S = 60.0
"""Ends a test that would hang; far beyond anything that is asserted."""

MakeNode = Callable[..., Awaitable[Network]]


def key(name: object) -> bytes:
    """Return a private key that belongs to `name`."""
    return hashlib.sha256(str(name).encode()).digest()


@dataclass
class World:
    """Makes nodes; every one is called by its key's name."""

    kind: Kind
    node: MakeNode


@asynccontextmanager
async def world(kind: Kind, limits: Limits | None = None, seed: int = 1) -> AsyncIterator[World]:
    """Open a world and everything in it."""
    with trio.fail_after(HANG_S):
        async with AsyncExitStack() as stack:
            if kind == "memory":
                hub = await stack.enter_async_context(MemoryHub(random.Random(seed), limits))

                async def memory_node(name: object, **_: object) -> Network:
                    return hub.network(key(name))

                yield World(kind, memory_node)
                return

            from rowen.p2p.host import open_network

            async def libp2p_node(name: object, listen: tuple[str, ...] = (LOOPBACK,)) -> Network:
                node = open_network(key(name), listen=listen, limits=limits)
                return await stack.enter_async_context(node)

            yield World(kind, libp2p_node)


async def echo(stream: Stream) -> None:
    """Send back whatever comes."""
    while data := await stream.receive():
        await stream.send(data)


async def pour(stream: Stream, piece: bytes = bytes(65_536)) -> None:
    """Send for ever."""
    while True:
        await stream.send(piece)


async def read_all(stream: Stream) -> bytes:
    """Read to the end."""
    data = bytearray()
    while chunk := await stream.receive():
        data += chunk
    return bytes(data)


async def read_exactly(stream: Stream, size: int) -> bytes:
    """Read `size` bytes."""
    data = bytearray()
    while len(data) < size:
        chunk = await stream.receive()
        assert chunk, f"the stream ended after {len(data)} of {size} bytes"
        data += chunk
    assert len(data) == size
    return bytes(data)
