"""One stream of our Yamux (rows 5, 6 and 7)."""

from __future__ import annotations

from struct import Struct
from types import TracebackType
from typing import TYPE_CHECKING, Final

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import (
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)

if TYPE_CHECKING:
    from rowen.p2p.hardening.yamux import Yamux

# https://github.com/hashicorp/yamux/blob/master/spec.md#framing
# "All fields are encoded in network order": version 8 bits, type 8, flags 16, stream 32, length 32.
HEADER: Final = Struct("!BBHII")
HEADER_BYTES: Final = HEADER.size
TYPE_DATA, TYPE_WINDOW, TYPE_PING, TYPE_GO_AWAY = range(4)
FLAG_SYN, FLAG_ACK, FLAG_FIN, FLAG_RST = 1, 2, 4, 8

WINDOW_BYTES_INITIAL: Final = 256 << 10
"""What both sides may send before any window update, by the specification."""

READ_BYTES: Final = 65_536
_DATA_BYTES_MAX: Final = 16 << 10
"""Payload of one frame that we send: short enough that a bulk stream does not delay tokens."""


class YamuxStream(IMuxedStream):
    """A byte stream whose every state change happens between awaits.

    Incoming bytes and events are pushed in synchronously by the connection's reader;
    outgoing frames are appended synchronously to the connection's outbox. So a cancelled
    read has consumed nothing and a cancelled write has never left half a frame behind.
    """

    muxed_conn: Yamux

    def __init__(self, conn: Yamux, stream_id: int, *, is_initiator: bool) -> None:
        self.muxed_conn = conn
        self.stream_id = stream_id
        self.is_initiator = is_initiator
        self.is_negotiated = is_initiator
        self.closed_at_s = 0.0
        self._unread = bytearray()
        self._discards = False
        self._fin_sent = False
        self._fin_received = False
        self._failure: str | None = None
        self._send_credit = WINDOW_BYTES_INITIAL
        # What the peer may still send, and what was read but not granted anew yet.
        self._receive_credit = WINDOW_BYTES_INITIAL
        self._consumed = 0
        self._window = WINDOW_BYTES_INITIAL
        self._readable = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()

    # ---- the owner's side

    async def read(self, n: int | None = None) -> bytes:
        """Return the next 1 to `n` bytes (at most 65,536), as soon as there are any.

        Raises:
            MuxedStreamEOF: The peer closed its side and everything was read.
            MuxedStreamReset: The stream was reset, or its connection is gone.
        """
        if n == 0:
            return b""
        # Every call yields once, or a peer that always has data ready could hold the loop.
        if self._unread:
            await trio.lowlevel.checkpoint()
        while not self._unread:
            if self._failure is not None:
                raise MuxedStreamReset(self._failure)
            if self._fin_received:
                raise MuxedStreamEOF("the peer closed its side")
            await self._readable.park()
        size = READ_BYTES if n is None or n < 0 else min(n, READ_BYTES)
        data = bytes(self._unread[:size])
        del self._unread[:size]
        self.muxed_conn.unread_bytes -= len(data)
        self._regrant(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Queue all of `data`, waiting while the peer or the network is behind.

        A cancelled write that was too large to queue at once resets the stream.

        Raises:
            MuxedStreamClosed: We closed our side.
            MuxedStreamReset: The stream was reset, its connection is gone, or the peer
                stopped reading for `Limits.stall_s`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_writable()
        view = memoryview(data)
        try:
            while view:
                size = min(self._send_credit, len(view), _DATA_BYTES_MAX)
                if size <= 0 or self.muxed_conn.is_congested:
                    await self._wait_writable()
                    continue
                self._send_credit -= size
                self.muxed_conn.queue(
                    HEADER.pack(0, TYPE_DATA, 0, self.stream_id, size), view[:size]
                )
                view = view[size:]
        except trio.Cancelled:
            if len(view) < len(data):
                self.fail("a write was cancelled half-way", tell_peer=True)
            raise
        # Shielded: the bytes are on their way, so a cancellation may not deny it.
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def close(self) -> None:
        """Close our side (FIN); the peer may go on sending."""
        await trio.lowlevel.checkpoint()
        self._send_fin()

    async def reset(self) -> None:
        """Drop both directions at once."""
        await trio.lowlevel.checkpoint()
        self.fail("the stream was reset here", tell_peer=True)

    def abandon(self) -> None:
        """Close our side and discard what still arrives."""
        self._discards = True
        self._regrant(self._drop_unread())
        self._send_fin()

    def widen(self, window: int) -> None:
        """Let the peer send `window` bytes ahead; called once the stream named its protocol."""
        self.is_negotiated = True
        grant = window - self._window
        if grant > 0 and self._failure is None:
            self._window = window
            self._grant(grant)

    # ---- the connection's side: nothing below blocks

    @property
    def is_finished(self) -> bool:
        """Neither side will send any more."""
        return self._failure is not None or (self._fin_sent and self._fin_received)

    @property
    def is_lingering(self) -> bool:
        """We are done, the peer is not."""
        return self._fin_sent and not self._fin_received

    @property
    def receive_credit(self) -> int:
        """Bytes the peer may still send; the connection drops a peer that sends more."""
        return self._receive_credit

    def on_data(self, data: memoryview) -> None:
        """Take bytes that the peer was allowed to send."""
        self._receive_credit -= len(data)
        if self._discards or self._failure is not None:
            self._regrant(len(data))
            return
        self._unread += data
        self.muxed_conn.unread_bytes += len(data)
        self._readable.unpark_all()

    def on_fin(self) -> None:
        """Note that the peer closed its side."""
        self._fin_received = True
        self._readable.unpark_all()
        self._forget_if_finished()

    def on_credit(self, increment: int) -> None:
        """Note that the peer accepts `increment` more bytes."""
        self._send_credit += increment
        self._writable.unpark_all()

    def on_room(self) -> None:
        """Note that the connection's outbox has room again."""
        self._writable.unpark_all()

    def fail(self, why: str, *, tell_peer: bool) -> None:
        """End the stream in both directions; later reads and writes raise with `why`."""
        if tell_peer:
            # Whoever resets has no more use for what arrived.
            self._drop_unread()
        if self.is_finished:
            return
        self._failure = why
        if tell_peer:
            self.muxed_conn.queue(HEADER.pack(0, TYPE_WINDOW, FLAG_RST, self.stream_id, 0))
        self._readable.unpark_all()
        self._writable.unpark_all()
        self.muxed_conn.forget(self)

    # ---- inside

    def _check_writable(self) -> None:
        if self._failure is not None:
            raise MuxedStreamReset(self._failure)
        if self._fin_sent:
            raise MuxedStreamClosed("our side of the stream is closed")

    async def _wait_writable(self) -> None:
        stall_s = self.muxed_conn.limits.stall_s
        if self.muxed_conn.is_congested:
            self.muxed_conn.waiting_for_room.add(self)
        with trio.move_on_after(stall_s) as scope:
            await self._writable.park()
        if scope.cancelled_caught:
            self.fail(f"the peer stopped reading for {stall_s:g} s", tell_peer=True)
        self._check_writable()

    def _send_fin(self) -> None:
        if self._fin_sent or self._failure is not None:
            return
        self._fin_sent = True
        self.closed_at_s = trio.current_time()
        self.muxed_conn.queue(HEADER.pack(0, TYPE_WINDOW, FLAG_FIN, self.stream_id, 0))
        self._forget_if_finished()

    def _forget_if_finished(self) -> None:
        if self._fin_sent and self._fin_received:
            self.muxed_conn.forget(self)

    def _drop_unread(self) -> int:
        size = len(self._unread)
        self._unread.clear()
        self.muxed_conn.unread_bytes -= size
        return size

    def _regrant(self, size: int) -> None:
        """Let the peer send `size` more, in steps of half a window to save frames."""
        self._consumed += size
        if self._consumed >= self._window // 2 and not self._fin_received and not self._failure:
            grant, self._consumed = self._consumed, 0
            self._grant(grant)

    def _grant(self, increment: int) -> None:
        self._receive_credit += increment
        self.muxed_conn.queue(HEADER.pack(0, TYPE_WINDOW, 0, self.stream_id, increment))

    # ---- what libp2p's interface asks for besides

    def set_deadline(self, ttl: int) -> None:
        """Not supported: deadlines belong to callers."""
        raise NotImplementedError("use trio.fail_after")

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return the peer's address and port."""
        return self.muxed_conn.get_remote_address()

    async def __aenter__(self) -> YamuxStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
