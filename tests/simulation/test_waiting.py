"""An answer that nobody has a place for yet: it waits as long as it was told, and no longer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from rowen.client.client import Client
from rowen.protocol.errors import Reason, Unavailable
from rowen.protocol.jobs import Finish
from rowen.provider.stock import Shelf
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import SimProvider, Simulation, simulate


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def market(world: Simulation, providers: int = 1) -> tuple[Client, list[SimProvider]]:
    found = [await world.add_provider(ScriptedEngine(delay_s=0.01)) for _ in range(providers)]
    client = await world.add_client()
    assert client.client is not None
    return client.client, found


def shelf_of(provider: SimProvider) -> Shelf:
    assert provider.node is not None
    (shelf,) = provider.node.stock.shelves.values()
    return shelf


async def timed(ask: Callable[[], Awaitable[object]]) -> float:
    began = trio.current_time()
    with pytest.raises(Unavailable, match="every place is taken"):
        await ask()
    return trio.current_time() - began


async def test_who_is_busy_gets_another_question(autojump_clock: MockClock) -> None:
    async with simulate(1) as world, trio.open_nursery() as nursery:
        client, (provider,) = await market(world)
        shelf = shelf_of(provider)
        shelf.close(Reason.BUSY, "every place is taken", 2_000)

        async def open_later() -> None:
            await trio.sleep(5)
            shelf.open()

        nursery.start_soon(open_later)
        began = trio.current_time()
        async with client.chat("hi", model=SCRIPTED.model, max_cost=1_500) as answer:
            await answer.read()
        assert answer.finish is Finish.STOP
        assert 5 <= trio.current_time() - began < 8
        assert answer.attempts == []
        assert len(answer.parts) == 1, "what was refused leaves nothing"


@pytest.mark.parametrize(
    ("retry_ms", "waits_s"), [(None, 0), (31_000, 0), (7_000, 28), (0, 30)], ids=str
)
async def test_nobody_is_waited_for_in_vain(
    autojump_clock: MockClock, retry_ms: int | None, waits_s: float
) -> None:
    """Not who gives no time, not for longer than the buyer would, and not without a pause."""
    async with simulate(1) as world:
        client, (provider,) = await market(world)
        shelf_of(provider).close(Reason.BUSY, "every place is taken", retry_ms)
        took_s = await timed(lambda: client.chat("hi", model=SCRIPTED.model, max_cost=9).read())
        assert took_s == pytest.approx(waits_s, abs=1.5)


async def test_who_is_free_goes_before_who_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with simulate(1) as world:
        client, (busy, free) = await market(world, 2)
        shelf_of(busy).close(Reason.BUSY, "every place is taken", 9_000)
        began = trio.current_time()
        async with client.chat("hi", model=SCRIPTED.model, max_cost=1_500) as answer:
            await answer.read()
        assert answer.parts[-1].provider == free.key.address
        assert trio.current_time() - began < 5
