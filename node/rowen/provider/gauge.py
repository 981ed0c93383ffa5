"""What a machine's energy counters say of a span of time, for measurements."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from rowen.gpu.base import GpuProbe
from rowen.gpu.energy import EnergyMeter
from rowen.protocol.errors import Unavailable
from rowen.protocol.statements import EnergySource

LOOK_S = 0.25
"""Power that is only told must be added up often; counters do not mind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """Energy of some devices together. Use ``open_gauge``.

    Attributes:
        devices: Their names.
        source: Where it is known from; of several, the weakest.
    """

    devices: tuple[str, ...]
    source: EnergySource
    _probe: GpuProbe
    _meters: dict[str, EnergyMeter]

    async def read_mj(self) -> int:
        """Millijoules since the gauge was opened, all devices together.

        Raises:
            Unavailable: A device does not answer.
        """
        await self._look()
        return sum(meter.totals.counter_mj for meter in self._meters.values())

    async def _look(self) -> None:
        for uuid, meter in self._meters.items():
            sample = await self._probe.sample(uuid)
            meter.look(sample, round(trio.current_time() * 1000), ())

    async def _look_often(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            await self._look()


@asynccontextmanager
async def open_gauge(probe: GpuProbe, uuids: Sequence[str] = ()) -> AsyncIterator[Gauge | None]:
    """A gauge of these devices, or of all that the probe knows; None when one tells no energy.

    Half of a machine's energy would make a price that is too low, so it is all or nothing.
    """
    try:
        infos = await probe.inventory()
        chosen = [info for info in infos if not uuids or info.uuid in uuids]
        samples = [await probe.sample(info.uuid) for info in chosen]
    except Unavailable:
        yield None
        return
    sources = [sample.energy_source for sample in samples]
    if not sources or EnergySource.NONE in sources:
        yield None
        return
    gauge = Gauge(
        devices=tuple(info.name for info in chosen),
        source=max(sources),
        _probe=probe,
        _meters={info.uuid: EnergyMeter() for info in chosen},
    )
    await gauge.read_mj()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gauge._look_often)
        yield gauge
        nursery.cancel_scope.cancel()
