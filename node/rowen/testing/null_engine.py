"""An engine that costs nothing, for benchmarks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from rowen.engine.base import EngineInfo, Finished, Piece
from rowen.protocol.jobs import Finish, JobInput
from rowen.testing.engine import SCRIPTED, input_units_of, room_of


class NullEngine:
    """Says one word over and over: what is left to measure is everything around an engine.

    Args:
        output_units: Tokens of an answer, unless the job allows fewer.
        rate_per_s: Tokens per second of each job; None gives them as fast as they are taken.
        info: What the engine claims to run. Its ``concurrency`` is not kept.
    """

    def __init__(
        self,
        output_units: int = 256,
        *,
        rate_per_s: float | None = None,
        info: EngineInfo = SCRIPTED,
    ) -> None:
        self._output_units = output_units
        self._rate_per_s = rate_per_s
        self._info = info

    @property
    def info(self) -> EngineInfo:
        """What it claims to run."""
        return self._info

    @property
    def is_ready(self) -> bool:
        """Always."""
        return True

    async def release(self) -> bool:
        """It holds nothing."""
        await trio.lowlevel.checkpoint()
        return True

    async def stop(self) -> bool:
        """It holds nothing."""
        await trio.lowlevel.checkpoint()
        return True

    async def wake(self) -> None:
        """It never sleeps."""
        await trio.lowlevel.checkpoint()

    async def count_input(self, job: JobInput, *, tenant: bytes = b"") -> int:
        """Words of all turns, plus four for each turn and for the answer."""
        await trio.lowlevel.checkpoint()
        return input_units_of(job)

    @asynccontextmanager
    async def generate(
        self, job: JobInput, output_units_max: int, *, tenant: bytes = b""
    ) -> AsyncIterator[AsyncIterator[Piece | Finished]]:
        """Starts the job."""
        await trio.lowlevel.checkpoint()
        input_units = input_units_of(job)
        units = min(self._output_units, room_of(self._info, input_units, output_units_max))
        finish = Finish.STOP if units == self._output_units else Finish.LENGTH
        yield _Drone(Finished(finish, input_units, 0, units), self._rate_per_s)


class _Drone:
    _WORD = " word"
    # What a reader finds waiting is joined, as in a real engine; so much at once at most.
    _JOINED_MAX = 256

    def __init__(self, end: Finished, rate_per_s: float | None) -> None:
        self._end = end
        self._rate_per_s = rate_per_s
        self._said = 0
        self._started_at = trio.current_time()
        self._is_over = False

    def __aiter__(self) -> _Drone:
        return self

    async def __anext__(self) -> Piece | Finished:
        if self._is_over:
            raise StopAsyncIteration
        left = self._end.output_units - self._said
        if left == 0:
            self._is_over = True
            return self._end
        units = min(left, self._JOINED_MAX)
        if self._rate_per_s is not None:
            # By the clock rather than by intervals, so that a late reader does not slow it down.
            await trio.sleep_until(self._started_at + self._said / self._rate_per_s)
            due = 1 + int((trio.current_time() - self._started_at) * self._rate_per_s)
            units = min(units, max(1, due - self._said))
        else:
            await trio.lowlevel.checkpoint()
        self._said += units
        return Piece(self._WORD * units, units)
