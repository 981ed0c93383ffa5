"""From a TCP connection to an authenticated, multiplexed one: Noise and our Yamux, nothing else.

Row 3: a stock host also offers plaintext and secio, with which anyone can claim any PeerId.
Row 13: the stock negotiator builds its own Yamux whatever `muxer_opt` says.
"""

from __future__ import annotations

from typing import cast

from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519
from libp2p.custom_types import TMuxerClass, TMuxerOptions, TProtocol, TSecurityOptions
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.transport.upgrader import TransportUpgrader

from rowen.p2p.hardening.yamux import PROTOCOL_ID as YAMUX_ID
from rowen.p2p.hardening.yamux import Yamux
from rowen.p2p.limits import Limits


class Muxers(MuxerMultistream):
    """Agrees on Yamux and builds ours."""

    def __init__(self, options: TMuxerOptions, limits: Limits) -> None:
        super().__init__(options, negotiate_timeout=max(1, int(limits.handshake_s)))
        self._limits = limits

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Negotiate over `conn` and return the multiplexed connection, not started yet."""
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(Yamux(conn, peer_id, self._limits), conn, protocol)


def upgrader(keys: KeyPair, limits: Limits) -> TransportUpgrader:
    """Return what secures and multiplexes every connection of a host with these keys."""
    security: TSecurityOptions = {
        NOISE_ID: NoiseTransport(keys, noise_privkey=create_new_x25519().private_key)
    }
    muxers: TMuxerOptions = {TProtocol(YAMUX_ID): cast(TMuxerClass, Yamux)}
    result = TransportUpgrader(security, muxers)
    result.muxer_multistream = Muxers(muxers, limits)
    return result
