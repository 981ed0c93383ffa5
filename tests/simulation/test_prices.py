"""Prices that change by the hour: who pays which, and what was promised stands."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rowen.client.answer import Answer
from rowen.protocol.errors import Unavailable, UserError
from rowen.provider.price_list import GRACE_MS, plan_of
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import PRICES, START_MS, SimClient, SimProvider, Simulation, simulate

# The simulation begins on Tuesday 2023-11-14 at 22:13:20 UTC.
UNTIL_CHANGE_S = 400
DOUBLE = ("tue 22:20-23:59 200%",)
ONE = 1_000_000


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def sells(world: Simulation, engine: ScriptedEngine | None = None) -> SimProvider:
    provider = await world.add_provider(engine)
    await provider.kill()
    provider.plan = plan_of(DOUBLE, "UTC", ONE, "", START_MS)
    await provider.start()
    return provider


def asks(client: SimClient) -> Answer:
    assert client.client is not None
    return client.client.chat("hi", model=SCRIPTED.model, max_cost=10_000)


async def test_a_price_that_rises_is_signed_anew_and_breaks_no_offer(
    autojump_clock: MockClock,
) -> None:
    """A client pays what it was promised until the promise expires, and then the new price."""
    async with simulate(3) as world:
        provider = await sells(world)
        client = await world.add_client()
        assert provider.node is not None
        await trio.sleep(UNTIL_CHANGE_S - 60)
        async with asks(client) as answer:
            await answer.read()
        assert answer.parts[0].order.price_output == PRICES.output
        before = answer.cost
        await trio.sleep(120)
        # On the session it has, the client still holds the offer from before.
        async with asks(client) as answer:
            await answer.read()
        assert (answer.parts[0].order.price_output, answer.cost) == (PRICES.output, before)
        await trio.sleep(provider.settings.offer_lifetime_s + GRACE_MS // 1000)
        async with asks(client) as answer:
            await answer.read()
        assert answer.parts[0].order.price_output == 2 * PRICES.output
        assert answer.cost == pytest.approx(2 * before, abs=1)


async def test_a_newcomer_sees_the_price_of_this_hour_at_once(autojump_clock: MockClock) -> None:
    """The offer is signed when a price changes, and not when half its life is over."""
    async with simulate(3) as world:
        provider = await sells(world)
        client = await world.add_client()
        assert client.client is not None
        assert provider.node is not None
        ((before,), _) = await client.client.offers()
        await trio.sleep(UNTIL_CHANGE_S)
        ((after,), _) = await client.client.offers()
        assert before.variants[0].price_output == PRICES.output
        assert after.variants[0].price_output == 2 * PRICES.output
        assert after.variants[0].id == before.variants[0].id
        (shelf,) = provider.node.stock.shelves.values()
        assert shelf.variant == after.variants[0]


async def test_a_running_job_keeps_the_price_of_its_order(autojump_clock: MockClock) -> None:
    """It began before the change and ends after it; one price, agreed by both sides."""
    async with simulate(3) as world:
        provider = await sells(world, ScriptedEngine(delay_s=2.0))
        client = await world.add_client()
        await trio.sleep(UNTIL_CHANGE_S - 10)
        async with asks(client) as answer:
            await answer.read()
        assert world.now_ms() > START_MS + UNTIL_CHANGE_S * 1000
        assert answer.parts[0].order.price_output == PRICES.output
        await trio.sleep(1)
        assert provider.node is not None
        (account,) = provider.node.books.accounts.values()
        assert account.state.paid.total == account.state.issued.total == answer.cost


async def test_nothing_is_sold_at_a_rate_that_has_expired(autojump_clock: MockClock) -> None:
    """What a token is worth is then anybody's guess; offers from before still stand."""
    async with simulate(3) as world:
        provider = await world.add_provider()
        await provider.kill()
        provider.plan = plan_of((), "UTC", 2 * ONE, "2023-11-14", START_MS)
        await provider.start()
        client = await world.add_client()
        async with asks(client) as answer:
            await answer.read()
        assert answer.parts[0].order.price_output == PRICES.output // 2
        await trio.sleep(2 * 3600 + provider.settings.offer_lifetime_s)
        with pytest.raises(Unavailable, match="it sells nothing"):
            await asks(client).read()


@pytest.mark.parametrize(
    ("bands", "timezone", "token_usd", "until", "said"),
    [
        (("always 70%",), "UTC", ONE, "", "price_hours"),
        ((), "Atlantis", ONE, "", "timezone"),
        ((), "UTC", 0, "", "token_usd is 0"),
        ((), "UTC", ONE, "soon", "not a date"),
        ((), "UTC", ONE, "2023-11-13", "held until 2023-11-13"),
    ],
)
def test_settings_that_give_no_price_are_refused_before_anything_is_sold(
    bands: tuple[str, ...], timezone: str, token_usd: int, until: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        plan_of(bands, timezone, token_usd, until, START_MS)
