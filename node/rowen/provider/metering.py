"""The energy of jobs, over all GPUs that their engines use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import trio

from rowen.gpu.energy import EnergyMeter, JobEnergy
from rowen.protocol.seller_billing import Spent
from rowen.protocol.statements import EnergySource

FRESH_S = 0.1
"""A counter moves about so often; looking sooner tells nothing new."""


class Meters:
    """Meters jobs, each on the GPUs of its engine together.

    Args:
        meters: Of each GPU, by UUID; none where nothing is metered.
        look: Looks at all of them now.
        fresh_s: A look is not repeated sooner; where a look is dear, the last one has to do.
    """

    def __init__(
        self,
        meters: Mapping[str, EnergyMeter] | None = None,
        look: Callable[[], Awaitable[None]] | None = None,
        *,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._meters = dict(meters or {})
        self._jobs: dict[bytes, tuple[EnergyMeter, ...]] = {}
        self._look = look
        self._fresh_s = fresh_s
        self._looked_at = -fresh_s

    @contextmanager
    def job(self, job: bytes, input_units: int, gpus: Collection[str] = ()) -> Iterator[None]:
        """Meters a job for as long as the block lasts.

        Args:
            job: Its id.
            input_units: Tokens that its engine reads.
            gpus: UUIDs of those that its engine uses; empty for all.
        """
        # Without a look: the driver takes milliseconds, and the client waits for its first word.
        meters = tuple(one for uuid, one in self._meters.items() if not gpus or uuid in gpus)
        self._jobs[job] = meters
        for meter in meters:
            meter.begin(job, input_units)
        try:
            yield
        finally:
            del self._jobs[job]
            for meter in meters:
                meter.end(job)

    def worked(self, job: bytes, output_units: int) -> None:
        """A job made output."""
        for meter in self._jobs.get(job, ()):
            meter.worked(job, output_units)

    async def refresh(self) -> None:
        """Looks at the counters, so that ``spent`` is up to date."""
        if self._look is None or not self._meters:
            return
        now = trio.current_time()
        if now - self._looked_at >= self._fresh_s:
            self._looked_at = now
            await self._look()

    def spent(self, job: bytes) -> Spent:
        """What a job used up to the last look.

        On several GPUs it is the sum; if one of them cannot be metered, the sum would be too
        little, so nothing is told.
        """
        return _sum([meter.spent(job) for meter in self._jobs.get(job, ())])


def _sum(parts: Sequence[JobEnergy]) -> Spent:
    gpu_ms = sum(part.gpu_ms for part in parts)
    sources = {part.source for part in parts}
    is_shared = not all(part.is_exclusive for part in parts)
    is_weak = any(part.is_weak for part in parts)
    if not sources or EnergySource.NONE in sources:
        return Spent(gpu_ms=gpu_ms)
    # Of several, the least exact, which has the highest number.
    return Spent(
        gpu_ms=gpu_ms,
        energy_mj=sum(part.energy_mj for part in parts),
        energy_source=max(sources).marked(is_shared=is_shared, is_weak=is_weak),
    )
