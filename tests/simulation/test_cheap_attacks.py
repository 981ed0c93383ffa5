"""What costs a stranger little may not cost a provider much: threats 8, 49 and 50, P12, P13."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
import trio
from tests.simulation.conversation import SALT, Talk, talk
from trio.testing import MockClock

from rowen.p2p.session import open_session
from rowen.protocol import messages
from rowen.protocol.admission import RECEIPTS_UNPAID_MAX, input_hash
from rowen.protocol.errors import Reason, RowenError, Unavailable
from rowen.protocol.framing import FRAME_BYTES_MAX
from rowen.protocol.jobs import ChatInput, JobInput, Message
from rowen.protocol.statements import Receipt
from rowen.provider.settings import Prices, ProviderSettings
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import (
    CONFIRMATIONS,
    PATIENCE,
    PRICES,
    SimClient,
    SimProvider,
    Simulation,
    simulate,
)


class CountingEngine(ScriptedEngine):
    """Remembers how much it was asked to count."""

    counted = 0

    async def count_input(self, job: JobInput, *, tenant: bytes = b"") -> int:
        self.counted += 1
        return await super().count_input(job, tenant=tenant)


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@asynccontextmanager
async def market(
    engine: ScriptedEngine, prices: Prices = PRICES
) -> AsyncIterator[tuple[Simulation, SimClient, SimProvider]]:
    """One provider, and one funded client that leaves the talking to the test."""
    async with simulate(1) as world:
        settings = ProviderSettings(credit=400, confirmations=CONFIRMATIONS)
        provider = await world.add_provider(engine, settings, prices)
        client = await world.add_client()
        await client.kill()
        yield world, client, provider


async def refusal(hand: Talk, **changes: Any) -> messages.No:
    await hand.submit(*hand.order(**changes))
    said = await hand.hear_until(messages.No)
    assert isinstance(said, messages.No)
    return said


@pytest.mark.parametrize(
    "changes",
    [
        {"price_output": 1},
        {"amount_max": 10**12},
        {"amount_max": 0},
        {"deadline_ms": 1},
        {"output_units_max": 10**6},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_the_engine_reads_no_prompt_whose_order_cannot_be_taken(
    autojump_clock: MockClock, changes: dict[str, Any]
) -> None:
    """Rendering and counting a prompt is work: prices, caps and funds are judged before."""
    engine = CountingEngine()
    async with market(engine) as (world, client, provider), talk(world, client, provider) as hand:
        await hand.attach()
        await refusal(hand, **changes)
    assert engine.counted == 0


async def test_the_engine_reads_no_prompt_that_no_context_can_hold(
    autojump_clock: MockClock,
) -> None:
    """P12: a megabyte of text for a context of 2,048 units is refused by its size."""
    engine = CountingEngine()
    async with market(engine) as (world, client, provider), talk(world, client, provider) as hand:
        await hand.attach()
        turns = (Message("user", "x" * 400_000), Message("user", "x" * 400_000))
        encoded = messages.encode_input(ChatInput(turns))
        order, _ = hand.order(input_hash=input_hash(SALT, encoded))
        await hand.submit(order, encoded)
        no = await hand.hear_until(messages.No)
        assert no.reason == Reason.INPUT_TOO_LONG.value
    assert engine.counted == 0


async def test_a_channel_gathers_only_so_many_unpaid_receipts(autojump_clock: MockClock) -> None:
    """P15: jobs that cost nothing, or next to it, do not fill log, memory and every attach."""
    engine = ScriptedEngine("yes")
    free = Prices(input=0, cached=0, output=0)
    async with (
        market(engine, free) as (world, client, provider),
        talk(world, client, provider) as hand,
    ):
        await hand.attach()
        for _ in range(RECEIPTS_UNPAID_MAX):
            await hand.submit(*hand.order())
            hand.take(await hand.hear_until(messages.Bill))
        no = await refusal(hand)
        assert no.reason == Reason.CREDIT_EXCEEDED.value
        assert f"{RECEIPTS_UNPAID_MAX} receipts are unpaid" in no.detail
        assert no.retry_ms is not None
        await hand.say(messages.Pay(hand.voucher()))
        await hand.submit(*hand.order())
        await hand.hear_until(messages.Accepted)


async def test_asking_for_an_unfunded_channel_again_and_again_asks_the_chain_seldom(
    autojump_clock: MockClock,
) -> None:
    """A stranger's message may not become a request to the owner's chain endpoint each time."""
    async with market(ScriptedEngine()) as (world, client, provider):
        refused = 0
        async with talk(world, client, provider) as hand:
            await hand.attach(payer=world.rng.randbytes(20))
            while isinstance(await hand.hear(), messages.No):
                refused += 1
                await hand.attach(payer=world.rng.randbytes(20))
        assert 5 <= refused <= 20


async def test_one_peer_cannot_take_every_session(autojump_clock: MockClock) -> None:
    """Threat 49: whoever opens streams without end leaves places for the others."""
    async with market(ScriptedEngine()) as (_, client, provider):
        address = provider.network.addresses[0]
        async with AsyncExitStack() as stack:
            greeted = 0
            for _ in range(40):
                stream = await client.network.dial(address)
                session = await stack.enter_async_context(open_session(stream, PATIENCE))
                try:
                    greeted += await session.receive() is not None
                except Unavailable:
                    continue
            assert provider.node is not None
            assert greeted == provider.node.sessions == provider.settings.sessions_per_peer_max


async def test_many_clients_together_cost_no_more_than_the_total(autojump_clock: MockClock) -> None:
    """P2, in total: clients are cheap to make, so a line for each of them bounds nothing."""
    async with simulate(1) as world:
        settings = ProviderSettings(credit=100, credit_total=250, confirmations=CONFIRMATIONS)
        provider = await world.add_provider(settings=settings)
        refused = 0
        for _ in range(6):
            client = await world.add_client()
            await client.kill()
            async with talk(world, client, provider) as hand:
                await hand.attach()
                await hand.submit(*hand.order("spend " * 20))
                with trio.move_on_after(60):
                    while (said := await hand.hear()) is not None:
                        refused += isinstance(said, messages.No) and "in total 250" in said.detail
        assert provider.node is not None
        accounts = provider.node.books.accounts.values()
        assert 150 < sum(account.state.exposure() for account in accounts) <= 250
        assert refused > 0
        # A restart forgives nobody.
        await provider.kill()
        await provider.start()
        client = await world.add_client()
        assert client.client is not None
        with pytest.raises(RowenError, match="in total 250"):
            await client.client.chat("hello", model=SCRIPTED.model, max_cost=5_000).read()
        # What nobody paid for an hour is lost, and others may be served.
        await trio.sleep(3700)
        assert await client.client.chat("hello", model=SCRIPTED.model, max_cost=5_000).read()


async def test_identities_that_only_connect_do_not_keep_a_client_out(
    autojump_clock: MockClock,
) -> None:
    """Eight of them could once hold every session; those that name no channel give way."""
    async with simulate(1) as world:
        settings = ProviderSettings(
            confirmations=CONFIRMATIONS, sessions_max=16, sessions_per_peer_max=4
        )
        provider = await world.add_provider(settings=settings)
        client = await world.add_client()
        assert client.client is not None
        async with AsyncExitStack() as stack:
            for _ in range(8):
                stranger = world.hub.network(world.rng.randbytes(32))
                for _ in range(4):
                    stream = await stranger.dial(provider.network.addresses[0])
                    await stack.enter_async_context(open_session(stream, PATIENCE))
            answer = client.client.chat("hello", model=SCRIPTED.model, max_cost=5_000)
            assert await answer.read()


async def test_a_segment_longer_than_a_frame_is_delivered_again(
    autojump_clock: MockClock,
) -> None:
    """The line breaks before the client pays for it; it comes back in parts."""
    words = " ".join("ü" * 250 for _ in range(5_000))
    info = replace(SCRIPTED, context_units=100_000)
    engine = ScriptedEngine(words, piece_units=500, delay_s=0.01, info=info)
    free = Prices(input=0, cached=0, output=1, request=1)
    async with market(engine, free) as (world, client, provider):
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.submit(*hand.order(output_units_max=4_096))
            received = ""
            while len(received.encode()) < 3 * FRAME_BYTES_MAX // 2:
                received += (await hand.hear_until(messages.Chunk)).text
        async with talk(world, client, provider) as hand:
            await hand.attach()
            again = ""
            while not isinstance(said := await hand.hear(), messages.Bill):
                if isinstance(said, messages.Chunk):
                    assert said.at == len(again.encode())
                    again += said.text
        assert len(again.encode()) > FRAME_BYTES_MAX
        assert again.startswith(received)
        assert words.startswith(again)
        receipt = Receipt.decode(said.receipt.words)
        assert receipt.output_hash == sha256(again.encode()).digest()
