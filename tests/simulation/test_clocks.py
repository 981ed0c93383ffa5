"""Wall clocks that are wrong, or jump: said to who can set them, and nobody's loss. Threat 32."""

from __future__ import annotations

import pytest
import trio
from tests.simulation.test_market import agree
from trio.testing import MockClock

from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import Finish
from rowen.protocol.offers import CLOCK_SKEW_MS_MAX
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import SimClient, SimProvider, Simulation, simulate

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
STORY = " ".join(f"w{n}" for n in range(100))


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def provider_at(world: Simulation, ahead_ms: int) -> SimProvider:
    """A provider whose clock is wrong from its first moment on."""
    provider = await world.add_provider(ScriptedEngine(STORY, delay_s=0.1))
    await provider.kill()
    provider.clock_ahead_ms = ahead_ms
    await provider.start()
    return provider


async def ask(client: SimClient) -> tuple[str, list[bytes]]:
    """An answer, and who gave it."""
    assert client.client is not None
    wanted = client.client.chat("tell", model=SCRIPTED.model, max_cost=100_000, max_output=500)
    async with wanted as answer:
        await answer.read()
    assert answer.finish is Finish.STOP
    return answer.text, [part.provider for part in answer.parts]


@pytest.mark.parametrize("seed", range(4))
async def test_a_market_whose_clocks_are_a_day_apart_still_trades(
    autojump_clock: MockClock, seed: int
) -> None:
    """Among two clocks that are wrong and one that is right, the right one sells."""
    async with simulate(seed) as world:
        early = await provider_at(world, DAY_MS)
        late = await provider_at(world, -DAY_MS)
        right = await provider_at(world, 0)
        client = await world.add_client()
        assert await ask(client) == (STORY, [right.key.address])
        await trio.sleep(1)
        assert await agree(world, client, right) > 0
        assert client.client is not None
        _, silent = await client.client.offers(patiently=True)
        why = {rejection.provider: rejection.why for rejection in silent}
        assert "in the future: compare the clocks" in why[early.key.address]
        assert "ago by our clock: compare the clocks" in why[late.key.address]


@pytest.mark.parametrize("ahead_ms", [DAY_MS, HOUR_MS, -HOUR_MS, -DAY_MS])
async def test_a_client_whose_clock_is_wrong_orders_nothing_and_is_told(
    autojump_clock: MockClock, ahead_ms: int
) -> None:
    async with simulate(1) as world:
        provider = await provider_at(world, 0)
        client = await world.add_client()
        client.clock_ahead_ms = ahead_ms
        with pytest.raises(Unavailable, match="compare the clocks"):
            await ask(client)
        assert provider.node is not None
        assert not provider.node.books.accounts
        client.clock_ahead_ms = 0
        assert await ask(client) == (STORY, [provider.key.address])


@pytest.mark.parametrize("ahead_ms", [CLOCK_SKEW_MS_MAX - 1, 1 - CLOCK_SKEW_MS_MAX])
async def test_clocks_less_than_a_minute_apart_trade(
    autojump_clock: MockClock, ahead_ms: int
) -> None:
    async with simulate(1) as world:
        provider = await provider_at(world, ahead_ms)
        client = await world.add_client()
        assert await ask(client) == (STORY, [provider.key.address])


@pytest.mark.parametrize("whose", ["client", "provider", "both"])
@pytest.mark.parametrize("ahead_ms", [DAY_MS, 6 * HOUR_MS, -6 * HOUR_MS, -DAY_MS])
async def test_a_clock_that_jumps_in_the_middle_of_an_answer_ends_nothing(
    autojump_clock: MockClock, whose: str, ahead_ms: int
) -> None:
    """NTP, or an owner, sets it; what runs is timed by another clock. The books agree."""
    async with simulate(2) as world:
        provider = await provider_at(world, 0)
        client = await world.add_client()
        assert client.client is not None
        wanted = client.client.chat("tell", model=SCRIPTED.model, max_cost=100_000, max_output=500)
        async with wanted as answer:
            await anext(aiter(answer))
            for node in (client, provider):
                if whose in ("both", "client" if node is client else "provider"):
                    node.clock_ahead_ms = ahead_ms
            await answer.read()
        assert (answer.text, answer.finish) == (STORY, Finish.STOP)
        assert [part.provider for part in answer.parts] == [provider.key.address]
        await trio.sleep(1)
        for node in (client, provider):
            node.clock_ahead_ms = 0
        assert await agree(world, client, provider) == answer.cost > 0
