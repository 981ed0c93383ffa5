"""TCP for libp2p: a buffered stream, and listeners that notice a taken port.

libp2p reads a socket twice per Noise message and takes two locks each time, and its
listener sets SO_REUSEPORT, so that a second node on the same port steals half of the
first one's connections instead of failing.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import trio
from libp2p.abc import IListener, IRawConnection
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.tcp.tcp import TCP

from rowen.p2p.addresses import Multiaddr, host_of, ip_protocol, port_of
from rowen.protocol.errors import UserError

_READ_BYTES = 65_536


class TcpStream(ReadWriteCloser):
    """One TCP connection as libp2p wants to see it, reading as much as there is at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._remote = _remote_of(stream)

    async def read(self, n: int | None = None) -> bytes:
        """Return 1 to `n` bytes; b"" at the end of the stream.

        Returns without a checkpoint while bytes are buffered; the multiplexer above
        yields on behalf of all of it.

        Raises:
            ConnectionClosedError: The connection broke.
        """
        buffer = self._buffer
        if not buffer:
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except trio.BrokenResourceError as error:
                raise ConnectionClosedError(f"connection broke: {error}") from error
            except trio.ClosedResourceError:
                return b""
            if n is None or len(data) <= n:
                return bytes(data)
            buffer += data
        if n is None:
            n = len(buffer)
        taken = bytes(buffer[:n])
        del buffer[:n]
        return taken

    async def write(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            ConnectionClosedError: The connection broke or is closed.
        """
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError(f"connection broke: {error}") from error

    async def close(self) -> None:
        """Close the socket."""
        await self._stream.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's address and port."""
        return self._remote


def _remote_of(stream: trio.SocketStream) -> tuple[str, int] | None:
    try:
        name = stream.socket.getpeername()
    except OSError:
        # The peer hung up before we looked.
        return None
    return str(name[0]), int(name[1])


class Transport(TCP):
    """Dials TCP addresses; never listens, because `bind` does that better."""

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Connect to an IP or DNS address.

        Raises:
            OpenConnectionError: Nobody answers there.
        """
        try:
            stream = await trio.open_tcp_stream(host_of(maddr), port_of(maddr))
        except OSError as error:
            raise OpenConnectionError(f"cannot connect to {maddr}: {error}") from error
        return RawConnection(TcpStream(stream), True)


class BoundListener(IListener):
    """Sockets already listening, shown to libp2p so that it knows our addresses."""

    def __init__(self, sockets: Sequence[trio.SocketListener]) -> None:
        self.sockets = sockets

    async def listen(self, maddr: Multiaddr) -> None:
        """Do nothing: the sockets listen since `bind`."""

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the bound addresses, wildcards included, with the ports in use."""
        names = [listener.socket.getsockname() for listener in self.sockets]
        return tuple(
            Multiaddr(f"/{ip_protocol(host)}/{host}/tcp/{port}") for host, port, *_ in names
        )

    async def close(self) -> None:
        """Close the sockets."""
        for listener in self.sockets:
            await listener.aclose()


async def bind(address: Multiaddr) -> BoundListener:
    """Listen on `address` (`/ip4/…/tcp/…`); port 0 takes a free one.

    Raises:
        UserError: The port is taken, reserved, or the address is not this machine's.
    """
    host, port = host_of(address), port_of(address)
    try:
        return BoundListener(await trio.open_tcp_listeners(port, host=host))
    except OSError as error:
        raise UserError(_why_not(error, host, port)) from error


def _why_not(error: OSError, host: str, port: int) -> str:
    causes = [error, error.__cause__]
    if isinstance(error.__cause__, BaseExceptionGroup):
        causes += error.__cause__.exceptions
    codes = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if errno.EADDRINUSE in codes:
        return (
            f"port {port} on {host} is taken, perhaps by another rowen node; "
            f"stop that program or listen on another port (0 picks a free one)"
        )
    if errno.EACCES in codes:
        return f"port {port} needs special rights; listen on a port above 1023"
    if errno.EADDRNOTAVAIL in codes:
        return f"{host} is not an address of this machine; 0.0.0.0 listens on all that are"
    return f"cannot listen on {host} port {port}: {error}"
