"""Whoever stops in the middle pays for what was delivered, and everything is settled after."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rowen.protocol.jobs import ChatInput
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import simulate


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


class SlowReader(ScriptedEngine):
    """Takes a second to count a prompt."""

    async def count_input(self, job: ChatInput) -> int:
        await trio.sleep(1)
        return await super().count_input(job)


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
