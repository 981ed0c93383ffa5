"""A node's leases: who is let in, who is told to leave, and how soon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from rowen.gpu.judging import MIB, Limits
from rowen.protocol.errors import Reason, Unavailable
from rowen.provider.leases import PAUSED_RETRY_MS, Leases, Switch
from rowen.provider.policy import UNWATCHED, Policy
from rowen.provider.stock import Vacated
from rowen.provider.tenants import Occupancy, Patience, Stay
from rowen.provider.whose import Whose
from rowen.testing.gpu import H200, Card, GpuWorld, Program, SimulatedProbe
from rowen_scheduler.hours import parse_hours
from rowen_scheduler.placement import LeaseRules, LeaseState, Why

OURS = 777
OWNER = 4242
HOLD_S = 30.0


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@dataclass
class Guest:
    """A tenant that writes down what it is told."""

    leave_s: float = 0.5
    wake_s: float = 0.0
    fails: int = 0
    is_open: bool = True
    told: list[str] = field(default_factory=list)
    retry_ms: int | None = None
    detail: str = ""
    gpus: tuple[str, ...] = ()

    def close(self, reason: Reason, detail: str, retry_ms: int | None = None) -> None:
        assert reason is Reason.NO_LEASE
        self.is_open = False
        self.detail, self.retry_ms = detail, retry_ms

    async def vacate(
        self, *, end_s: float, release_s: float, detail: str, retry_ms: int | None = None
    ) -> Vacated:
        assert not self.is_open
        self.told.append("vacate")
        await trio.sleep(self.leave_s)
        return Vacated(jobs=2, is_free=True, has_slept=True, jobs_s=0.0, memory_s=self.leave_s)

    async def reopen(self) -> None:
        self.told.append("wake")
        await trio.sleep(self.wake_s)
        if self.fails:
            self.fails -= 1
            raise Unavailable("it does not start")
        self.is_open = True
        self.told.append("open")


class World:
    """A node's leases over simulated cards, and its owner's hands."""

    def __init__(
        self,
        *cards: Card,
        policy: Policy | None = None,
        hold_s: float = HOLD_S,
        guests: Sequence[Guest] = (),
    ) -> None:
        self.gpus = GpuWorld(*cards)
        self.guests = list(guests) or [Guest()]
        self.guest = self.guests[0]
        self.minute = 0
        self.switch = Switch()
        self.leases = Leases(
            SimulatedProbe(self.gpus),
            [(card.uuid, card.name, policy or Policy()) for card in cards],
            rules=LeaseRules(hold_s=hold_s, release_s_max=5),
            patience=Patience(end_s=2, release_s=3),
            minute_of_week=lambda: self.minute,
            switch=self.switch,
            identify=self.identify,
        )

    async def identify(self, pids: frozenset[int], ignore: Collection[str]) -> Whose:
        await trio.lowlevel.checkpoint()
        return Whose(pids & {OURS}, ())

    async def pass_time(self, seconds: int) -> None:
        """Second by second, half a second away from the looks."""
        for _ in range(seconds):
            self.gpus.pass_time(1)
            await trio.sleep(1)

    def is_open(self) -> bool:
        """Whether jobs are taken."""
        return self.guest.is_open

    def is_overdue(self) -> bool:
        """Whether the first card's engines are slow to leave."""
        return self.leases.gpus[0].lease.is_overdue

    @property
    def states(self) -> list[LeaseState]:
        return [gpu.lease.state for gpu in self.leases.gpus]


@asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        world.leases.house(world.guests)
        await nursery.start(world.leases.run)
        await trio.sleep(0.5)
        yield world
        nursery.cancel_scope.cancel()


TRANSCODES = Program(pid=OWNER, sm=2, encoder=40, decoder=20, encodes=(1920, 1080, 60))
LOADED = Program(pid=OWNER, memory_bytes=900 * MIB)
JOB = Program(pid=OURS, memory_bytes=8 << 30, sm=97)


async def test_a_quiet_card_is_leased_after_the_hold(autojump_clock: MockClock) -> None:
    async with running(World(Card())) as world:
        await world.pass_time(29)
        assert (world.states, world.is_open()) == ([LeaseState.QUIET], False)
        await world.pass_time(3)
        assert (world.states, world.is_open()) == ([LeaseState.LEASED], True)
        assert world.guest.told == ["wake", "open"]


async def test_what_was_loaded_at_the_start_leaves_a_busy_owner(
    autojump_clock: MockClock,
) -> None:
    """A node that starts in the middle of a film must not hold memory until the end of it."""
    async with running(World(Card(programs=[TRANSCODES]))) as world:
        await world.pass_time(2)
        assert world.guest.told == ["vacate"]
        assert world.leases.gpus[0].lease.why is Why.TRANSCODE


async def test_the_first_look_that_shows_the_owner_closes_the_door(
    autojump_clock: MockClock,
) -> None:
    async with running(World(Card())) as world:
        await world.pass_time(35)
        card = world.gpus.cards[0]
        card.programs = [JOB, LOADED]
        await world.pass_time(20)
        assert world.is_open()
        card.programs = [JOB, TRANSCODES]
        await world.pass_time(1)
        assert not world.is_open()
        assert world.states == [LeaseState.PREEMPTING]
        card.programs = [TRANSCODES]
        await world.pass_time(2)
        assert world.states == [LeaseState.OWNER]
        last = world.leases.last
        assert last is not None
        assert (last.jobs, last.memory_ms, last.is_free) == (2, 500, True)
        assert last.memory_ms <= world.leases.bound_ms
        card.programs = [LOADED]
        await world.pass_time(29)
        assert not world.is_open()
        await world.pass_time(4)
        assert world.is_open()
        assert world.guest.told == ["wake", "open", "vacate", "wake", "open"]


async def test_clients_are_told_why_and_when_to_come_back(autojump_clock: MockClock) -> None:
    """And nothing of what the owner runs."""
    async with running(World(Card(programs=[TRANSCODES]))) as world:
        await world.pass_time(2)
        assert world.guest.detail == "the owner uses this GPU"
        assert world.guest.retry_ms == 30_000
        world.gpus.cards[0].programs = []
        await world.pass_time(11)
        assert world.guest.retry_ms is not None
        assert 19_000 <= world.guest.retry_ms <= 21_000


async def test_every_card_has_to_be_free_and_one_that_is_not_ends_it(
    autojump_clock: MockClock,
) -> None:
    cards = [Card(uuid=f"GPU-{n}", tells=H200) for n in range(2)]
    async with running(World(*cards)) as world:
        cards[1].programs = [TRANSCODES]
        await world.pass_time(40)
        assert world.states == [LeaseState.LEASED, LeaseState.OWNER]
        assert not world.is_open()
        cards[1].programs = []
        await world.pass_time(35)
        assert world.is_open()
        cards[0].programs = [Program(pid=OWNER, sm=60)]
        await world.pass_time(1)
        assert not world.is_open()
        assert world.states == [LeaseState.PREEMPTING, LeaseState.LEASED]


async def test_an_engine_is_open_while_the_gpus_that_it_uses_are_leased(
    autojump_clock: MockClock,
) -> None:
    """The owner's work on one GPU is nothing to an engine on the other."""
    cards = [Card(uuid=f"GPU-{n}", tells=H200) for n in range(2)]
    first, second, both = Guest(gpus=("GPU-0",)), Guest(gpus=("GPU-1",)), Guest()
    guests = [first, second, both]
    async with running(World(*cards, guests=guests)) as world:
        cards[1].programs = [TRANSCODES]
        await world.pass_time(40)
        assert [one.is_open for one in guests] == [True, False, False]
        assert world.leases.is_leased
        assert second.detail == "the owner uses this GPU"
        cards[1].programs = []
        await world.pass_time(35)
        assert [one.is_open for one in guests] == [True, True, True]
        cards[1].programs = [TRANSCODES]
        await world.pass_time(1)
        assert [one.is_open for one in guests] == [True, False, False]
        assert world.states == [LeaseState.LEASED, LeaseState.PREEMPTING]
        await world.pass_time(2)
        assert world.states == [LeaseState.LEASED, LeaseState.OWNER]
        assert first.told == ["wake", "open"], "it was never told to leave"
        world.switch.uuids.add("GPU-0")
        await world.pass_time(1)
        assert [one.is_open for one in guests] == [False, False, False]


async def test_a_gpu_is_its_owners_once_the_last_engine_on_it_has_left(
    autojump_clock: MockClock,
) -> None:
    cards = [Card(uuid=f"GPU-{n}", tells=H200) for n in range(2)]
    quick, slow = Guest(gpus=("GPU-0",)), Guest(gpus=("GPU-0", "GPU-1"), leave_s=4)
    async with running(World(*cards, guests=[quick, slow])) as world:
        await world.pass_time(35)
        cards[0].programs = [TRANSCODES]
        await world.pass_time(3)
        assert world.states == [LeaseState.PREEMPTING, LeaseState.LEASED]
        await world.pass_time(3)
        assert world.states == [LeaseState.OWNER, LeaseState.LEASED]


async def test_a_job_is_metered_on_the_gpus_of_its_engine_alone(
    autojump_clock: MockClock,
) -> None:
    """Each GPU's joules stay exactly its counter's; a job's are the sum over its engine's GPUs."""
    cards = [Card(uuid=f"GPU-{n}", tells=H200, peak_mw=400_000 + n) for n in range(3)]
    async with running(World(*cards)) as world:
        await world.pass_time(3)
        meters = world.leases.meters
        for card in cards:
            card.programs = [Program(pid=OURS, sm=50)]
        with meters.job(b"one", 100, ("GPU-0",)), meters.job(b"two", 100, ("GPU-0", "GPU-1")):
            for _ in range(10):
                meters.worked(b"one", 10)
                meters.worked(b"two", 30)
                await world.pass_time(1)
            await meters.refresh()
            one, two = meters.spent(b"one"), meters.spent(b"two")
        totals = [gpu.meter.totals for gpu in world.leases.gpus]
        assert meters.spent(b"one").energy_mj == 0
    for each in totals:
        assert each.idle_mj + each.foreign_mj + each.jobs_mj == each.counter_mj > 0
    assert one.energy_mj + two.energy_mj == totals[0].jobs_mj + totals[1].jobs_mj
    assert two.energy_mj > totals[1].jobs_mj > 0
    assert totals[2].jobs_mj == 0
    assert totals[2].idle_mj == totals[2].counter_mj


async def test_the_owners_switch_works_at_once_and_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with running(World(Card())) as world:
        await world.pass_time(35)
        world.switch.all = True
        await world.leases.obey()
        assert world.states == [LeaseState.OWNER]
        assert not world.is_open()
        assert world.guest.retry_ms == PAUSED_RETRY_MS
        await world.pass_time(100)
        assert world.leases.gpus[0].lease.why is Why.PAUSED
        world.switch.all = False
        await world.pass_time(33)
        assert world.is_open()
        world.switch.uuids.add(world.gpus.cards[0].uuid)
        await world.pass_time(1)
        assert not world.is_open()


async def test_outside_of_the_owners_hours_nothing_is_lent(autojump_clock: MockClock) -> None:
    policy = Policy(hours=parse_hours(("mon 01:00-02:00",)))
    async with running(World(Card(), policy=policy)) as world:
        await world.pass_time(40)
        assert not world.is_open()
        assert world.leases.gpus[0].lease.why is Why.HOURS
        assert world.guest.retry_ms == 60 * 60_000 + 30_000
        world.minute = 60
        await world.pass_time(33)
        assert world.is_open()
        world.minute = 120
        await world.pass_time(1)
        assert not world.is_open()


async def test_a_driver_that_goes_takes_the_lease_with_it(autojump_clock: MockClock) -> None:
    """What cannot be seen is not lent; when it is back, quiet is counted from there."""
    async with running(World(Card())) as world:
        await world.pass_time(35)
        world.gpus.is_driver_up = False
        await world.pass_time(3)
        assert not world.is_open()
        assert world.leases.gpus[0].lease.why is Why.LOST
        world.gpus.is_driver_up = True
        world.gpus.restart_driver()
        await world.pass_time(29)
        assert not world.is_open()
        await world.pass_time(4)
        assert world.is_open()


async def test_an_engine_that_wakes_when_the_owner_returns_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    world = World(Card())
    world.guest.wake_s = 120
    async with running(world):
        await world.pass_time(40)
        assert world.guest.told == ["wake"]
        world.gpus.cards[0].programs = [TRANSCODES]
        await world.pass_time(2)
        assert world.guest.told == ["wake", "vacate"]
        assert not world.is_open()


async def test_an_engine_that_does_not_come_back_is_asked_again(
    autojump_clock: MockClock,
) -> None:
    world = World(Card())
    world.guest.fails = 2
    async with running(world):
        await world.pass_time(60)
        assert world.guest.told == ["wake", "wake", "wake", "open"]
        assert world.is_open()


async def test_engines_that_stay_too_long_are_shown(autojump_clock: MockClock) -> None:
    world = World(Card())
    world.guest.leave_s = 20
    async with running(world):
        await world.pass_time(35)
        world.gpus.cards[0].programs = [TRANSCODES]
        await world.pass_time(4)
        assert not world.is_overdue()
        await world.pass_time(4)
        assert world.is_overdue()
        await world.pass_time(20)
        assert world.states == [LeaseState.OWNER]
        assert world.leases.memory_ms_max == 20_000


async def test_where_nothing_is_watched_nobody_waits(autojump_clock: MockClock) -> None:
    """And still the switch is the owner's."""
    world = World(Card(), policy=Policy(limits=UNWATCHED.limits), hold_s=0)
    async with running(world):
        assert world.is_open()
        world.switch.all = True
        await world.pass_time(1)
        assert not world.is_open()


async def test_too_little_memory_for_our_engines_is_no_lease(autojump_clock: MockClock) -> None:
    policy = Policy(limits=Limits(need_bytes=16 << 30, reserve_bytes=4 << 30))
    loaded = Program(pid=OWNER, memory_bytes=5 << 30)
    async with running(World(Card(programs=[loaded]), policy=policy)) as world:
        await world.pass_time(40)
        assert world.leases.gpus[0].lease.why is Why.MEMORY
        loaded.memory_bytes = 4 << 30
        await world.pass_time(33)
        assert world.is_open()


async def test_a_look_on_a_jobs_behalf_decides_too(autojump_clock: MockClock) -> None:
    """What it took from the driver, the next look would not see."""
    async with running(World(Card())) as world:
        await world.pass_time(35)
        world.gpus.cards[0].programs = [Program(pid=OWNER, sm=60)]
        await world.leases.meters.refresh()
        assert not world.is_open()


async def test_joules_of_jobs_idling_and_the_owner_are_the_counters(
    autojump_clock: MockClock,
) -> None:
    async with running(World(Card())) as world:
        card = world.gpus.cards[0]
        await world.pass_time(35)
        meters = world.leases.meters
        card.programs = [JOB]
        with meters.job(b"job", 100):
            for _ in range(10):
                meters.worked(b"job", 30)
                await world.pass_time(1)
            await meters.refresh()
            spent = meters.spent(b"job")
        card.programs = [TRANSCODES]
        await world.pass_time(10)
        totals = world.leases.gpus[0].meter.totals
        assert totals.idle_mj + totals.foreign_mj + totals.jobs_mj == totals.counter_mj
        assert spent.energy_mj == totals.jobs_mj > 10 * 300_000
        assert spent.gpu_ms == pytest.approx(9_700, rel=0.1)
        assert totals.foreign_mj > 0


async def test_a_tenant_that_was_let_in_and_evicted_in_one_moment_is_out(
    autojump_clock: MockClock,
) -> None:
    """The waking ends in the same tick in which it is told to stop."""

    class Quick(Guest):
        async def reopen(self) -> None:
            await trio.lowlevel.checkpoint()
            occupancy.evict("the owner uses this GPU", 1000)
            self.is_open = True

    guest = Quick(leave_s=0)
    occupancy = Occupancy(guest, Patience())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(occupancy.run)
        occupancy.admit()
        await trio.testing.wait_all_tasks_blocked()
        assert occupancy.stay is Stay.OUT
        assert not guest.is_open
        assert guest.told == ["vacate"]
        nursery.cancel_scope.cancel()
