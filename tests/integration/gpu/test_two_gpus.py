"""Two GPUs with days of their own, three engines on them, the shipped leases, NVIDIA's binding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import replace
from functools import partial

import pytest
import trio
from tests.integration.gpu.library import Scenario
from tests.simulation import gpu_days
from tests.simulation.gpu_days import LIMITS, LOOK_S, OURS, RULES, Day, script

from rowen.gpu.base import GpuInfo, Sample
from rowen.gpu.nvml import NvmlProbe
from rowen.protocol.errors import Reason, Unavailable
from rowen.provider.leases import Leases, Switch
from rowen.provider.policy import Policy
from rowen.provider.stock import Vacated
from rowen.provider.tenants import Patience
from rowen.provider.whose import Whose
from rowen.testing.gpu import Card, GpuWorld
from rowen_scheduler.placement import LeaseState

GIB = 1 << 30
UUIDS = ("GPU-00000000", "GPU-11111111")
ENGINES = ((0,), (1,), (0, 1))
RELEASE_S = 1.5
UNTIL_S = 8 * 3600


class Engine:
    """A tenant that is there at once and leaves after a while."""

    def __init__(self, places: tuple[int, ...]) -> None:
        self.gpus = tuple(UUIDS[place] for place in places)
        self.is_open = True

    def close(self, reason: Reason, detail: str, retry_ms: int | None = None) -> None:
        self.is_open = False

    async def vacate(
        self, *, end_s: float, release_s: float, detail: str, retry_ms: int | None = None
    ) -> Vacated:
        await trio.sleep(RELEASE_S)
        return Vacated(jobs=0, is_free=True, has_slept=True, jobs_s=0, memory_s=RELEASE_S)

    async def reopen(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_open = True


class Machine:
    """Two cards, each with its script; a driver that goes takes both."""

    def __init__(self, days: tuple[Day, Day], scenario: Scenario) -> None:
        cards = [
            Card(uuid=uuid, tells=day.tells, memory_bytes=24 * GIB)
            for uuid, day in zip(UUIDS, days, strict=True)
        ]
        self.world = GpuWorld(*cards)
        self.second = 0
        self.leases: Leases
        self._days = days
        self._scenario = scenario
        self._probe = NvmlProbe()
        self._boundaries = sorted({b for day in days for b in gpu_days._boundaries(day)})
        self._seen: dict[tuple[object, ...], list[Sample | None]] = {}

    async def inventory(self) -> tuple[GpuInfo, ...]:
        await trio.lowlevel.checkpoint()
        return ()

    async def sample(self, uuid: str) -> Sample:
        """Both cards as the driver shows them; between two boundaries nothing changes but us."""
        await trio.lowlevel.checkpoint()
        ours = [
            gpu.lease.state is LeaseState.LEASED and self.second // 97 % 2 == 0
            for gpu in self.leases.gpus
        ]
        key = (bisect_right(self._boundaries, self.second), *ours)
        if key not in self._seen:
            for place, day in enumerate(self._days):
                gpu_days.show(day, self.second, self.world, ours=ours[place], place=place)
            self.world.is_driver_up = not any(self.is_down(day) for day in self._days)
            self.world.pass_time(1)
            self._scenario.put(self.world.scenario())
            self._seen[key] = [self._look(one) for one in UUIDS]
        found = self._seen[key][UUIDS.index(uuid)]
        if found is None:
            raise Unavailable("it does not answer")
        return found

    def is_down(self, day: Day) -> bool:
        return any(span.what == "down" for span in day.at(self.second))

    def _look(self, uuid: str) -> Sample | None:
        try:
            return self._probe._guarded(partial(self._probe._sample, uuid))
        except Unavailable:
            return None

    async def identify(self, pids: frozenset[int], ignore: Collection[str]) -> Whose:
        return Whose(pids & {OURS}, ())

    def paused(self) -> set[str]:
        return {
            uuid
            for uuid, day in zip(UUIDS, self._days, strict=True)
            if any(span.what == "paused" for span in day.at(self.second))
        }


def with_downs(day: Day, other: Day) -> Day:
    """A day that knows when the other one's driver, which is its own too, is away."""
    return replace(day, spans=[*day.spans, *(s for s in other.spans if s.what == "down")])


@pytest.mark.parametrize(
    "numbers",
    [(1, 3), *(pytest.param((n, n + 9), marks=pytest.mark.slow) for n in range(0, 24, 2))],
)
async def test_each_engine_is_open_exactly_while_all_its_gpus_are_lent(
    numbers: tuple[int, int], scenario: Scenario, autojump_clock: trio.testing.MockClock
) -> None:
    """Every look of eight hours, against oracles that know one card's script each."""
    first, second = (replace(script(n), release_s=RELEASE_S) for n in numbers)
    days = (with_downs(first, second), with_downs(second, first))
    expected = [gpu_days.lent_by_the_oracle(day) for day in days]
    machine = Machine(days, scenario)
    switch = Switch()
    machine.leases = leases = Leases(
        machine,
        [(u, u, Policy(limits=LIMITS, hours=d.hours)) for u, d in zip(UUIDS, days, strict=True)],
        rules=RULES,
        patience=Patience(end_s=1, release_s=4),
        minute_of_week=lambda: machine.second // 60,
        switch=switch,
        identify=machine.identify,
    )
    engines = [Engine(places) for places in ENGINES]
    leases.house(engines)
    apart = both = 0
    async with trio.open_nursery() as nursery:
        for housed in leases._housed:
            nursery.start_soon(housed.stay.run)
        for look, now in enumerate(range(0, UNTIL_S, LOOK_S)):
            machine.second = now
            switch.uuids = machine.paused()
            await leases.look()
            lent = [gpu.lease.state is LeaseState.LEASED for gpu in leases.gpus]
            assert lent == [each[look] for each in expected], f"at {now} s"
            await trio.sleep(LOOK_S)
            open_now = [one.is_open for one in engines]
            assert open_now == [lent[0], lent[1], all(lent)], f"at {now} s"
            apart += lent[0] is not lent[1]
            both += all(lent)
        nursery.cancel_scope.cancel()
    assert apart > 1000, "days on which the two are always alike would prove nothing"
    assert both > 500
