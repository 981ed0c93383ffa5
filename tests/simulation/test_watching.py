"""A provider that follows the chain notices at once what otherwise waits for the next look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs
from tests.simulation.conversation import Talk, talk
from trio.testing import MockClock

from rowen.protocol import messages
from rowen.protocol.errors import Reason, UserError
from rowen.provider.settlement import Claimer, ClaimTerms, require_time_to_claim
from rowen.provider.watching import watch_chain
from rowen.testing.chain import FakeWallet
from rowen.testing.simulator import SimClient, SimProvider, Simulation, simulate
from rowen_scheduler.claiming import ClaimPolicy

LONG_S = 100_000
NEVER = ClaimTerms(policy=ClaimPolicy(above=10**9))
POLL_S = 2.0


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@asynccontextmanager
async def followed() -> AsyncIterator[tuple[Simulation, SimClient, SimProvider, Claimer]]:
    """A provider that looks at nothing by itself for hours, and one funded client."""
    async with simulate(2) as world:
        provider = await world.add_provider()
        await provider.kill()
        provider.settings = replace(provider.settings, view_age_s_max=LONG_S)
        await provider.start()
        client = await world.add_client()
        await client.kill()
        assert provider.node is not None
        claimer = Claimer(
            provider=provider.key.address,
            domain=world.escrow.deployment.domain,
            journal=provider.node.journal,
            escrow=world.escrow,
            wallet=FakeWallet(world.escrow, provider.key.address),
        )
        world.nursery.start_soon(partial(claimer.watch, NEVER, interval_s=LONG_S))
        world.nursery.start_soon(
            partial(
                watch_chain,
                world.escrow,
                provider.node.books,
                confirmations=provider.settings.confirmations,
                hurry=claimer.hurry,
                poll_s=POLL_S,
            )
        )
        await trio.sleep(POLL_S)
        yield world, client, provider, claimer


async def pay_for_a_job(hand: Talk) -> int:
    await hand.submit(*hand.order())
    hand.take(await hand.hear_until(messages.Bill))
    await hand.say(messages.Pay(hand.voucher()))
    return hand.total


async def test_a_payer_that_leaves_is_refused_and_claimed_from_at_once(
    autojump_clock: MockClock,
) -> None:
    """Threat 10: within a look at the chain, not within the age of a view or a claim interval."""
    async with followed() as (world, client, provider, _), talk(world, client, provider) as hand:
        await hand.attach()
        owed = await pay_for_a_job(hand)
        wallet = FakeWallet(world.escrow, client.wallet.address)
        await wallet.request_unlock(provider.key.address, client.key.address, intent="leave")
        world.chain.mine(provider.settings.confirmations)
        await trio.sleep(3 * POLL_S)
        assert await world.escrow.credit(provider.key.address) == owed
        await hand.submit(*hand.order())
        no = await hand.hear_until(messages.No)
        assert no.reason == Reason.CHANNEL_UNLOCKING.value


async def test_a_strangers_unlock_hurries_nobody(autojump_clock: MockClock) -> None:
    async with followed() as (world, client, provider, claimer):
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await pay_for_a_job(hand)
        stranger = FakeWallet(world.escrow, b"s" * 20)
        world.chain.mint(stranger.address, 10_000)
        await stranger.lock(provider.key.address, b"k" * 20, 10_000, intent="lock")
        await stranger.request_unlock(provider.key.address, b"k" * 20, intent="leave")
        world.chain.mine(provider.settings.confirmations)
        await trio.sleep(3 * POLL_S)
        assert await world.escrow.credit(provider.key.address) == 0
        assert len(await claimer.unclaimed()) == 1


async def test_following_goes_on_after_an_outage_where_it_stood(autojump_clock: MockClock) -> None:
    """Threat 38: the request came while the endpoint was down."""
    async with followed() as (world, client, provider, _), talk(world, client, provider) as hand:
        await hand.attach()
        owed = await pay_for_a_job(hand)
        wallet = FakeWallet(world.escrow, client.wallet.address)
        await wallet.request_unlock(provider.key.address, client.key.address, intent="leave")
        world.escrow.is_down = True
        world.chain.mine(provider.settings.confirmations)
        with capture_logs() as said:
            await trio.sleep(10 * POLL_S)
        assert {entry["event"] for entry in said} == {"chain not followed"}
        world.escrow.is_down = False
        await trio.sleep(3 * POLL_S)
        assert await world.escrow.credit(provider.key.address) == owed


async def test_a_final_block_that_is_replaced_has_every_channel_read_again(
    autojump_clock: MockClock,
) -> None:
    """P9: the deposit was final and is gone; it is said loudly, and buys nothing more."""
    async with followed() as (world, client, provider, _), talk(world, client, provider) as hand:
        await hand.attach()
        await hand.submit(*hand.order())
        await hand.hear_until(messages.Bill)
        with capture_logs() as said:
            world.chain.reorg(world.chain.head.number)
            await trio.sleep(3 * POLL_S)
        assert "final block replaced" in {entry["event"] for entry in said}
        await hand.submit(*hand.order())
        no = await hand.hear_until(messages.No)
        assert no.reason == Reason.CHANNEL_UNKNOWN.value


def test_a_claim_interval_that_a_payer_could_leave_within_is_refused() -> None:
    """P8: what is missing is said before the first job is taken."""
    require_time_to_claim(3_600, 900)
    with pytest.raises(UserError, match=r"claim_interval_s is 901 s.* set it to 900 s or less"):
        require_time_to_claim(3_600, 901)
