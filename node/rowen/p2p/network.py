"""The narrow waist between Rowen and any peer-to-peer network.

Everything above `rowen.p2p` sees only `Network` and `Stream`. Two implementations
stand behind them: py-libp2p (`rowen.p2p.host`) and the simulator's in-memory network
(`rowen.testing.network`). Both pass one conformance suite, so a third (a faster
libp2p daemon, say) can take their place.

This module imports no transport, so that typing against it costs nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

JOB_PROTOCOL: Final = "/rowen/job/1"
"""The one libp2p protocol id: a long-lived session that carries many jobs."""

RECEIVE_BYTES_MAX: Final = 65_536
"""The most that one `Stream.receive` returns."""


class Stream(Protocol):
    """One long-lived, ordered, reliable byte stream to an authenticated peer.

    One task may send while another receives. Two tasks must not send at once, nor
    receive at once: that is a programming error and raises `RuntimeError`.
    """

    @property
    def peer_id(self) -> str:
        """The remote PeerId in base58 (`16Uiu2…`), proven by the handshake."""
        ...

    async def send(self, data: bytes) -> None:
        """Hand over all of `data`; returns when the transport has taken it.

        Safe against cancellation: a cancelled send happened whole, or not at all,
        or the stream is reset. The connection and its other streams never suffer.

        Raises:
            Unavailable: The stream is closed or reset, or the peer stopped reading.
        """
        ...

    async def receive(self) -> bytes:
        """Return the next 1 to 65,536 bytes, or `b""` once the peer closed its side.

        Cancellation never loses bytes.

        Raises:
            Unavailable: The stream was reset, or its connection died.
        """
        ...

    async def send_eof(self) -> None:
        """Close our sending side only; the peer may go on sending.

        Raises:
            Unavailable: The stream is closed or reset.
        """
        ...

    async def reset(self) -> None:
        """Drop the stream at once in both directions; unsent bytes are lost. Never raises."""
        ...

    async def aclose(self) -> None:
        """Close both directions. Never raises, and is bounded in time."""
        ...


StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]


class Network(Protocol):
    """This node's place in the network: who it is, where it is, and how to reach others."""

    @property
    def peer_id(self) -> str:
        """Our PeerId in base58; it carries the operator key."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Dialable multiaddrs that end in `/p2p/<our id>`; never a wildcard such as 0.0.0.0."""
        ...

    async def dial(self, address: str) -> Stream:
        """Open a job stream to the peer at `address`, a full multiaddr with `/p2p/<PeerId>`.

        A connection that is already up to that peer is reused.

        Raises:
            UserError: The address is malformed or of a kind we cannot dial.
            Unavailable: Nobody answers there, the peer refused us, or it could not
                prove that it is `<PeerId>`.
        """
        ...

    def set_handler(self, handler: StreamHandler) -> None:
        """Serve inbound job streams with `handler`, one task each.

        The stream is closed when the handler returns and reset when it raises; its
        exception costs that stream only. Until a handler is set, peers are refused.
        """
        ...
