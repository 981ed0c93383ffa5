"""The same messages without Rowen, over libp2p's own stream on our hardened host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

from benchmarks import trade
from benchmarks.plain import Wire, client_of, no_preparation, serve_wire
from benchmarks.side import Client
from benchmarks.whole import LOOPBACK
from rowen.p2p.addresses import parse_dial_address
from rowen.p2p.host import Libp2pNetwork, open_network

BARE = TProtocol("/rowen/bench/1")


class _BareWire:
    """libp2p's own stream, as its users get it, over our hardened connection."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        await self._stream.write(data)

    async def receive(self) -> bytes:
        return await self._stream.read(65_536)


@asynccontextmanager
async def libp2p_server() -> AsyncIterator[tuple[Any, Callable[[Any], None]]]:
    """Serves on a libp2p host."""

    async def serve(stream: INetStream) -> None:
        await serve_wire(_BareWire(stream))

    async with open_network(trade.PROVIDER.secret, listen=[LOOPBACK]) as network:
        # Past our own interface on purpose: what it adds is part of what is measured.
        cast(Libp2pNetwork, network)._host.set_stream_handler(BARE, serve)
        yield network.addresses[0], no_preparation


@asynccontextmanager
async def libp2p_client(address: str) -> AsyncIterator[Client]:
    """Opens libp2p streams on one connection."""
    async with open_network(trade.SESSION.secret) as network:
        inside = cast(Libp2pNetwork, network)
        conn = await inside._connect(parse_dial_address(address))

        async def dial() -> Wire:
            stream = await conn.new_stream()
            await inside._select.select_one_of([BARE], MultiselectCommunicator(stream), 5)
            return _BareWire(stream)

        yield client_of(dial)
