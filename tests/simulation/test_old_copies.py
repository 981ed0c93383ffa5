"""Journals restored from old copies: what was signed since must not be signed again."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import pytest
from tests.simulation.conversation import talk
from trio.testing import MockClock

from rowen.protocol import messages
from rowen.protocol.errors import Reason, Unavailable, UserError
from rowen.store.base import ReceiptKept
from rowen.testing.engine import SCRIPTED
from rowen.testing.simulator import SimClient, SimProvider, Simulation, simulate
from rowen.testing.store import FakeDisk


async def ask(client: SimClient) -> None:
    assert client.client is not None
    await client.client.chat("hello", model=SCRIPTED.model, max_cost=5_000).read()


@dataclass
class Past:
    """Two nodes that are down, and their disks of an earlier day."""

    client: SimClient
    provider: SimProvider
    client_disk: FakeDisk
    provider_disk: FakeDisk


async def sell_and_claim(world: Simulation) -> Past:
    """One answer is in both old copies; a second one was claimed since."""
    provider = await world.add_provider()
    client = await world.add_client()
    await ask(client)
    for node in (client, provider):
        await node.kill()
    past = Past(client, provider, deepcopy(client.disk), deepcopy(provider.disk))
    for node in (provider, client):
        await node.start()
    await ask(client)
    assert (await provider.settle()).claimed == 1
    for node in (client, provider):
        await node.kill()
    world.chain.mine(provider.settings.confirmations)
    return past


async def receipts(provider: SimProvider, channel_id: bytes) -> list[ReceiptKept]:
    assert provider.node is not None
    return [each async for each in provider.node.journal.receipts_of(channel_id)]


async def test_a_provider_whose_books_are_older_than_its_claims_signs_nothing(
    autojump_clock: MockClock,
) -> None:
    """Threat 30: also for a client that hides its newest voucher to get a second receipt."""
    async with simulate(7) as world:
        past = await sell_and_claim(world)
        client, provider = past.client, past.provider
        provider.disk = past.provider_disk
        await provider.start()
        channel_id = client.channel_with(provider).id
        before = await receipts(provider, channel_id)
        for _ in range(2):
            async with talk(world, client, provider) as hand:
                await hand.attach()
                no = await hand.hear_until(messages.No)
                assert no.reason == Reason.CHANNEL_STOPPED.value
                assert "restored from an old copy" in no.detail
        await client.start()
        with pytest.raises(Unavailable, match="restored from an old copy"):
            await ask(client)
        assert await receipts(provider, channel_id) == before
        # It is remembered, whatever the chain says then.
        await provider.kill()
        await provider.start()
        assert provider.node is not None
        assert "old copy" in provider.node.books.accounts[channel_id].state.stopped


async def test_a_provider_whose_books_are_gone_opens_no_channel_that_was_claimed_from(
    autojump_clock: MockClock,
) -> None:
    async with simulate(7) as world:
        past = await sell_and_claim(world)
        client, provider = past.client, past.provider
        provider.disk = FakeDisk()
        await provider.start()
        await client.start()
        with pytest.raises(Unavailable, match="newest in these books is for 0"):
            await ask(client)


async def test_a_client_whose_journal_is_older_than_the_claims_orders_nothing(
    autojump_clock: MockClock,
) -> None:
    """Its next voucher would be for less than it owes; the provider may be gone and not say so."""
    async with simulate(7) as world:
        past = await sell_and_claim(world)
        client, provider = past.client, past.provider
        client.disk = past.client_disk
        await client.start()
        assert client.client is not None
        with pytest.raises(UserError, match="Put the newest one back"):
            await client.client.account(provider.key.address)


async def test_a_chain_that_is_away_keeps_nobody_from_paying(autojump_clock: MockClock) -> None:
    """What is owed is settled between the two; only new work waits for the chain."""
    async with simulate(7) as world:
        provider = await world.add_provider()
        client = await world.add_client()
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.submit(*hand.order())
            await hand.hear_until(messages.Bill)
        await provider.kill()
        await provider.start()
        world.escrow.is_down = True
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.hear_until(messages.Bill)
