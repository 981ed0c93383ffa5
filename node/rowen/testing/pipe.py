"""One direction of an in-memory stream."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from rowen.p2p.network import RECEIVE_BYTES_MAX
from rowen.protocol.errors import Unavailable

if TYPE_CHECKING:
    from rowen.testing.network import Link

_CHUNK_BYTES = 16_384


class Pipe:
    """Ordered bytes that travel, wait in a bounded window, and can be made to break.

    Args:
        rng: Decides jitter and fragments.
        link: Tells the weather now.
        window_bytes: How much may be under way and unread before the sender waits.
        stall_s: How long the sender waits for that before the stream is reset.
        on_over: Called once, when nothing more will travel.
    """

    def __init__(
        self,
        *,
        rng: random.Random,
        link: Callable[[], Link],
        window_bytes: int,
        stall_s: float,
        on_over: Callable[[Pipe], None],
    ) -> None:
        self._rng = rng
        self._link = link
        self._window_bytes = window_bytes
        self._stall_s = stall_s
        self._on_over = on_over
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._unread_bytes = 0
        self._carried_bytes = 0
        self._arrives_s = 0.0
        self._cut_at_s: float | None = None
        self._is_ended = False
        self._is_discarding = False
        self._failure: str | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self.twin: Pipe = self

    # ---- sending

    async def send(self, data: bytes) -> None:
        """Put all of `data` under way, waiting for window; cancelled half-way, it resets."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.check_open()
        at = 0
        try:
            while at < len(data):
                room = min(self._window_bytes - self._unread_bytes, _CHUNK_BYTES)
                if room <= 0:
                    await self._wait_for_room()
                    continue
                self._put(data[at : at + room])
                at += room
                self.check_open()
        except trio.Cancelled:
            if at:
                self.reset()
            raise
        await trio.lowlevel.cancel_shielded_checkpoint()

    def check_open(self) -> None:
        """Raise `Unavailable` unless more can be sent."""
        if self._failure is not None:
            raise Unavailable(self._failure)
        if self._is_ended:
            raise Unavailable("our side of the stream is closed")

    def end(self) -> None:
        """Send the end of the stream."""
        if not self._is_ended and self._failure is None:
            self._is_ended = True
            self._changed.unpark_all()
            self._forget_if_over()

    def _put(self, chunk: bytes) -> None:
        link = self._link()
        limit = link.drop_after_bytes
        if limit is not None and self._carried_bytes + len(chunk) > limit:
            chunk = chunk[: max(0, limit - self._carried_bytes)]
            self._travel(chunk, link)
            self._break_after_arrival("the connection was cut")
            return
        self._travel(chunk, link)

    def _travel(self, chunk: bytes, link: Link) -> None:
        if not chunk:
            return
        self._carried_bytes += len(chunk)
        if self._is_discarding:
            return
        delay_s = link.latency_s + (self._rng.uniform(0, link.jitter_s) if link.jitter_s else 0)
        self._arrives_s = max(self._arrives_s, trio.current_time() + delay_s)
        self._under_way.append((self._arrives_s, chunk))
        self._unread_bytes += len(chunk)
        self._changed.unpark_all()

    async def _wait_for_room(self) -> None:
        with trio.move_on_after(self._stall_s) as scope:
            await self._room.park()
        if scope.cancelled_caught:
            why = f"the peer stopped reading for {self._stall_s:g} s"
            self.fail(why)
            self.twin.fail(why)
        self.check_open()

    # ---- receiving

    async def receive(self) -> bytes:
        """Return what has arrived, `b""` at the end."""
        await trio.lowlevel.checkpoint()
        while True:
            link = self._link()
            if self._under_way and link.is_read:
                if self._under_way[0][0] <= self._horizon_s():
                    return self._take(fragments=link.fragments)
                if not link.is_cut:
                    with trio.move_on_at(self._under_way[0][0]):
                        await self._changed.park()
                    continue
            if not self._under_way:
                if self._failure is not None:
                    raise Unavailable(self._failure)
                if self._is_ended and not link.is_cut:
                    return b""
            await self._changed.park()

    def _take(self, *, fragments: bool) -> bytes:
        taken = bytearray()
        most = (
            self._rng.randint(1, 1 << self._rng.randint(0, 14)) if fragments else RECEIVE_BYTES_MAX
        )
        horizon_s = self._horizon_s()
        while self._under_way and len(taken) < most and self._under_way[0][0] <= horizon_s:
            arrives_s, chunk = self._under_way.popleft()
            left = most - len(taken)
            if len(chunk) > left:
                self._under_way.appendleft((arrives_s, chunk[left:]))
                chunk = chunk[:left]
            taken += chunk
        self._unread_bytes -= len(taken)
        self._room.unpark_all()
        self._forget_if_over()
        return bytes(taken)

    def _horizon_s(self) -> float:
        """Return the arrival time up to which bytes are here: a cut stops those under way."""
        now_s = trio.current_time()
        return now_s if self._cut_at_s is None else min(now_s, self._cut_at_s)

    def discard(self) -> None:
        """Read and forget whatever comes from now on."""
        self._is_discarding = True
        self._under_way.clear()
        self._unread_bytes = 0
        self._room.unpark_all()
        self._forget_if_over()

    # ---- faults

    def reset(self) -> None:
        """Drop both directions; what is under way is lost."""
        for pipe in (self, self.twin):
            if pipe._failure is None and not pipe._is_over():
                pipe._under_way.clear()
                pipe._unread_bytes = 0
                pipe.fail("the stream was reset")

    def fail(self, why: str) -> None:
        """End this direction; what has arrived can still be read."""
        if self._failure is None and not self._is_over():
            self._failure = why
            self._changed.unpark_all()
            self._room.unpark_all()
            self._on_over(self)

    def on_weather(self) -> None:
        """Look at the link again."""
        if not self._link().is_cut:
            self._cut_at_s = None
        elif self._cut_at_s is None:
            self._cut_at_s = trio.current_time()
        self._changed.unpark_all()

    def _break_after_arrival(self, why: str) -> None:
        self.fail(why)
        self.twin.fail(why)

    def _is_over(self) -> bool:
        return self._is_ended and not self._under_way

    def _forget_if_over(self) -> None:
        if self._is_over():
            self._on_over(self)
