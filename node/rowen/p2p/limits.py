"""Every limit of the transport, in one frozen object with working defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what peers may cost us. All must be positive.

    Worst case held for one peer id, by default: two connections of 4 MiB unread input.

    Attributes:
        connections_max: Inbound TCP connections at once, handshaken or not.
        connections_per_ip_max: The same from one address (IPv6: one /64).
        connections_per_peer_max: Inbound connections at once that one PeerId may hold.
        handshakes_max: Inbound connections at once that have not proven an identity; when
            it is reached, the oldest of them is dropped for the newcomer.
        handshakes_per_ip_max: The same from one address; there, the newcomer is refused.
        handshake_s: Time to prove an identity and agree on a multiplexer.
        connects_per_ip_per_s: Sustained rate of new connections from one address.
        connects_per_ip_burst: How many of them may come at once.
        dial_s: Time for a whole `Network.dial`, from TCP to an agreed protocol.
        negotiate_s: Time for a new inbound stream to name its protocol.
        streams_per_connection_max: Streams open at once on one connection, both directions.
        unnegotiated_streams_max: Inbound streams on one connection that have named no protocol.
        streams_per_s: Sustained rate of new inbound streams on one connection.
        streams_burst: How many of them may come at once.
        frames_per_s: Sustained rate of frames that we handle on one inbound connection, where an
            encrypted packet counts as one, too; of a peer that sends more we read more slowly.
        frames_burst: How many of them are handled at once.
        window_bytes: Unread input that we let one negotiated stream send ahead; at least the
            256 KiB that Yamux grants from the start.
        unread_bytes_max: Unread input on one connection, all streams together; the stream
            that passes it is reset.
        outbox_bytes_max: Unsent output on one connection. Senders wait at a quarter of it;
            a peer whose questions fill it without reading answers is dropped.
        stall_s: How long a peer may stop reading before its stream, or its connection if
            nothing at all moves, is reset.
        ping_s: Silence on a connection after which we ask whether it lives.
        silence_s: Silence after which it is dropped.
        idle_s: How long an inbound connection may stand without any stream.
        linger_s: How long a stream we closed waits for the peer to close its side.
        close_s: Time to flush and close one connection or stream.
    """

    connections_max: int = 512
    connections_per_ip_max: int = 64
    connections_per_peer_max: int = 2
    handshakes_max: int = 64
    handshakes_per_ip_max: int = 16
    handshake_s: float = 10.0
    connects_per_ip_per_s: float = 10.0
    connects_per_ip_burst: int = 64
    dial_s: float = 15.0
    negotiate_s: float = 10.0
    streams_per_connection_max: int = 200
    unnegotiated_streams_max: int = 16
    streams_per_s: float = 50.0
    streams_burst: int = 200
    frames_per_s: float = 2000.0
    frames_burst: int = 4000
    window_bytes: int = 1 << 20
    unread_bytes_max: int = 4 << 20
    outbox_bytes_max: int = 512 << 10
    stall_s: float = 30.0
    ping_s: float = 15.0
    silence_s: float = 45.0
    idle_s: float = 120.0
    linger_s: float = 30.0
    close_s: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise ValueError(f"{field.name} is {value}; it must be positive")
