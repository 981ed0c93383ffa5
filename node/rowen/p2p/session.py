"""Messages over a `Stream`: framed, watched over, and ended on purpose or not at all.

A session is what the job protocol talks through. It works on any `Stream` and adds three
things to it: message boundaries (`rowen.protocol.framing`), a heartbeat that tells a dead
peer from a quiet one, and an END frame that tells a finished peer from a killed one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from rowen.p2p.network import Stream
from rowen.p2p.rates import TokenBucket
from rowen.p2p.scopes import single_error
from rowen.protocol.errors import PeerError, Unavailable
from rowen.protocol.framing import (
    DATA,
    END,
    FRAME_BYTES_MAX,
    Frame,
    FrameDecoder,
    Kind,
    encode_control,
    encode_frames,
)

_FRAMES_PER_YIELD = 64
"""Messages handed out of one read before others get a turn."""

_TOKEN_BYTES = 16 << 10
"""What a token of a session's rate is good for; a message takes one at least."""

_HEARTBEAT_FRAME = encode_control(Kind.HEARTBEAT)
_END_FRAME = encode_control(Kind.END)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a session waits. `silence_s` must allow for a few lost heartbeats of the peer's.

    Attributes:
        heartbeat_s: Silence of ours after which we send a heartbeat.
        silence_s: Silence of the peer's after which it counts as lost.
        stall_s: How long one write may wait for the peer to read.
        frame_bytes_max: Largest frame accepted.
    """

    heartbeat_s: float = 10.0
    silence_s: float = 35.0
    stall_s: float = 30.0
    frame_bytes_max: int = FRAME_BYTES_MAX


class Session:
    """Ordered messages to and from one peer. Use `open_session`.

    Any number of tasks may send; one receives.
    """

    def __init__(self, stream: Stream, patience: Patience, rate: TokenBucket | None = None) -> None:
        self._stream = stream
        self._patience = patience
        self._rate = rate
        self._decoder = FrameDecoder(patience.frame_bytes_max)
        self._inbox: deque[Frame] = deque()
        self._handed_out = 0
        self._failure: str | None = None
        self._ended_here = False
        self._ended_there = False
        now_s = trio.current_time()
        self._sent_at_s = now_s
        self._received_at_s = now_s
        # The one task that writes now; the others wait in line and are handed the pen.
        self._is_writing = False
        self._write_began_s = now_s
        self._writers = trio.lowlevel.ParkingLot()
        self._is_reading = False
        self._read_began_s = now_s
        self._read_done = trio.lowlevel.ParkingLot()

    @property
    def peer_id(self) -> str:
        """The remote PeerId, proven by the transport."""
        return self._stream.peer_id

    async def send(self, *bodies: bytes) -> None:
        """Send each body as one message, all of them in one write.

        A cancelled send happened whole, or not at all, or ends the session.

        Raises:
            Unavailable: The session is over, or the peer stopped reading.
            ValueError: A body is over `BODY_BYTES_MAX`.
        """
        data = encode_frames(bodies)
        if self._ended_here:
            raise Unavailable("this side has ended the session")
        await self._write(data)

    async def receive(self) -> bytes | None:
        """Return the next message, or None once the peer has ended the session.

        Cancellation never loses a message.

        Raises:
            Unavailable: The peer vanished without ending the session, or fell silent.
            PeerError: The peer broke the framing; the session is over.
        """
        inbox = self._inbox
        while True:
            if inbox:
                await self._take_turns()
                body = inbox.popleft().body
                self._spend(1 + len(body) // _TOKEN_BYTES)
                return body
            if self._ended_there:
                await trio.lowlevel.checkpoint()
                return None
            if self._is_reading:
                # The watcher is listening for a sign of life; what it hears goes to the inbox.
                await self._read_done.park()
                continue
            if self._rate is not None:
                await self._take_turns()
            await self._read()

    async def end(self) -> None:
        """Tell the peer that this side is finished; receiving goes on. Safe to call twice.

        Raises:
            Unavailable: The session is over already.
        """
        if self._ended_here:
            return
        self._ended_here = True
        await self._write(_END_FRAME)
        await self._stream.send_eof()

    # ---- reading

    async def _take_turns(self) -> None:
        """Let others have theirs; a peer with a rate waits until it has paid for its last."""
        if self._rate is not None:
            await trio.sleep(self._rate.spend(trio.current_time(), 0))
            return
        self._handed_out += 1
        if self._handed_out % _FRAMES_PER_YIELD == 0:
            await trio.lowlevel.checkpoint()

    def _spend(self, tokens: int) -> None:
        if self._rate is not None:
            self._rate.spend(trio.current_time(), tokens)

    async def _read(self) -> None:
        """Move one chunk of the stream into the inbox."""
        self._is_reading = True
        self._read_began_s = trio.current_time()
        try:
            chunk = await self._stream.receive()
        except Unavailable as error:
            raise Unavailable(self._failure or str(error)) from error
        finally:
            self._is_reading = False
            self._read_done.unpark_all()
        self._received_at_s = trio.current_time()
        if not chunk:
            raise Unavailable(
                self._failure or f"peer {self.peer_id} vanished without ending the session"
            )
        try:
            frames = self._decoder.feed(chunk)
            if self._ended_there and frames:
                raise PeerError("a frame after END")
            self._take(frames)
            # Signs of life are work, too.
            self._spend(sum(frame.kind != DATA for frame in frames))
        except PeerError as error:
            self._failure = str(error)
            await self._stream.reset()
            raise

    def _take(self, frames: list[Frame]) -> None:
        for at, frame in enumerate(frames):
            if frame.kind == DATA:
                self._inbox.append(frame)
            elif frame.kind == END:
                self._ended_there = True
                if at + 1 < len(frames) or self._decoder.pending_bytes:
                    raise PeerError("a frame after END")

    # ---- writing

    async def _write(self, data: bytes) -> None:
        if self._is_writing:
            await self._writers.park()
            # Handed over by the writer before us, who left `_is_writing` set.
        self._is_writing = True
        self._write_began_s = trio.current_time()
        try:
            if self._failure is not None:
                raise Unavailable(self._failure)
            await self._stream.send(data)
            self._sent_at_s = self._write_began_s
        except Unavailable as error:
            raise Unavailable(self._failure or str(error)) from error
        finally:
            if self._writers:
                self._writers.unpark()
            else:
                self._is_writing = False

    # ---- watching

    async def watch(self) -> None:
        """Send heartbeats and notice a peer that is lost; `open_session` runs this."""
        patience = self._patience
        period_s = min(patience.heartbeat_s, patience.silence_s, patience.stall_s) / 4
        while self._failure is None and not (self._ended_here and self._ended_there):
            await trio.sleep(period_s)
            now_s = trio.current_time()
            if self._is_writing:
                if now_s - self._write_began_s > patience.stall_s:
                    await self._fail(
                        f"peer {self.peer_id} stopped reading for {patience.stall_s:g} s"
                    )
            elif now_s - self._sent_at_s >= patience.heartbeat_s and not self._ended_here:
                await self._beat()
            if now_s - self._received_at_s > patience.silence_s and not self._ended_there:
                await self._listen()

    async def _beat(self) -> None:
        with trio.move_on_after(self._patience.stall_s) as scope:
            try:
                await self._write(_HEARTBEAT_FRAME)
            except Unavailable as error:
                await self._fail(str(error))
        if scope.cancelled_caught:
            await self._fail(f"peer {self.peer_id} stopped reading")

    async def _listen(self) -> None:
        """Decide whether a silent peer is lost.

        It is not while messages wait here unread: then it is we who are slow. If nobody is
        reading, what the peer sent may lie in the transport, so read once ourselves.
        """
        if self._inbox:
            return
        grace_s = self._patience.heartbeat_s / 4
        if self._is_reading:
            if trio.current_time() - self._read_began_s < grace_s:
                return
        else:
            with trio.move_on_after(grace_s):
                try:
                    await self._read()
                except (Unavailable, PeerError) as error:
                    await self._fail(str(error))
                return
        await self._fail(f"peer {self.peer_id} sent nothing for {self._patience.silence_s:g} s")

    async def _fail(self, why: str) -> None:
        if self._failure is None:
            self._failure = why
            await self._stream.reset()


@asynccontextmanager
async def open_session(
    stream: Stream, patience: Patience | None = None, rate: TokenBucket | None = None
) -> AsyncIterator[Session]:
    """Run a session on `stream`, which it owns and closes.

    Leaving the block normally ends the session cleanly for the peer; leaving it with an
    exception resets the stream, which the peer sees as `Unavailable`.

    Args:
        stream: To the peer.
        patience: How long it waits.
        rate: At which messages are taken from the peer, a token each and one more for every
            16 KiB; without it, as they come.
    """
    patience = patience or Patience()
    session = Session(stream, patience, rate)
    is_clean = False
    try:
        with single_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.watch)
                yield session
                with trio.move_on_after(patience.stall_s):
                    await _end_quietly(session)
                    is_clean = True
                nursery.cancel_scope.cancel()
    finally:
        if not is_clean:
            await stream.reset()
        await stream.aclose()


async def _end_quietly(session: Session) -> None:
    """End the session; a peer that has gone first is no news when we are done ourselves."""
    try:
        await session.end()
    except Unavailable:
        return
