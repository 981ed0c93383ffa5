"""Places at engines: waiting, sharing, caps, and the owner who wants the GPU back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from tests.simulation.conversation import Talk, talk
from trio.testing import MockClock

from rowen.protocol import messages
from rowen.protocol.errors import Reason, Refused
from rowen.protocol.statements import Receipt, Status
from rowen.provider.settings import Caps, ProviderSettings
from rowen.provider.stock import Shelf, Vacated
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import CONFIRMATIONS, SimProvider, Simulation, simulate


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@asynccontextmanager
async def shop(
    engine: ScriptedEngine, caps: Caps | None = None, *, jobs_max: int = 8, clients: int = 1
) -> AsyncIterator[tuple[SimProvider, list[Talk]]]:
    """A provider, and clients that speak by hand."""
    async with simulate(1) as world, trio.open_nursery() as nursery:
        settings = ProviderSettings(
            credit=100_000,
            credit_total=10**9,
            jobs_max=jobs_max,
            confirmations=CONFIRMATIONS,
            caps=caps or Caps(),
        )
        provider = await world.add_provider(engine, settings)
        hands = [await nursery.start(_hold, world, provider) for _ in range(clients)]
        yield provider, hands
        nursery.cancel_scope.cancel()


async def _hold(
    world: Simulation, provider: SimProvider, task_status: trio.TaskStatus[Talk]
) -> None:
    client = await world.add_client()
    await client.kill()
    async with talk(world, client, provider) as hand:
        await hand.attach()
        await hand.hear_until(messages.Attached)
        task_status.started(hand)
        await trio.sleep_forever()


def shelf_of(provider: SimProvider) -> Shelf:
    assert provider.node is not None
    (shelf,) = provider.node.stock.shelves.values()
    return shelf


async def order(hand: Talk) -> bytes:
    """Submits one job; its id."""
    job, encoded = hand.order(amount_max=50_000)
    await hand.submit(job, encoded)
    return job.job_id


async def answer(hand: Talk) -> messages.Accepted | messages.No:
    """What comes first of the two."""
    while True:
        said = await hand.hear()
        if isinstance(said, messages.Accepted | messages.No):
            return said
        assert said is not None


def slow(concurrency: int = 1) -> ScriptedEngine:
    """Takes 10 s for an answer."""
    return ScriptedEngine(delay_s=0.25, info=replace(SCRIPTED, concurrency=concurrency))


async def test_a_job_waits_for_a_place_and_gets_the_next(autojump_clock: MockClock) -> None:
    """No engine ever sees more jobs than it said it can serve."""
    engine = slow()
    async with shop(engine, Caps(wait_s_max=100)) as (_, (hand,)):
        first = await order(hand)
        accepted = [await answer(hand)]
        second = await order(hand)
        accepted.append(await answer(hand))
        assert [said.job for said in accepted] == [first, second]
        assert not any(isinstance(said, messages.No) for said in accepted)
        assert engine.counters.running_max == 1


async def test_whoever_waits_too_long_is_sent_on(autojump_clock: MockClock) -> None:
    """Another provider may have a place at once."""
    async with shop(slow(), Caps(wait_s_max=3)) as (provider, (hand,)):
        await order(hand)
        await answer(hand)
        before = trio.current_time()
        second = await order(hand)
        said = await answer(hand)
        assert isinstance(said, messages.No)
        assert (said.job, said.reason) == (second, Reason.BUSY)
        assert "within 3 s" in said.detail
        assert said.retry_ms
        assert trio.current_time() - before == pytest.approx(3, abs=0.5)
        assert shelf_of(provider).waiting == 0


async def test_one_client_cannot_keep_another_waiting_behind_all_its_jobs(
    autojump_clock: MockClock,
) -> None:
    """Fairness: the newcomer's only job goes before the third of whoever came first."""
    async with shop(slow(), Caps(wait_s_max=1000), clients=2) as (_, (greedy, modest)):
        for _ in range(4):
            await order(greedy)
        await answer(greedy)
        await order(modest)
        accepted: list[str] = []

        async def wait(name: str, hand: Talk, jobs: int) -> None:
            for _ in range(jobs):
                said = await answer(hand)
                assert isinstance(said, messages.Accepted), said
                accepted.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "greedy", greedy, 3)
            nursery.start_soon(wait, "modest", modest, 1)
        assert accepted.index("modest") == 0


async def test_the_257th_job_is_refused_with_a_reason_and_a_time(autojump_clock: MockClock) -> None:
    """A node has a bound on jobs whoever brings them; the others go on."""
    engine = slow(concurrency=1_000)
    async with shop(engine, jobs_max=300) as (_, (hand,)):
        for _ in range(256):
            await order(hand)
            assert isinstance(await answer(hand), messages.Accepted)
        last = await order(hand)
        said = await answer(hand)
        assert isinstance(said, messages.No)
        assert (said.job, said.reason) == (last, Reason.BUSY)
        assert "257" in said.detail
        assert "256" in said.detail
        assert said.retry_ms
        assert engine.counters.running == 256


async def test_inputs_together_take_no_more_memory_than_was_set(autojump_clock: MockClock) -> None:
    async with shop(slow(9), Caps(input_bytes_total_max=400)) as (_, (hand,)):
        job, encoded = hand.order("word " * 30)
        await hand.submit(job, encoded)
        assert isinstance(await answer(hand), messages.Accepted)
        job, encoded = hand.order("word " * 50)
        await hand.submit(job, encoded)
        said = await answer(hand)
        assert isinstance(said, messages.No)
        assert "at most 400" in said.detail


async def vacate(provider: SimProvider, end_s: float = 5.0) -> Vacated:
    return await shelf_of(provider).vacate(
        end_s=end_s, release_s=5.0, detail="the owner needs the GPU", retry_ms=60_000
    )


async def test_the_owner_gets_the_gpu_and_every_job_a_receipt(autojump_clock: MockClock) -> None:
    """Stop admission, end with a signed *preempted* receipt, free the memory; then come back."""
    engine = slow(concurrency=2)
    async with shop(engine, Caps(wait_s_max=100)) as (provider, (hand,)):
        running = {await order(hand), await order(hand)}
        for _ in range(2):
            assert isinstance(await answer(hand), messages.Accepted)
        waiting = await order(hand)
        await trio.sleep(3)

        vacated = await vacate(provider)

        assert vacated.is_free
        assert vacated.has_slept
        assert vacated.jobs == 3
        assert not engine.holds_memory
        billed: set[bytes] = set()
        refused = None
        while len(billed) < 2 or refused is None:
            said = await hand.hear()
            if isinstance(said, messages.Bill):
                receipt = Receipt.decode(said.receipt.words)
                assert receipt.status is Status.PREEMPTED
                assert receipt.amount > 0
                billed.add(said.job)
                hand.take(said)
            elif isinstance(said, messages.No):
                refused = said
        assert billed == running
        assert (refused.job, refused.reason) == (waiting, Reason.NO_LEASE)
        assert refused.retry_ms == 60_000

        await hand.say(messages.Pay(hand.voucher()))
        await order(hand)
        said = await answer(hand)
        assert isinstance(said, messages.No)
        assert said.reason == Reason.NO_LEASE

        await shelf_of(provider).reopen()
        await order(hand)
        assert isinstance(await answer(hand), messages.Accepted)


async def test_a_closed_shelf_keeps_nothing_of_those_it_refused(autojump_clock: MockClock) -> None:
    """P15: a GPU may be its owner's for weeks, and orders come all the time."""
    async with shop(ScriptedEngine("x")) as (provider, _):
        shelf = shelf_of(provider)
        shelf.close(Reason.NO_LEASE, "the owner is here", 1_000)
        for _ in range(2):
            with pytest.raises(Refused, match="the owner is here") as caught:
                shelf.check_open()
            assert len(caught.traceback) == 2
            assert caught.value.retry_ms == 1_000


async def test_an_engine_without_sleep_is_stopped(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    engine.can_release = False
    async with shop(engine) as (provider, _):
        vacated = await vacate(provider)
        assert (vacated.is_free, vacated.has_slept) == (True, False)


async def test_memory_that_nobody_can_free_is_said(autojump_clock: MockClock) -> None:
    """An engine of somebody else's, without sleep: the owner must hear that it still holds."""
    engine = ScriptedEngine()
    engine.can_release = engine.can_stop = False
    async with shop(engine) as (provider, _):
        assert not (await vacate(provider)).is_free
        with pytest.raises(Refused):
            shelf_of(provider).check_open()


async def test_an_owner_who_comes_while_a_job_is_accepted_is_not_missed(
    autojump_clock: MockClock,
) -> None:
    """Between the disk's yes and the engine's start a job cannot slip through."""
    engine = slow()
    async with shop(engine) as (provider, (hand,)):
        shelf = shelf_of(provider)
        await order(hand)
        while not shelf.running:
            await trio.testing.wait_all_tasks_blocked(0.0)
            await trio.sleep(0.001)
        vacated = await vacate(provider)
        assert vacated.is_free
        assert vacated.jobs == 1
        assert shelf.running == 0


async def test_a_silent_engine_is_said_to_be_down(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    engine.holds_memory = False
    async with shop(engine) as (_, (hand,)):
        await order(hand)
        said = await answer(hand)
        assert isinstance(said, messages.No)
        assert said.reason == Reason.ENGINE_DOWN
        assert said.retry_ms
