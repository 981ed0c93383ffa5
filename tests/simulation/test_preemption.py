"""The owner's work returns while a stranger's job runs: who gets what, and who pays for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from rowen.client.answer import Answer
from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import Finish
from rowen.protocol.statements import EnergySource, Status
from rowen.provider.leases import Leases
from rowen.provider.policy import Policy
from rowen.provider.settings import Prices
from rowen.provider.whose import Whose
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.gpu import Card, GpuWorld, Program, SimulatedProbe
from rowen.testing.simulator import PRICES, SimProvider, Simulation, simulate
from rowen_scheduler.placement import LeaseRules, LeaseState

OURS = 777
JOB = Program(pid=OURS, memory_bytes=8 << 30, sm=97)
FILM = Program(pid=4242, sm=3, encoder=40, decoder=20, encodes=(1920, 1080, 25))
LOADED = Program(pid=4242)
HOLD_S = 10.0
STORY = " ".join(f"word{n}" for n in range(120))


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


class Lending:
    """A provider whose engine is on a simulated card."""

    def __init__(self) -> None:
        self.card = Card(programs=[LOADED])
        self.gpus = GpuWorld(self.card)
        self.engine = ScriptedEngine(STORY, delay_s=0.1)
        self.leases = Leases(
            SimulatedProbe(self.gpus),
            [(self.card.uuid, self.card.name, Policy())],
            rules=LeaseRules(hold_s=HOLD_S),
            minute_of_week=lambda: 0,
            identify=self.identify,
        )

    async def identify(self, pids: frozenset[int], ignore: Collection[str]) -> Whose:
        await trio.lowlevel.checkpoint()
        return Whose(pids & {OURS}, ())

    async def pass_time(self) -> None:
        """The card draws, ten times a second, and shows our job while one runs."""
        while True:
            await trio.sleep(0.1)
            self.gpus.pass_time(0.1)
            ours = [JOB] if self.engine.counters.running else []
            others = [one for one in self.card.programs if one.pid != OURS]
            self.card.programs = [*others, *ours]


@asynccontextmanager
async def lending(world: Simulation) -> AsyncIterator[tuple[Lending, SimProvider]]:
    lent = Lending()
    provider = await world.add_provider(lent.engine, meters=lent.leases.meters)
    assert provider.node is not None
    lent.leases.house(provider.node.stock.shelves.values())
    world.nursery.start_soon(lent.pass_time)
    await world.nursery.start(lent.leases.run)
    yield lent, provider


async def test_a_job_is_ended_with_a_receipt_and_goes_on_elsewhere(
    autojump_clock: MockClock,
) -> None:
    """The first is paid for what it delivered, the second for the rest; no word is lost."""
    async with simulate(1) as world, lending(world) as (lent, first):
        dearer = Prices(input=2 * PRICES.input, cached=PRICES.cached, output=2 * PRICES.output)
        second = await world.add_provider(ScriptedEngine(STORY, delay_s=0.1), prices=dearer)
        client = await world.add_client()
        assert client.client is not None
        await trio.sleep(HOLD_S + 3)
        assert lent.leases.is_leased
        wanted = client.client.chat("tell", model=SCRIPTED.model, max_cost=100_000, max_output=500)
        async with wanted as answer:
            await read_some(answer, 20)
            lent.card.programs = [FILM, *lent.card.programs]
            await answer.read()
        assert answer.text == STORY
        assert answer.finish is Finish.STOP
        assert [part.provider for part in answer.parts] == [first.key.address, second.key.address]
        last, _ = answer.parts[0].receipts[-1]
        assert last.status is Status.PREEMPTED
        assert last.output_units == answer.parts[0].output_units > 20
        # The look that ended it shows the owner at work, in a second that was the job's as well.
        assert last.energy_source is EnergySource.NVML_COUNTER_SHARED
        assert last.energy_mj > 0
        assert last.gpu_ms > 0


async def read_some(answer: Answer, units: int) -> None:
    async for _ in answer:
        if answer.output_units >= units:
            return


async def test_while_the_owner_works_orders_are_refused_and_then_taken_again(
    autojump_clock: MockClock,
) -> None:
    async with simulate(2) as world, lending(world) as (lent, _):
        client = await world.add_client()
        assert client.client is not None
        lent.card.programs = [FILM]
        await trio.sleep(3)
        with pytest.raises(Unavailable, match="no_lease: the owner uses this GPU"):
            async with client.client.chat("tell", model=SCRIPTED.model, max_cost=9_000) as answer:
                await answer.read()
        lent.card.programs = [LOADED]
        await trio.sleep(HOLD_S + 3)
        async with client.client.chat("tell", model=SCRIPTED.model, max_cost=9_000) as answer:
            await answer.read()
        assert answer.text == STORY


async def test_our_own_job_trips_nothing_and_its_joules_are_on_the_receipt(
    autojump_clock: MockClock,
) -> None:
    async with simulate(3) as world, lending(world) as (lent, _):
        client = await world.add_client()
        assert client.client is not None
        await trio.sleep(HOLD_S + 3)
        async with client.client.chat("tell", model=SCRIPTED.model, max_cost=9_000) as answer:
            await answer.read()
        assert answer.finish is Finish.STOP
        assert lent.leases.last is None or lent.leases.gpus[0].lease.state is LeaseState.LEASED
        receipts = [receipt for receipt, _ in answer.parts[0].receipts]
        readings = [receipt.energy_mj for receipt in receipts]
        assert readings == sorted(readings)
        totals = lent.leases.gpus[0].meter.totals
        # One job and no other: all that jobs used is on its last receipt.
        assert readings[-1] == totals.jobs_mj > 0
        assert totals.jobs_mj + totals.idle_mj + totals.foreign_mj == totals.counter_mj


async def test_the_engine_gives_its_memory_back_within_the_bound(
    autojump_clock: MockClock,
) -> None:
    async with simulate(4) as world, lending(world) as (lent, _):
        client = await world.add_client()
        assert client.client is not None
        await trio.sleep(HOLD_S + 3)
        async with client.client.chat("tell", model=SCRIPTED.model, max_cost=9_000) as answer:
            await read_some(answer, 10)
            lent.card.programs = [FILM, *lent.card.programs]
            with pytest.raises(Unavailable, match="preempted"):
                await answer.read()
        await trio.sleep(2)
        last = lent.leases.last
        assert last is not None
        assert (last.jobs, last.is_free) == (1, True)
        assert last.memory_ms <= lent.leases.bound_ms
        assert not lent.engine.is_ready
        assert lent.engine.counters.running == 0
