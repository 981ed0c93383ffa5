"""Whose energy it was: one interval's joules, divided between idling, the owner and our jobs.

All in whole millijoules, and the parts add up to the counter's difference exactly, whatever it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What was measured between two readings of a counter.

    Attributes:
        energy_mj: The counter's difference, ≥ 0.
        duration_ms: Time between the readings.
        idle_mw: What the GPU draws when nobody works.
        foreign_percent: How busy the owner's processes kept it, 0 to 100 each, summed.
        own_percent: The same of ours.
        job_to_weight: What each open job did, in weighted tokens; see ``Weights``.
    """

    energy_mj: int
    duration_ms: int
    idle_mw: int = 0
    foreign_percent: int = 0
    own_percent: int = 0
    job_to_weight: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Whose the energy was, in millijoules.

    Attributes:
        idle_mj: Nobody's: what it would have drawn anyway, and all of it while nobody worked.
        foreign_mj: The owner's.
        job_to_mj: Each open job's.
    """

    idle_mj: int
    foreign_mj: int
    job_to_mj: Mapping[bytes, int]

    @property
    def total_mj(self) -> int:
        """All of it: the counter's difference."""
        return self.idle_mj + self.foreign_mj + sum(self.job_to_mj.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a token costs, relative to others of its engine; the ratio is all that matters.

    A prompt is read many tokens at a time, an answer is written one by one, each with a read of
    all weights. The default is a guess, until ``rowen bench`` has measured it.

    Attributes:
        prefill: Of an input token that was not cached.
        decode: Of an output token.
    """

    prefill: int = 1
    decode: int = 10


def attribute(interval: Interval) -> Shares:
    """Divides an interval's energy.

    What idling costs comes off first. The rest goes to the owner and to our jobs as they kept
    the GPU busy, and among our jobs by their weights.
    """
    weights = {job: weight for job, weight in interval.job_to_weight.items() if weight > 0}
    foreign = interval.foreign_percent
    if not weights and foreign <= 0:
        nothing = dict.fromkeys(interval.job_to_weight, 0)
        return Shares(idle_mj=interval.energy_mj, foreign_mj=0, job_to_mj=nothing)
    idle_mj = min(interval.energy_mj, interval.idle_mw * interval.duration_ms // 1000)
    # A job that made tokens was at work, even where the driver's rounding says 0 %.
    own = max(interval.own_percent, 1) if weights else 0
    total = sum(weights.values())
    parts = [foreign * max(total, 1), *(own * weight for weight in weights.values())]
    foreign_mj, *jobs_mj = divide(interval.energy_mj - idle_mj, parts)
    job_to_mj = dict.fromkeys(interval.job_to_weight, 0) | dict(zip(weights, jobs_mj, strict=True))
    return Shares(idle_mj=idle_mj, foreign_mj=foreign_mj, job_to_mj=job_to_mj)


def divide(amount: int, parts: Sequence[int]) -> list[int]:
    """Divides whole units in proportion; what does not divide goes to the largest remainders.

    Args:
        amount: Units, ≥ 0.
        parts: Proportions, ≥ 0, not all 0.

    Returns:
        One share a part, in order. They add up to ``amount`` exactly.
    """
    total = sum(parts)
    shares = [amount * part // total for part in parts]
    left = amount - sum(shares)
    # Ties go to whoever comes first, so that the same input gives the same shares.
    by_remainder = sorted(range(len(parts)), key=lambda i: (-(amount * parts[i] % total), i))
    for index in by_remainder[:left]:
        shares[index] += 1
    return shares
