"""Whose processes are on a GPU: ours, ones that the owner does not mind, or foreign ones."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import trio

from rowen.gpu.base import Sample
from rowen.gpu.processes import listening, named, ours

LISTED_S = 10.0


@dataclass(frozen=True, slots=True)
class Whose:
    """Process ids on a GPU: ours, and those whose work the owner does not mind."""

    own: Collection[int]
    ignored: Collection[int]


Identify = Callable[[frozenset[int], Collection[str]], Awaitable[Whose]]


class Identifier:
    """Asks the system whose processes are whose.

    Ours are this process and all it started; and engines that it did not start, which are known
    by the port where they answer, or by name.

    Args:
        ports: Where engines answer that the owner started.
        engines: Names of programs that work for this node alone.
        me: This process, unless told otherwise.
    """

    def __init__(
        self, ports: Collection[int] = (), engines: Collection[str] = (), *, me: int = 0
    ) -> None:
        self._me = me or os.getpid()
        self._ports = frozenset(ports)
        self._engines = tuple(engines)
        self._limiter = trio.CapacityLimiter(1)
        self._pids: frozenset[int] = frozenset()
        self._listening: frozenset[int] = frozenset()
        self._listed_at = -LISTED_S

    async def __call__(self, pids: frozenset[int], ignore: Collection[str]) -> Whose:
        """Whose processes these are."""
        if not pids:
            return Whose((), ())
        return await trio.to_thread.run_sync(
            self._ask,
            pids,
            ignore,
            trio.current_time(),
            abandon_on_cancel=True,
            limiter=self._limiter,
        )

    def _ask(self, pids: frozenset[int], ignore: Collection[str], now_s: float) -> Whose:
        if pids != self._pids or now_s - self._listed_at > LISTED_S:
            # Takes longer than all else together, and changes when an engine is started anew.
            self._listening = listening(self._ports)
            self._pids, self._listed_at = pids, now_s
        own = ours(pids, {self._me, *self._listening})
        own |= named(pids - own, self._engines)
        return Whose(own, named(pids - own, ignore))


def pids_of(sample: Sample) -> frozenset[int]:
    """Every process that a sample names."""
    rows = (
        sample.processes,
        sample.process_loads,
        sample.encoder_sessions,
        sample.capture_sessions,
    )
    return frozenset(one.pid for row in rows for one in row or ())
