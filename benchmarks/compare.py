"""Two sides, in turn, on one machine: what a row of the table is made from.

Absolute times say more about the machine than about the program. So the two sides of a ratio
take turns in short batches, each pair of batches gives one ratio, and the row shows the median
of them with the quartiles beside it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import msgspec

Operation = Callable[[int], object]
"""One operation; it is given its number, to choose among prepared inputs."""

Sense = Literal["at most", "at least", ""]

BATCH_NS = 500_000
_PAIRS_MIN = 5


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    Attributes:
        bench: Name of the benchmark it belongs to.
        name: What is measured.
        unit: Of ``ours`` and ``baseline``.
        ours: Median over the batches.
        against: What the baseline is.
        baseline: Its median over the batches.
        ratio: Median of the pairs' ratios, ours ÷ baseline; None for a figure that stands alone.
        low: First quartile of the pairs' ratios.
        high: Third quartile.
        pairs: How many pairs of batches.
        sense: Which way the target binds, empty without a target.
        target: What the ratio must be.
    """

    bench: str
    name: str
    unit: str
    ours: float
    against: str = ""
    baseline: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 1
    sense: Sense = ""
    target: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio <= self.target if self.sense == "at most" else self.ratio >= self.target


@dataclass(frozen=True, slots=True)
class Pair:
    """Figures of two batches that ran one after the other, in one unit."""

    ours: float
    baseline: float


def row_of(
    pairs: Sequence[Pair],
    *,
    bench: str,
    name: str,
    unit: str,
    against: str,
    sense: Sense = "",
    target: float | None = None,
) -> Row:
    """The line that pairs of batches make."""
    ratios = sorted(pair.ours / pair.baseline for pair in pairs)
    low, middle, high = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    return Row(
        bench=bench,
        name=name,
        unit=unit,
        ours=statistics.median(pair.ours for pair in pairs),
        against=against,
        baseline=statistics.median(pair.baseline for pair in pairs),
        ratio=middle,
        low=low,
        high=high,
        pairs=len(pairs),
        sense=sense,
        target=target,
    )


def cpu_pairs(ours: Operation, baseline: Operation, seconds: float) -> list[Pair]:
    """Measures two computations by the CPU time of this thread.

    CPU time, because what else runs on the machine takes wall time from both sides at random.

    Args:
        ours: One operation.
        baseline: One operation of the other side.
        seconds: About how long to go on, wall time.

    Returns:
        Microseconds of CPU per operation.
    """
    counts = [_count_for(side) for side in (ours, baseline)]
    pairs: list[Pair] = []
    until = time.monotonic() + seconds
    with _no_collection():
        while len(pairs) < _PAIRS_MIN or time.monotonic() < until:
            # Who goes first alternates, or one side would always find the caches warm.
            if len(pairs) % 2:
                theirs = _batch_us(baseline, counts[1])
                mine = _batch_us(ours, counts[0])
            else:
                mine = _batch_us(ours, counts[0])
                theirs = _batch_us(baseline, counts[1])
            pairs.append(Pair(mine, theirs))
    return pairs


def rates(pairs: Sequence[Pair]) -> list[Pair]:
    """Microseconds per operation as operations per second."""
    return [Pair(1e6 / pair.ours, 1e6 / pair.baseline) for pair in pairs]


def _count_for(side: Operation) -> int:
    """How many operations fill a batch; running them warms everything up."""
    count = 8
    while True:
        spent_us = _batch_us(side, count) * count
        if spent_us * 1000 >= BATCH_NS / 2:
            return max(1, int(count * BATCH_NS / 1000 / spent_us))
        count *= 2


def _batch_us(side: Operation, count: int) -> float:
    began_ns = time.thread_time_ns()
    for number in range(count):
        side(number)
    return (time.thread_time_ns() - began_ns) / count / 1000


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps the cyclic collector out of the batches; where it falls is chance."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
