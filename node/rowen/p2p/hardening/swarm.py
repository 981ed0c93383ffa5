"""libp2p's swarm with its entry points guarded (rows 1, 4, 8, 11, 12 and 13)."""

from __future__ import annotations

import logging
from typing import cast

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream
from libp2p.crypto.keys import KeyPair
from libp2p.custom_types import StreamHandlerFn
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore, PeerStoreError

from rowen.p2p.addresses import Multiaddr
from rowen.p2p.hardening.admission import Admission
from rowen.p2p.hardening.tcp import TcpStream, Transport
from rowen.p2p.hardening.upgrade import upgrader
from rowen.p2p.hardening.yamux import Yamux
from rowen.p2p.hardening.yamux_stream import YamuxStream
from rowen.p2p.limits import Limits
from rowen.p2p.scopes import shielded

log = logging.getLogger(__name__)


class HardenedSwarm(Swarm):
    """A swarm that no peer can kill, fill up or talk into plaintext.

    libp2p's own limits, health checks, dial cache and background dialling are all off;
    what replaces them is here and in `Yamux`.
    """

    def __init__(self, keys: KeyPair, limits: Limits) -> None:
        peer_id = ID.from_pubkey(keys.public_key)
        peerstore = PeerStore()
        peerstore.add_key_pair(peer_id, keys)
        super().__init__(
            peer_id,
            peerstore,
            upgrader(keys, limits),
            transports=[Transport()],
            connection_config=_config(limits),
        )
        self.limits = limits
        self.admission = Admission(limits)

    def set_stream_handler(self, stream_handler: StreamHandlerFn) -> None:
        """Handle inbound streams; every way to set a handler passes here, so all are guarded."""
        super().set_stream_handler(_guarded(stream_handler))

    async def serve_inbound(self, socket: trio.SocketStream) -> None:
        """Serve one accepted TCP connection until it ends; whatever it does stays in here."""
        stream = TcpStream(socket)
        remote = stream.get_remote_address()
        scope = trio.CancelScope()
        ticket = remote and self.admission.admit(remote[0], trio.current_time(), scope.cancel)
        if not ticket:
            await trio.aclose_forcefully(socket)
            return
        try:
            with scope:
                raw = RawConnection(stream, False)
                address = cast(Multiaddr, self._build_remote_multiaddr(stream))
                conn = cast(Yamux, await self.upgrade_inbound_raw_conn(raw, address))
                self.admission.prove(ticket)
                # The slot is held exactly as long as the connection lives (row 4).
                await conn.event_closed.wait()
        except Exception as error:  # noqa: BLE001 - one peer's connection is isolated here
            log.debug("inbound connection failed", extra={"error": repr(error)})
        finally:
            self.admission.release(ticket)
            await trio.aclose_forcefully(socket)

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """Register a connection whose peer has proven its identity.

        Raises:
            SwarmException: The peer has its share of connections already.
        """
        if direction == "inbound":
            held = [
                conn
                for conn in self.get_connections(muxed_conn.peer_id)
                if not conn.is_closed and not conn.muxed_conn.is_initiator
            ]
            if len(held) >= self.limits.connections_per_peer_max:
                await muxed_conn.close()
                raise SwarmException(f"{len(held)} connections from {muxed_conn.peer_id}")
        return await super().add_conn(muxed_conn, direction)

    def _schedule_prune(self) -> None:
        """Do nothing: libp2p would close connections above its watermark, paid jobs included."""

    async def connect(self, peer: ID, address: Multiaddr) -> SwarmConn:
        """Dial exactly this address and check that `peer` answers.

        No cache of failures, no retries and no head start for another address (rows 8, 13):
        the caller knows which address it means and how long it will wait.

        Raises:
            OpenConnectionError: Nobody answers there.
            SwarmException: Somebody answers who cannot prove to be `peer`, or hangs up.
        """
        transport = self.transport_manager.transport_for_dialing(address)
        if transport is None:
            raise SwarmException(f"no transport for {address}")
        raw = await transport.dial(address)
        try:
            return await self.upgrade_outbound_raw_conn(raw, peer)
        except BaseException:
            with shielded(self.limits.close_s):
                await raw.close()
            raise

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """Connect through the first of the peer's known addresses that works.

        Raises:
            SwarmException: None is known, or none works.
        """
        alive = [conn for conn in self.get_connections(peer_id) if not conn.is_closed]
        if alive:
            return alive
        try:
            addresses = self.peerstore.addrs(peer_id)
        except PeerStoreError as error:
            raise SwarmException(f"no known addresses to peer {peer_id}") from error
        for address in addresses:
            try:
                with trio.fail_after(self.limits.dial_s):
                    return [await self.connect(peer_id, address)]
            except (BaseLibp2pError, OSError, trio.TooSlowError) as error:
                log.debug("dial failed", extra={"address": str(address), "error": repr(error)})
        raise SwarmException(f"none of {len(addresses)} addresses of peer {peer_id} works")


def _config(limits: Limits) -> ConnectionConfig:
    """Turn libp2p's own connection management off.

    Its auto-connector dials strangers out of the peer store until there are as many
    connections as the mean of the watermarks; with both at zero it has nothing to do.
    """
    return ConnectionConfig(
        max_connections=1 << 30,
        min_connections=0,
        low_watermark=0,
        high_watermark=0,
        max_connections_per_peer=1 << 30,
        auto_connect_interval=86_400.0,
        inbound_upgrade_timeout=limits.handshake_s,
        outbound_upgrade_timeout=limits.handshake_s,
        inbound_stream_protocol_negotiation_timeout=max(1.0, limits.negotiate_s),
        outbound_stream_protocol_negotiation_timeout=max(1.0, limits.negotiate_s),
    )


def _guarded(handler: StreamHandlerFn) -> StreamHandlerFn:
    """Return a handler that no exception leaves and whose stream is always given back.

    Row 1: the stock swarm runs handlers in the host's own nursery, so one that raises, even
    because a peer sent bad UTF-8 while negotiating, ends the process. Row 12: a handler that
    returns without closing leaks the stream.
    """

    async def guarded(stream: INetStream) -> None:
        is_clean = False
        try:
            await handler(stream)
            is_clean = True
        except Exception as error:  # noqa: BLE001 - one peer's stream is isolated here
            log.info("stream handler failed", extra={"error": repr(error)})
        finally:
            with shielded(2):
                await release(stream, reset=not is_clean)

    return guarded


def muxed_stream_of(stream: INetStream) -> YamuxStream:
    """Return our Yamux stream under libp2p's wrapper."""
    return cast(YamuxStream, cast(NetStream, stream).muxed_stream)


async def release(stream: INetStream, *, reset: bool) -> None:
    """Close or reset a stream and let go of what it holds here. Never raises."""
    try:
        if reset:
            await stream.reset()
        else:
            muxed_stream_of(stream).abandon()
            await stream.close()
    except (BaseLibp2pError, OSError, trio.BrokenResourceError) as error:
        log.debug("releasing a stream failed", extra={"error": repr(error)})
