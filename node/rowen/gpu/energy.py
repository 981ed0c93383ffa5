"""The energy meter of one GPU: samples go in, joules of jobs come out.

Between two samples, the difference of the card's counter is divided by
``rowen_scheduler.energy.attribute``. All that was ever counted is then somebody's: idle, foreign
and jobs add up to it exactly. A card without a counter is metered by the power it says it draws;
one that says neither is not metered, and nothing is made up for it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from rowen.gpu.base import Sample
from rowen.protocol.statements import EnergySource
from rowen_scheduler.energy import Interval, Weights, attribute, divide

# NVML's counter moves about every 100 ms, so shorter spans say little (arXiv 2312.02741).
WEAK_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """All energy metered since the meter began, in millijoules.

    Attributes:
        counter_mj: Differences of the counter, summed; a counter that fell began anew.
        idle_mj: Nobody's.
        foreign_mj: The owner's.
        jobs_mj: Of all jobs, those that ended included.
    """

    counter_mj: int = 0
    idle_mj: int = 0
    foreign_mj: int = 0
    jobs_mj: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnergy:
    """What a job used until now.

    Attributes:
        gpu_ms: Time in which it kept the GPU busy; 0 where that is not known.
        energy_mj: Its share; 0 when the source is ``NONE``.
        source: Where that is known from.
        is_exclusive: Whether nobody else used the GPU in its time, another job included.
        is_weak: Whether it was metered for so short a time that the counter's steps show, or not
            throughout.
    """

    gpu_ms: int = 0
    energy_mj: int = 0
    source: EnergySource = EnergySource.NONE
    is_exclusive: bool = True
    is_weak: bool = True


@dataclass(slots=True)
class _Open:
    """A running job: tokens of this interval, energy of those before."""

    prefill_units: int
    is_reading: bool = True
    decode_units: int = 0
    gpu_ms: int = 0
    energy_mj: int = 0
    metered_ms: int = 0
    is_exclusive: bool = True
    is_partial: bool = False


class EnergyMeter:
    """Meters one GPU.

    Args:
        weights: What tokens cost, relative to each other.
        is_gpu: Whether time on it is GPU time; not so on a CPU.

    Attributes:
        source: Of the newest sample that had one.
        totals: Of everything so far.
        idle_mw: The least power seen in an interval in which nobody worked; 0 until then.
    """

    def __init__(self, weights: Weights | None = None, *, is_gpu: bool = True) -> None:
        self.source = EnergySource.NONE
        self.totals = Totals()
        self.idle_mw = 0
        self._weights = weights or Weights()
        self._is_gpu = is_gpu
        self._before: tuple[int, Sample] | None = None
        # Of power times time, what is less than a millijoule yet.
        self._rest_uj = 0
        self._jobs: dict[bytes, _Open] = {}

    # --- jobs

    def begin(self, job: bytes, input_units: int) -> None:
        """A job starts: the engine reads its input until it first says something."""
        self._jobs[job] = _Open(prefill_units=input_units)

    def worked(self, job: bytes, output_units: int) -> None:
        """A job made output."""
        if (found := self._jobs.get(job)) is not None:
            found.decode_units += output_units

    def spent(self, job: bytes) -> JobEnergy:
        """What a job used up to the last sample; nothing if it is not known."""
        found = self._jobs.get(job)
        if found is None:
            return JobEnergy()
        return JobEnergy(
            gpu_ms=found.gpu_ms,
            energy_mj=found.energy_mj,
            source=self.source,
            is_exclusive=found.is_exclusive,
            is_weak=found.is_partial or found.metered_ms < WEAK_MS,
        )

    def end(self, job: bytes) -> JobEnergy:
        """The same, and the job is over: what comes later is not its."""
        spent = self.spent(job)
        self._jobs.pop(job, None)
        return spent

    # --- samples

    def look(self, sample: Sample, now_ms: int, own: Collection[int]) -> None:
        """Takes a sample and attributes what was used since the one before.

        Args:
            sample: Of this meter's GPU.
            now_ms: Monotonic.
            own: Process ids of ours.
        """
        before, self._before = self._before, (now_ms, sample)
        if sample.energy_source is not EnergySource.NONE:
            self.source = sample.energy_source
        if before is None or before[0] >= now_ms:
            self._turn_page()
            return
        used_mj = self._used_mj(before[1], sample, now_ms - before[0])
        if used_mj is None:
            self._miss()
        else:
            self._attribute(used_mj, now_ms - before[0], sample, own)
        self._turn_page()

    def lose(self) -> None:
        """The GPU could not be sampled: what it used since the last sample is not known."""
        self._before = None
        self._miss()
        self._turn_page()

    def _miss(self) -> None:
        for one in self._jobs.values():
            one.is_partial = True

    def _used_mj(self, before: Sample, sample: Sample, duration_ms: int) -> int | None:
        if sample.energy_source is not before.energy_source:
            return None
        if sample.energy_mj is not None and before.energy_mj is not None:
            used_mj = sample.energy_mj - before.energy_mj
            # A driver that was loaded anew counts from 0, and what it had counted is lost.
            return used_mj if used_mj >= 0 else None
        if sample.power_mw is None or before.power_mw is None:
            return None
        # Milliwatts times milliseconds are microjoules.
        self._rest_uj += (before.power_mw + sample.power_mw) * duration_ms // 2
        used_mj, self._rest_uj = divmod(self._rest_uj, 1000)
        return used_mj

    def _attribute(
        self, used_mj: int, duration_ms: int, sample: Sample, own: Collection[int]
    ) -> None:
        own_percent, foreign_percent = _busy(sample, own)
        weights = self._job_weights(own_percent or 0)
        is_quiet = not any(weights.values()) and foreign_percent == 0
        if is_quiet and duration_ms >= WEAK_MS:
            drawn_mw = used_mj * 1000 // duration_ms
            self.idle_mw = min(self.idle_mw or drawn_mw, drawn_mw)
        shares = attribute(
            Interval(
                energy_mj=used_mj,
                duration_ms=duration_ms,
                idle_mw=self.idle_mw,
                foreign_percent=foreign_percent,
                own_percent=own_percent or 0,
                job_to_weight=weights,
            )
        )
        self.totals = replace(
            self.totals,
            counter_mj=self.totals.counter_mj + used_mj,
            idle_mj=self.totals.idle_mj + shares.idle_mj,
            foreign_mj=self.totals.foreign_mj + shares.foreign_mj,
            jobs_mj=self.totals.jobs_mj + sum(shares.job_to_mj.values()),
        )
        busy_ms = duration_ms * min(own_percent or 0, 100) // 100 if self._is_gpu else 0
        times_ms = divide(busy_ms, list(weights.values())) if any(weights.values()) else []
        for job, gpu_ms in zip(weights, times_ms, strict=False):
            self._jobs[job].gpu_ms += gpu_ms
        at_work = sum(weight > 0 for weight in weights.values())
        for job, found in self._jobs.items():
            found.energy_mj += shares.job_to_mj[job]
            found.metered_ms += duration_ms
            # Among several, whose it was is reckoned by tokens and not measured.
            found.is_exclusive &= foreign_percent == 0 and at_work == (weights[job] > 0)

    def _job_weights(self, own_percent: int) -> dict[bytes, int]:
        kinds = self._weights
        weights = {
            job: (one.prefill_units * kinds.prefill if one.is_reading else 0)
            + one.decode_units * kinds.decode
            for job, one in self._jobs.items()
        }
        if own_percent and not any(weights.values()):
            # At work, and nothing to tell the jobs apart by.
            return dict.fromkeys(weights, 1)
        return weights

    def _turn_page(self) -> None:
        for one in self._jobs.values():
            if one.decode_units:
                one.is_reading = False
            one.decode_units = 0


def _busy(sample: Sample, own: Collection[int]) -> tuple[int | None, int]:
    """How busy our processes and all others kept the GPU; None where ours cannot be told."""
    if sample.process_loads is not None:
        ours = [one.load.sm or 0 for one in sample.process_loads if one.pid in own]
        theirs = [one.load.sm or 0 for one in sample.process_loads if one.pid not in own]
        return sum(ours), sum(theirs)
    if sample.slice_loads and sample.processes is not None:
        mine = {one.instance for one in sample.processes if one.pid in own}
        if None not in mine:
            by_us = [one.load.sm or 0 for one in sample.slice_loads if one.instance in mine]
            by_others = [one.load.sm or 0 for one in sample.slice_loads if one.instance not in mine]
            return sum(by_us), sum(by_others)
    others = [one for one in sample.processes or () if one.pid not in own]
    if others or sample.processes is None:
        # The load has no name. It is not said to be ours, nor are the joules.
        return None, sample.load.sm or 0
    return sample.load.sm, 0
