"""A peer that speaks the protocols well enough to abuse them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import trio
import trio.testing
from libp2p.exceptions import BaseLibp2pError
from tests.integration.p2p.worlds import HANG_S, LOOPBACK, key

from rowen.p2p.addresses import host_of, parse_dial_address, port_of
from rowen.p2p.hardening.swarm import HardenedSwarm
from rowen.p2p.hardening.yamux import Yamux
from rowen.p2p.hardening.yamux_stream import HEADER, TYPE_DATA, YamuxStream
from rowen.p2p.host import Libp2pNetwork, Libp2pStream
from rowen.p2p.limits import Limits
from rowen.p2p.network import Network, Stream

MULTISTREAM = b"\x13/multistream/1.0.0\n"


@asynccontextmanager
async def node(
    name: object,
    *,
    limits: Limits | None = None,
    listen: tuple[str, ...] = (LOOPBACK,),
    hang_s: float = HANG_S,
) -> AsyncIterator[Network]:
    """Run a real node, for a bounded time."""
    from rowen.p2p.host import open_network

    with trio.fail_after(hang_s):
        async with open_network(key(name), listen=listen, limits=limits) as network:
            yield network


def swarm_of(network: Network) -> HardenedSwarm:
    """Reach into a node."""
    return cast(Libp2pNetwork, network)._swarm


def connections_of(network: Network) -> list[Yamux]:
    """Return a node's live connections."""
    conns = swarm_of(network).get_connections()
    return [cast(Yamux, conn.muxed_conn) for conn in conns if not conn.is_closed]


def protocols_of(network: Network) -> tuple[str | None, ...]:
    """Return what a node offers on a new stream."""
    return cast(Libp2pNetwork, network)._host.multiselect.get_protocols()


def muxed_of(stream: Stream) -> YamuxStream:
    """Reach under a stream."""
    return cast(Libp2pStream, stream)._muxed


async def connect(attacker: Network, address: str) -> Yamux:
    """Connect, prove our identity, and go no further."""
    target = parse_dial_address(address)
    conn = await swarm_of(attacker).connect(target.peer, target.address)
    return cast(Yamux, conn.muxed_conn)


async def write_raw(conn: Yamux, data: bytes) -> None:
    """Put bytes where Yamux frames should be."""
    await conn.secured_conn.write(data)


def data_frame(stream: YamuxStream, size: int) -> bytes:
    """Build a DATA frame that asks nobody for credit."""
    return HEADER.pack(0, TYPE_DATA, 0, stream.stream_id, size) + bytes(size)


async def read_to_the_end(stream: YamuxStream) -> None:
    """Read until the stream ends, in whichever way it does."""
    with contextlib.suppress(BaseLibp2pError):
        while True:
            await stream.read()


async def flood_until_dropped(
    conn: Yamux, data: bytes, times: int, measure: Callable[[], int]
) -> int:
    """Write `data` again and again until the peer has enough; return the peak of `measure`."""
    peak = 0
    try:
        for _ in range(times):
            await write_raw(conn, data)
            peak = max(peak, measure())
    except BaseLibp2pError:
        return peak
    raise AssertionError(f"the peer took {times} × {len(data)} bytes")


async def open_tcp(address: str, source: str = "127.0.0.1") -> trio.SocketStream:
    """Open a TCP connection from one of loopback's many addresses."""
    target = parse_dial_address(address).address
    sock = trio.socket.socket()
    await sock.bind((source, 0))
    await sock.connect((host_of(target), port_of(target)))
    return trio.SocketStream(sock)


async def says_hello(client: Network, address: str) -> None:
    """Check that an honest client is served by an echoing node."""
    stream: Stream = await client.dial(address)
    await stream.send(b"hello")
    assert await stream.receive() == b"hello"
    await stream.aclose()


async def until(condition: Callable[[], object]) -> None:
    """Wait until a thing that other tasks bring about has come about."""
    with trio.fail_after(20):
        while not condition():
            await trio.lowlevel.checkpoint()


async def until_blocked(condition: Callable[[], object]) -> None:
    """Do the same on a clock that stands still."""
    for _ in range(1000):
        if condition():
            return
        await trio.testing.wait_all_tasks_blocked(0.005)
    raise AssertionError("it never came about")
