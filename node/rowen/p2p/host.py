"""The real network: py-libp2p, hardened, with the operator key as identity."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

import trio
from libp2p.abc import INetStream
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError
from libp2p.tools.anyio_service import background_trio_service

from rowen.p2p.addresses import DialTarget, dialable, parse_dial_address, parse_listen_address
from rowen.p2p.hardening.swarm import HardenedSwarm, muxed_stream_of, release
from rowen.p2p.hardening.tcp import BoundListener, bind
from rowen.p2p.hardening.yamux import Yamux
from rowen.p2p.hardening.yamux_stream import READ_BYTES
from rowen.p2p.limits import Limits
from rowen.p2p.network import JOB_PROTOCOL, Network, Stream, StreamHandler
from rowen.p2p.scopes import shielded, single_error
from rowen.protocol.errors import PeerError, Unavailable, UserError

log = logging.getLogger(__name__)

_KEY_BYTES = 32


class Libp2pStream:
    """A `Stream` over one negotiated libp2p stream."""

    def __init__(self, stream: INetStream, limits: Limits) -> None:
        self._net = stream
        # Straight to our Yamux: libp2p's wrapper adds a lock to every read and write.
        self._muxed = muxed_stream_of(stream)
        self._peer_id = str(self._muxed.muxed_conn.peer_id)
        self._limits = limits
        self._is_sending = False
        self._is_receiving = False

    @property
    def peer_id(self) -> str:
        """The remote PeerId, proven by Noise."""
        return self._peer_id

    async def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        if self._is_sending:
            raise RuntimeError("another task is sending on this stream")
        self._is_sending = True
        try:
            await self._muxed.write(data)
        except MuxedStreamError as error:
            raise Unavailable(f"stream to {self._peer_id}: {error}") from error
        finally:
            self._is_sending = False

    async def receive(self) -> bytes:
        """See `Stream.receive`."""
        if self._is_receiving:
            raise RuntimeError("another task is receiving on this stream")
        self._is_receiving = True
        try:
            return await self._muxed.read(READ_BYTES)
        except MuxedStreamEOF:
            return b""
        except MuxedStreamError as error:
            raise Unavailable(f"stream from {self._peer_id}: {error}") from error
        finally:
            self._is_receiving = False

    async def send_eof(self) -> None:
        """See `Stream.send_eof`."""
        await self._muxed.close()

    async def reset(self) -> None:
        """See `Stream.reset`."""
        with shielded(self._limits.close_s):
            await release(self._net, reset=True)

    async def aclose(self) -> None:
        """See `Stream.aclose`."""
        with shielded(self._limits.close_s):
            await release(self._net, reset=False)


class Libp2pNetwork:
    """A `Network` on a hardened swarm."""

    def __init__(self, swarm: HardenedSwarm, limits: Limits) -> None:
        self._swarm = swarm
        self._limits = limits
        self._listeners: list[BoundListener] = []
        self._handler: StreamHandler | None = None
        self._select = MultiselectClient()
        self._dialling: dict[ID, trio.Lock] = {}
        self._host = BasicHost(swarm, disable_identify_address_discovery=True)
        # Fewer doors: peers are known by address and key, so identify and ping, which stock
        # hosts answer and run on every connection, would only cost time.
        self._host.multiselect.handlers.clear()
        swarm.notifees.clear()

    @property
    def peer_id(self) -> str:
        """Our PeerId."""
        return str(self._swarm.get_peer_id())

    @property
    def addresses(self) -> tuple[str, ...]:
        """Dialable multiaddrs with our PeerId."""
        bound = [address for listener in self._listeners for address in listener.get_addrs()]
        return dialable(bound, self._swarm.get_peer_id())

    def set_handler(self, handler: StreamHandler) -> None:
        """See `Network.set_handler`."""
        self._handler = handler
        self._host.set_stream_handler(TProtocol(JOB_PROTOCOL), self._on_stream)

    async def _on_stream(self, net_stream: INetStream) -> None:
        """Serve one inbound stream; `HardenedSwarm` isolates what it raises and closes it."""
        muxed_stream_of(net_stream).widen(self._limits.window_bytes)
        stream = Libp2pStream(net_stream, self._limits)
        assert self._handler is not None
        try:
            await self._handler(stream)
        except (PeerError, Unavailable) as error:
            log.info("job stream ended", extra={"peer": stream.peer_id, "error": str(error)})
            await stream.reset()

    async def dial(self, address: str) -> Stream:
        """See `Network.dial`."""
        target = parse_dial_address(address)
        if target.peer == self._swarm.get_peer_id():
            raise UserError(f"{address} is this node itself")
        try:
            with trio.fail_after(self._limits.dial_s):
                return await self._dial(target)
        except trio.TooSlowError as error:
            raise Unavailable(f"{address} did not answer in {self._limits.dial_s:g} s") from error
        except (BaseLibp2pError, OSError) as error:
            raise Unavailable(f"cannot reach {address}: {_chain(error)}") from error

    async def _dial(self, target: DialTarget) -> Stream:
        for conn in self._connections(target.peer):
            patience_s = self._limits.dial_s / 3
            try:
                with trio.fail_after(patience_s):
                    return await self._open(conn)
            except (BaseLibp2pError, trio.TooSlowError):
                muxed = cast(Yamux, conn.muxed_conn)
                if muxed.is_established and muxed.silent_s < patience_s:
                    # The connection is well and may carry other jobs: it is a refusal.
                    raise
                # Up on paper only: the peer moved or lost its network (row 9).
                await conn.close()
        return await self._open(await self._connect(target))

    async def _connect(self, target: DialTarget) -> SwarmConn:
        """Connect, one dial at a time to one peer, or jobs that start together would each."""
        lock = self._dialling.setdefault(target.peer, trio.Lock())
        try:
            async with lock:
                made_meanwhile = self._connections(target.peer)
                if made_meanwhile:
                    return made_meanwhile[0]
                return await self._swarm.connect(target.peer, target.address)
        finally:
            if not lock.locked():
                self._dialling.pop(target.peer, None)

    def _connections(self, peer: ID) -> list[SwarmConn]:
        conns = self._swarm.get_connections(peer)
        return [cast(SwarmConn, conn) for conn in conns if not conn.is_closed]

    async def _open(self, conn: SwarmConn) -> Stream:
        """Open a stream on `conn` and agree on the job protocol."""
        net_stream = await conn.new_stream()
        try:
            await self._select.select_one_of(
                [TProtocol(JOB_PROTOCOL)],
                MultiselectCommunicator(net_stream),
                max(1, int(self._limits.dial_s)),
            )
        except BaseException:
            with shielded(self._limits.close_s):
                await release(net_stream, reset=True)
            raise
        net_stream.set_protocol(TProtocol(JOB_PROTOCOL))
        return Libp2pStream(net_stream, self._limits)


def _chain(error: BaseException) -> str:
    """Return the messages of `error` and its causes; libp2p hides the reason in the causes."""
    messages: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause) or type(cause).__name__
        if text not in messages:
            messages.append(text)
        cause = cause.__cause__
    return ": ".join(messages)


def peer_id_of(key: bytes) -> ID:
    """Return the PeerId of a 32-byte secp256k1 private key.

    Raises:
        UserError: It is not such a key. The message does not show it.
    """
    if len(key) != _KEY_BYTES:
        raise UserError(f"the operator key has {len(key)} bytes; expected {_KEY_BYTES}")
    try:
        return ID.from_pubkey(create_new_key_pair(key).public_key)
    except ValueError as error:
        raise UserError("the operator key is not a valid secp256k1 key") from error


@asynccontextmanager
async def open_network(
    key: bytes,
    *,
    listen: Sequence[str] = (),
    limits: Limits | None = None,
) -> AsyncIterator[Network]:
    """Run a libp2p node: the operator key as identity, Noise, Yamux, one protocol.

    Args:
        key: 32-byte secp256k1 private key; the PeerId and the EVM address come from it.
        listen: Multiaddrs such as `/ip4/0.0.0.0/tcp/4001`; port 0 takes a free one. A node
            that listens on nothing can dial.
        limits: What peers may cost us.

    Raises:
        UserError: The key is not a key, an address is malformed, or a port is taken.
    """
    limits = limits or Limits()
    peer_id_of(key)
    swarm = HardenedSwarm(create_new_key_pair(key), limits)
    network = Libp2pNetwork(swarm, limits)
    async with AsyncExitStack() as stack:
        for address in listen:
            listener = await bind(parse_listen_address(address))
            stack.push_async_callback(listener.close)
            network._listeners.append(listener)
            swarm.listeners[address] = listener
        # Nurseries wrap what the caller's block raises; it should come out as it went in.
        stack.enter_context(single_error())
        await stack.enter_async_context(background_trio_service(swarm))
        nursery = await stack.enter_async_context(trio.open_nursery())
        sockets = [each for listener in network._listeners for each in listener.sockets]
        if sockets:
            await nursery.start(trio.serve_listeners, swarm.serve_inbound, sockets)
        yield network
        nursery.cancel_scope.cancel()
