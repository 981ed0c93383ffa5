"""An answer that changes its provider: still within the sum its buyer named. P3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from tests.simulation.conversation import SALT
from trio.testing import MockClock

from rowen.engine.base import Finished, Piece
from rowen.protocol.errors import Reason, Unavailable
from rowen.protocol.jobs import ChatInput, Finish, JobInput, Message
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import SimClient, Simulation, simulate


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def owed(world: Simulation, client: SimClient) -> int:
    """What the client's newest vouchers promise, all providers together."""
    assert client.client is not None
    await client.client.settle_open_jobs()
    await trio.sleep(1)
    return sum(account.state.log.total for account in client.client._accounts.values())


async def test_a_provider_that_vanished_may_still_bill_what_its_order_allowed(
    autojump_clock: MockClock,
) -> None:
    """Its share of ``max_cost`` stays reserved: what it delivers when it is back is paid too."""
    async with simulate(1) as world:
        providers = [await world.add_provider(ScriptedEngine(delay_s=0.2)) for _ in range(2)]
        client = await world.add_client()
        assert client.client is not None
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=1_500) as answer:
            await anext(aiter(answer))
            first = answer.parts[0].provider
            lost = next(p for p in providers if p.key.address == first)
            world.hub.change_link(lost.network, client.network, is_cut=True)
            await answer.read()
        assert answer.finish is Finish.STOP
        assert [part.provider == first for part in answer.parts] == [True, False]
        assert sum(part.order.amount_max for part in answer.parts) <= 1_500
        world.hub.heal(lost.network, client.network)
        assert await owed(world, client) <= 1_500


async def test_a_provider_that_refuses_reserves_nothing(autojump_clock: MockClock) -> None:
    """Only an order that may have been taken counts against ``max_cost``."""
    async with simulate(1) as world:
        providers = [await world.add_provider(ScriptedEngine(delay_s=0.2)) for _ in range(2)]
        client = await world.add_client()
        assert client.client is not None
        for provider in providers:
            assert provider.node is not None
        # The first to be asked has no place free.
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=1_500) as answer:
            await anext(aiter(answer))
            first = answer.parts[0].provider
        busy = next(p for p in providers if p.key.address == first)
        assert busy.node is not None
        for shelf in busy.node.stock.shelves.values():
            shelf.close(Reason.BUSY, "every place is taken")
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=1_500) as answer:
            await answer.read()
        amounts = [part.order.amount_max for part in answer.parts]
        assert len(amounts) == 2
        assert amounts[0] == amounts[1] > 750


class Truncated(ScriptedEngine):
    """Ends its stream without saying why."""

    @asynccontextmanager
    async def generate(
        self, job: JobInput, output_units_max: int, *, tenant: bytes = b""
    ) -> AsyncIterator[AsyncIterator[Piece | Finished]]:
        async def some(items: AsyncIterator[Piece | Finished]) -> AsyncIterator[Piece | Finished]:
            for _ in range(3):
                yield await anext(items)

        async with super().generate(job, output_units_max, tenant=tenant) as items:
            yield some(items)


async def test_an_engine_that_stops_in_the_middle_has_failed(autojump_clock: MockClock) -> None:
    """Its job must not stay open, nor its client wait, until the deadline."""
    async with simulate(1) as world:
        await world.add_provider(Truncated(delay_s=0.2))
        client = await world.add_client()
        assert client.client is not None
        began = trio.current_time()
        with pytest.raises(Unavailable, match="stopped without saying"):
            await client.client.chat("hi", model=SCRIPTED.model, max_cost=1_500).read()
        assert trio.current_time() - began < 60


async def test_an_answer_that_is_all_there_needs_no_other_provider(
    autojump_clock: MockClock,
) -> None:
    """Its provider vanished with the last token, before it could say that it was the last."""
    async with simulate(1) as world:
        provider = await world.add_provider(ScriptedEngine(delay_s=0.2))
        client = await world.add_client()
        assert client.client is not None
        async with client.client.chat(
            "hi", model=SCRIPTED.model, max_cost=1_500, max_output=5
        ) as answer:
            async for _ in answer:
                if answer.output_units == 5:
                    await provider.kill()
        assert answer.finish is Finish.LENGTH
        assert answer.output_units == 5
        assert not answer.receipt


async def test_an_order_is_not_journaled_without_a_session_to_send_it_on(
    autojump_clock: MockClock,
) -> None:
    """It would reserve the channel's money for a job that no provider ever heard of."""
    async with simulate(1) as world:
        provider = await world.add_provider()
        client = await world.add_client()
        assert client.client is not None
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=1_500) as answer:
            await answer.read()
        account = await client.client.account(provider.key.address)
        await account.lost(Unavailable("the line is dead"))
        free = account.state.free()
        order = answer.parts[0].order
        with pytest.raises(Unavailable, match="no session"):
            await account.order(order, SALT, ChatInput((Message("user", "hi"),)), world.now_ms())
        assert account.state.free() == free


async def test_a_new_session_waits_until_the_old_one_is_put_away(
    autojump_clock: MockClock,
) -> None:
    """Orders that waited for a slow disk are not sent on the new one and then given up for lost."""
    async with simulate(1) as world:
        engine = ScriptedEngine()
        provider = await world.add_provider(engine)
        client = await world.add_client()
        assert client.client is not None
        buyer = client.client
        await buyer.account(provider.key.address)
        client.disk.commit_s = 5.0
        failures: list[str] = []

        async def ask() -> None:
            try:
                async with buyer.chat("hi", model=SCRIPTED.model, max_cost=1_500) as answer:
                    await answer.read()
            except Unavailable as error:
                failures.append(str(error))

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask)
            await trio.sleep(1)
            buyer._links[provider.key.address].listening.cancel()
            await trio.sleep(0.5)
            await ask()
        assert len(failures) == 2
        assert all("no session" in failure for failure in failures)
        assert engine.counters.started == 1
