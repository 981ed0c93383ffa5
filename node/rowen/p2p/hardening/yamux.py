"""Our own Yamux in place of libp2p's (rows 5, 6, 7, 9, 11 and 12).

The stock multiplexer corrupts the connection when a write is cancelled, loses bytes when
a read is, never enforces the receive window, and lets one peer open streams without end.
Patching each of these left little of it, so this is the specification anew
(https://github.com/hashicorp/yamux/blob/master/spec.md), around two rules:

* One task reads the connection and one writes it. Everyone else changes state between
  awaits and appends whole frames to the outbox, so no cancellation can tear a frame.
* Whatever a peer can make us hold is bounded, and passing a bound costs it the connection.

Work is bounded, too: a few frames, then others have their turn; and of a peer that came to us,
so many a second. What is beyond waits in its own kernel.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.exceptions import IncompleteReadError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError

from rowen.p2p.addresses import Multiaddr
from rowen.p2p.hardening.yamux_stream import (
    FLAG_ACK,
    FLAG_FIN,
    FLAG_RST,
    FLAG_SYN,
    HEADER,
    HEADER_BYTES,
    TYPE_DATA,
    TYPE_GO_AWAY,
    TYPE_PING,
    TYPE_WINDOW,
    WINDOW_BYTES_INITIAL,
    YamuxStream,
)
from rowen.p2p.limits import Limits
from rowen.p2p.rates import TokenBucket
from rowen.p2p.scopes import shielded

PROTOCOL_ID: Final = "/yamux/1.0.0"

_GO_AWAY_NORMAL, _GO_AWAY_PROTOCOL_ERROR = 0, 1
_FRAMES_PER_TURN: Final = 64
"""Frames handled before others get a turn: a peer may pack thousands into one read."""

log = logging.getLogger(__name__)


class _Violation(Exception):
    """The peer broke the Yamux specification or one of our bounds."""


class Yamux(IMuxedConn):
    """One authenticated connection that carries many streams.

    Attributes:
        limits: The bounds that hold here.
        unread_bytes: Input of all streams that nobody has read yet.
        waiting_for_room: Streams whose writers wait for the outbox to drain.
        failure: Why the connection ended; None while it lives.
    """

    def __init__(self, conn: ISecureConn, peer_id: ID, limits: Limits | None = None) -> None:
        self.peer_id = peer_id
        self.secured_conn = conn
        self.limits = limits or Limits()
        self.streams: dict[int, YamuxStream] = {}
        self.unread_bytes = 0
        self.waiting_for_room: set[YamuxStream] = set()
        self.failure: str | None = None
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.on_close: object = None  # libp2p sets a callback here; SwarmConn polls us instead
        self._is_initiator: bool = conn.is_initiator
        self._next_stream_id = 1 if self._is_initiator else 2
        self._syn_rate = TokenBucket(self.limits.streams_per_s, self.limits.streams_burst)
        self._frame_rate = TokenBucket(self.limits.frames_per_s, self.limits.frames_burst)
        # Frames since others had a turn.
        self._handled = 0
        self._accepted: deque[YamuxStream] = deque()
        self._acceptable = trio.lowlevel.ParkingLot()
        self._outbox = bytearray()
        self._has_output = trio.lowlevel.ParkingLot()
        self._write_began_s: float | None = None
        self._received_at_s = 0.0
        self._streamless_since_s = 0.0
        self._closing = False
        self._flushed = trio.Event()
        self._scope = trio.CancelScope()
        # Reader state: an incomplete header, or a DATA frame whose payload is still coming.
        self._header = bytearray()
        self._body_left = 0
        self._body_stream: YamuxStream | None = None
        self._fin_after_body = False

    # ---- life

    async def start(self) -> None:
        """Run the connection until it ends. Never raises for anything the peer does."""
        self._received_at_s = self._streamless_since_s = trio.current_time()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_loop)
                    nursery.start_soon(self._watch)
                    self.event_started.set()
                    await self._read_loop()
                    nursery.cancel_scope.cancel()
        except* (BaseLibp2pError, OSError) as errors:
            self.failure = self.failure or f"the connection broke: {errors.exceptions[0]}"
        except* Exception as errors:  # noqa: BLE001 - one peer's connection is isolated here
            self.failure = self.failure or f"the connection failed: {errors.exceptions[0]!r}"
        finally:
            self.event_started.set()
            await self._tear_down()

    async def close(self, error_code: int = _GO_AWAY_NORMAL) -> None:
        """Say goodbye, flush what is queued, and close; bounded by `Limits.close_s`."""
        if self.event_closed.is_set():
            return
        with trio.CancelScope(shield=True):
            if not self.event_started.is_set():
                await self._tear_down()
                return
            if not self._closing:
                self.queue(HEADER.pack(0, TYPE_GO_AWAY, 0, 0, error_code))
                self._closing = True
                self._has_output.unpark_all()
            with trio.move_on_after(self.limits.close_s):
                await self._flushed.wait()
            self.drop("connection closed here")
            with trio.move_on_after(self.limits.close_s):
                await self.event_closed.wait()

    def drop(self, why: str) -> None:
        """End the connection at once; does not wait."""
        self.failure = self.failure or why
        self._scope.cancel()

    async def _tear_down(self) -> None:
        self.failure = self.failure or "connection closed"
        self._closing = True
        for stream in list(self.streams.values()):
            stream.fail(self.failure, tell_peer=False)
        self.streams.clear()
        self._accepted.clear()
        self._flushed.set()
        with shielded(self.limits.close_s):
            try:
                await self.secured_conn.close()
            except (BaseLibp2pError, OSError, trio.BrokenResourceError) as error:
                log.debug("closing a connection failed", extra={"error": repr(error)})
        self.event_closed.set()
        self._acceptable.unpark_all()

    # ---- streams

    async def open_stream(self) -> YamuxStream:
        """Open a stream towards the peer.

        Raises:
            MuxedStreamError: The connection is ending, or holds its most streams.
        """
        await trio.lowlevel.checkpoint()
        if self._closing or self.failure is not None:
            raise MuxedStreamError(self.failure or "the connection is closing")
        if len(self.streams) >= self.limits.streams_per_connection_max:
            raise MuxedStreamError(f"{len(self.streams)} streams are open, which is the most")
        stream = YamuxStream(self, self._next_stream_id, is_initiator=True)
        self._next_stream_id += 2
        self.streams[stream.stream_id] = stream
        self.queue(HEADER.pack(0, TYPE_WINDOW, FLAG_SYN, stream.stream_id, 0))
        stream.widen(self.limits.window_bytes)
        return stream

    async def accept_stream(self) -> YamuxStream:
        """Wait for the peer to open a stream.

        Raises:
            MuxedConnUnavailable: The connection ended.
        """
        await trio.lowlevel.checkpoint()
        while not self._accepted:
            if self.event_closed.is_set():
                raise MuxedConnUnavailable(self.failure or "connection closed")
            await self._acceptable.park()
        return self._accepted.popleft()

    def forget(self, stream: YamuxStream) -> None:
        """Drop the books of a finished stream."""
        self.streams.pop(stream.stream_id, None)
        self.waiting_for_room.discard(stream)
        if not self.streams:
            self._streamless_since_s = trio.current_time()

    # ---- output

    @property
    def is_congested(self) -> bool:
        """Whether senders of data must wait."""
        return len(self._outbox) >= self.limits.outbox_bytes_max // 4

    def queue(self, header: bytes, payload: memoryview | bytes = b"") -> None:
        """Append one whole frame to the outbox."""
        if self._closing or self.failure is not None:
            return
        self._outbox += header
        self._outbox += payload
        if len(self._outbox) > self.limits.outbox_bytes_max:
            # Data waits at a quarter of this, so only answers to the peer's questions get here.
            self.drop("the peer asked for more answers than it read")
        self._has_output.unpark_all()

    async def _write_loop(self) -> None:
        while True:
            while not self._outbox:
                if self._closing:
                    self._flushed.set()
                    return
                await self._has_output.park()
            output, self._outbox = self._outbox, bytearray()
            self._write_began_s = trio.current_time()
            await self.secured_conn.write(bytes(output))
            self._write_began_s = None
            waiting, self.waiting_for_room = self.waiting_for_room, set()
            for stream in waiting:
                stream.on_room()

    # ---- input

    async def _read_loop(self) -> None:
        while True:
            try:
                chunk = await self.secured_conn.read()
            except IncompleteReadError:
                chunk = b""
            if not chunk:
                self.failure = self.failure or "the peer closed the connection"
                return
            self._received_at_s = trio.current_time()
            try:
                await self._take(memoryview(chunk))
            except _Violation as violation:
                self.failure = f"the peer broke the protocol: {violation}"
                return

    async def _take(self, chunk: memoryview) -> None:
        """Handle the next bytes of the connection, in turns with everybody else."""
        while chunk:
            before = self._handled
            # A chunk is work even if no frame begins in it.
            self._handled += 1
            chunk = self._feed(chunk)
            pause_s = 0.0
            if not self._is_initiator:
                pause_s = self._frame_rate.spend(trio.current_time(), self._handled - before)
            if pause_s or self._handled >= _FRAMES_PER_TURN:
                self._handled = 0
                await trio.sleep(pause_s)

    def _feed(self, chunk: memoryview) -> memoryview:
        """Handle bytes, however they are cut, until our turn is over; return the rest."""
        while chunk and self._handled < _FRAMES_PER_TURN:
            if self._body_left:
                body = chunk[: self._body_left]
                chunk = chunk[len(body) :]
                self._body_left -= len(body)
                self._on_body(body)
                continue
            missing = HEADER_BYTES - len(self._header)
            if not self._header and len(chunk) >= HEADER_BYTES:
                header = HEADER.unpack_from(chunk)
                chunk = chunk[HEADER_BYTES:]
            else:
                self._header += chunk[:missing]
                chunk = chunk[missing:]
                if len(self._header) < HEADER_BYTES:
                    break
                header = HEADER.unpack_from(self._header)
                self._header.clear()
            self._handled += 1
            self._on_header(*header)
        return chunk

    def _on_header(self, version: int, kind: int, flags: int, stream_id: int, length: int) -> None:
        if version != 0 or kind > TYPE_GO_AWAY:
            raise _Violation(f"version {version}, type {kind}")
        if kind == TYPE_PING:
            if flags & FLAG_SYN:
                self.queue(HEADER.pack(0, TYPE_PING, FLAG_ACK, 0, length))
            return
        if kind == TYPE_GO_AWAY:
            # The peer closes the connection next; streams fail then.
            return
        stream = self.streams.get(stream_id)
        if flags & FLAG_SYN:
            stream = self._on_syn(stream_id, flags)
        if kind == TYPE_DATA:
            if stream is not None and length > stream.receive_credit:
                raise _Violation(f"{length} bytes sent, {stream.receive_credit} allowed")
            if stream is None and length > max(self.limits.window_bytes, WINDOW_BYTES_INITIAL):
                raise _Violation(f"frame of {length} bytes")
            self._body_left, self._body_stream = length, stream
        elif stream is not None and length:
            stream.on_credit(length)
        if stream is not None:
            self._on_flags(stream, flags, body_left=self._body_left)

    def _on_flags(self, stream: YamuxStream, flags: int, *, body_left: int) -> None:
        if flags & FLAG_RST:
            stream.fail("the peer reset the stream", tell_peer=False)
        elif flags & FLAG_FIN:
            if body_left:
                # The last bytes come with the FIN: it counts once they are here.
                self._fin_after_body = True
            else:
                stream.on_fin()

    def _on_body(self, body: memoryview) -> None:
        stream = self._body_stream
        if stream is not None:
            stream.on_data(body)
            if self.unread_bytes > self.limits.unread_bytes_max:
                stream.fail("too much unread input on the connection", tell_peer=True)
            if self._fin_after_body and not self._body_left:
                stream.on_fin()
        if not self._body_left:
            self._fin_after_body = False
            self._body_stream = None

    def _on_syn(self, stream_id: int, flags: int) -> YamuxStream | None:
        """Open the peer's stream, or refuse it; return None for a refused one."""
        # "Client side should use odd ID's, and the server even."
        if stream_id == 0 or stream_id % 2 == self._next_stream_id % 2:
            raise _Violation(f"stream id {stream_id} is not the peer's to choose")
        if stream_id in self.streams:
            raise _Violation(f"stream {stream_id} opened twice")
        unnegotiated = sum(not stream.is_negotiated for stream in self.streams.values())
        if (
            self._closing
            or flags & FLAG_RST
            or len(self.streams) >= self.limits.streams_per_connection_max
            or unnegotiated >= self.limits.unnegotiated_streams_max
            or not self._syn_rate.take(trio.current_time())
        ):
            self.queue(HEADER.pack(0, TYPE_WINDOW, FLAG_RST, stream_id, 0))
            return None
        stream = YamuxStream(self, stream_id, is_initiator=False)
        self.streams[stream_id] = stream
        self.queue(HEADER.pack(0, TYPE_WINDOW, FLAG_ACK, stream_id, 0))
        self._accepted.append(stream)
        self._acceptable.unpark_all()
        return stream

    # ---- watching over silence

    async def _watch(self) -> None:
        limits = self.limits
        period_s = min(limits.ping_s, limits.silence_s / 3, limits.stall_s / 3, limits.linger_s)
        while True:
            await trio.sleep(period_s)
            now_s = trio.current_time()
            if self._write_began_s is not None and now_s - self._write_began_s > limits.stall_s:
                self.drop(f"the peer stopped reading for {limits.stall_s:g} s")
            elif self.silent_s > limits.silence_s:
                self.drop(f"the peer was silent for {limits.silence_s:g} s")
            elif self.silent_s >= limits.ping_s:
                self.queue(HEADER.pack(0, TYPE_PING, FLAG_SYN, 0, 0))
            for stream in list(self.streams.values()):
                if stream.is_lingering and now_s - stream.closed_at_s > limits.linger_s:
                    stream.fail("the peer never closed its side", tell_peer=True)
            is_idle = not self._is_initiator and not self.streams
            if is_idle and now_s - self._streamless_since_s > limits.idle_s:
                self.drop("no stream for too long")

    # ---- what libp2p's interface asks for besides

    @property
    def is_initiator(self) -> bool:
        """Whether we dialled."""
        return self._is_initiator

    @property
    def silent_s(self) -> float:
        """Seconds since the peer last sent anything."""
        return trio.current_time() - self._received_at_s

    @property
    def is_established(self) -> bool:
        """Whether streams can be opened."""
        return self.event_started.is_set() and self.failure is None

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self.event_closed.is_set()

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's address and port."""
        return self.secured_conn.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Return the addresses of the connection underneath."""
        return self.secured_conn.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        """Return whether it is direct or relayed."""
        return self.secured_conn.get_connection_type()
