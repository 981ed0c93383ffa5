"""Whoever stops in the middle pays for what was delivered, and everything is settled after."""

from __future__ import annotations

import pytest
import trio
from tests.simulation.conversation import talk
from trio.testing import MockClock

from rowen.protocol import messages
from rowen.protocol.jobs import JobInput
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import simulate


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


class SlowReader(ScriptedEngine):
    """Takes a second to count a prompt."""

    async def count_input(self, job: JobInput, *, tenant: bytes = b"") -> int:
        await trio.sleep(1)
        return await super().count_input(job, tenant=tenant)


async def test_a_job_cancelled_while_its_provider_decides_is_not_run_to_its_end(
    autojump_clock: MockClock,
) -> None:
    """The cancellation overtakes the acceptance; it must count all the same."""
    async with simulate(1) as world:
        engine = SlowReader(delay_s=0.1)
        provider = await world.add_provider(engine)
        client = await world.add_client()
        assert client.client is not None
        with trio.move_on_after(0.5):
            async with client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
                await answer.read()
        await trio.sleep(60)
        assert provider.node is not None
        (account,) = provider.node.books.accounts.values()
        assert account.state.paid.total == account.state.issued.total
        assert (engine.counters.finished, engine.counters.cancelled) == (0, 1)


async def test_a_slow_disk_leaves_no_job_open_behind_a_client_that_left(
    autojump_clock: MockClock,
) -> None:
    """Clean-up has a deadline; what it did not end is ended when the client is back."""
    async with simulate(1) as world:
        engine = ScriptedEngine(delay_s=1.0)
        provider = await world.add_provider(engine)
        client = await world.add_client()
        await client.kill()
        async with talk(world, client, provider) as hand:
            await hand.attach()
            for _ in range(2):
                await hand.submit(*hand.order())
                await hand.hear_until(messages.Accepted)
            await trio.sleep(3)
            provider.disk.commit_s = 11.0
        await trio.sleep(60)
        provider.disk.commit_s = 0.0
        async with talk(world, client, provider) as hand:
            await hand.attach()
            for _ in range(2):
                bill = await hand.hear_until(messages.Bill)
                assert bill.finish == "cancelled"
                hand.take(bill)
            await hand.say(messages.Pay(hand.voucher()))
            await trio.sleep(1)
        assert provider.node is not None
        (account,) = provider.node.books.accounts.values()
        assert account.state.paid.total == account.state.issued.total > 0
        assert not account.state.jobs
