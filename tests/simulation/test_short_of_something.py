"""Silent providers, channels that were topped up, deposits that take long, sums too small."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rowen.client.client import Client
from rowen.protocol.errors import UserError
from rowen.testing.chain import FakeWallet
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import (
    CONFIRMATIONS,
    FUNDS,
    SimClient,
    SimProvider,
    Simulation,
    simulate,
)


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def answered(client: SimClient, max_cost: int = 5_000) -> str:
    assert client.client is not None
    async with client.client.chat("hi", model=SCRIPTED.model, max_cost=max_cost) as answer:
        return await answer.read()


async def spend_all(client: SimClient) -> None:
    while True:
        assert await answered(client)


async def two(world: Simulation) -> tuple[SimProvider, SimProvider, SimClient, Client]:
    providers = [await world.add_provider(ScriptedEngine(delay_s=0.2)) for _ in range(2)]
    client = await world.add_client()
    assert client.client is not None
    return providers[0], providers[1], client, client.client


async def test_one_silent_provider_keeps_no_other_from_being_paid(
    autojump_clock: MockClock,
) -> None:
    """Whichever is asked first, and however many are silent."""
    async with simulate(1) as world:
        first, second, client, buyer = await two(world)
        async with buyer.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
            await anext(aiter(answer))
            serves = next(p for p in (first, second) if p.key.address == answer.parts[0].provider)
            world.hub.change_link(serves.network, client.network, is_cut=True)
        world.hub.heal(serves.network, client.network)
        other = second if serves is first else first
        # It is known before, so asked before.
        await other.kill()
        rejections = await buyer.settle_open_jobs()
        assert [r.provider for r in rejections] == [other.key.address]
        await trio.sleep(1)
        assert serves.node is not None
        (account,) = serves.node.books.accounts.values()
        assert account.state.issued.total == account.state.paid.total > 0


async def test_a_dead_provider_delays_one_question_and_not_the_next(
    autojump_clock: MockClock,
) -> None:
    """It is asked again after a while, and at once when nobody else will do."""
    async with simulate(1) as world:
        dead, living, client, buyer = await two(world)
        world.hub.change_link(client.network, dead.network, is_cut=True)
        world.hub.change_link(dead.network, client.network, is_cut=True)
        began = trio.current_time()
        offers, rejections = await buyer.offers()
        assert [o.provider for o in offers] == [living.key.address]
        assert [(r.provider, r.why) for r in rejections] == [
            (dead.key.address, "it did not answer in time")
        ]
        assert trio.current_time() - began == pytest.approx(buyer.settings.offer_wait_s, abs=1)
        began = trio.current_time()
        offers, rejections = await buyer.offers()
        assert len(offers) == 1
        assert "asked again in" in rejections[0].why
        assert trio.current_time() - began < 1
        world.hub.heal(dead.network, client.network)
        await living.kill()
        assert await answered(client)
        await living.start()
        await trio.sleep(buyer.settings.silence_s)
        assert len((await buyer.offers())[0]) == 2


async def test_a_channel_that_is_topped_up_is_used_without_connecting_again(
    autojump_clock: MockClock,
) -> None:
    """Both sides look at the chain again when the money they know of is too little."""
    async with simulate(1) as world:
        provider = await world.add_provider()
        client = await world.add_client(funds=1_000)
        with pytest.raises(UserError, match="in the channel: raise the one that is short"):
            await spend_all(client)
        assert provider.node is not None
        sessions = provider.node.sessions
        world.chain.mint(client.wallet.address, FUNDS)
        wallet = FakeWallet(world.escrow, client.wallet.address)
        await wallet.lock(provider.key.address, client.key.address, FUNDS, intent="more")
        world.chain.mine(CONFIRMATIONS)
        await trio.sleep(3)
        assert await answered(client)
        assert provider.node.sessions == sessions


async def test_a_deposit_may_take_as_long_as_the_client_waits_for_it(
    autojump_clock: MockClock,
) -> None:
    """A chain of 12 s blocks needs half a minute for two confirmations."""
    async with simulate(1) as world:
        provider = await world.add_provider()
        client = await world.add_client()
        world.chain.reorg(world.chain.head.number)
        wallet = FakeWallet(world.escrow, client.wallet.address)
        world.chain.mint(client.wallet.address, FUNDS)
        await wallet.lock(provider.key.address, client.key.address, FUNDS, intent="slow")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answered, client)
            await trio.sleep(50)
            world.chain.mine(CONFIRMATIONS)
        await trio.sleep(1)
        assert provider.node is not None
        (account,) = provider.node.books.accounts.values()
        assert account.state.paid.total > 0


@pytest.mark.parametrize("max_cost", [1, 3])
async def test_a_cap_below_any_answer_is_for_a_person_to_raise(
    autojump_clock: MockClock, max_cost: int
) -> None:
    """Whether we see it ourselves or the provider, who knows how long the prompt is, says so.

    It stays the person's to act on although another provider is away.
    """
    async with simulate(1) as world:
        first, _, client, _ = await two(world)
        await first.kill()
        with pytest.raises(UserError, match="max_cost"):
            await answered(client, max_cost=max_cost)


async def test_a_channel_that_is_being_closed_is_told_with_the_way_out(
    autojump_clock: MockClock,
) -> None:
    """Asking again later would not help, so it is an error that a person mends."""
    async with simulate(6) as world:
        provider = await world.add_provider()
        client = await world.add_client()
        assert await answered(client)
        wallet = FakeWallet(world.escrow, client.wallet.address)
        await wallet.request_unlock(provider.key.address, client.key.address, intent="leave")
        world.chain.mine(CONFIRMATIONS)
        await trio.sleep(60)
        with pytest.raises(UserError, match=r"channel close PROVIDER --unlock.*open it again"):
            await answered(client)
