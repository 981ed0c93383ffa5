"""What a provider puts on chain, and what it costs it to look. Threats 10, 26, 37."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rowen.protocol.messages import Signed
from rowen.provider.settlement import Claimer
from rowen.store.base import JournalFailed, VoucherKept
from rowen.testing.chain import FakeWallet
from rowen.testing.engine import SCRIPTED
from rowen.testing.simulator import SimClient, SimProvider, Simulation, simulate


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@asynccontextmanager
async def sold() -> AsyncIterator[tuple[Simulation, SimClient, SimProvider, Claimer]]:
    """A provider with one voucher that is not claimed."""
    async with simulate(4) as world:
        provider = await world.add_provider()
        client = await world.add_client()
        assert client.client is not None
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
            await answer.read()
        await trio.sleep(1)
        assert provider.node is not None
        claimer = Claimer(
            provider=provider.key.address,
            domain=world.escrow.deployment.domain,
            journal=provider.node.journal,
            escrow=world.escrow,
            wallet=FakeWallet(world.escrow, provider.key.address),
        )
        yield world, client, provider, claimer


async def test_looking_for_what_to_claim_does_not_read_the_whole_journal(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P15: it happens every half minute, on a history that only grows."""
    async with sold() as (_, _client, provider, claimer):

        async def whole(_role: str) -> list[Any]:
            raise AssertionError("every receipt and prompt was read")

        assert provider.node is not None
        monkeypatch.setattr(provider.node.journal, "channels", whole)
        (unclaimed,) = await claimer.unclaimed()
        assert unclaimed.amount > 0


async def test_a_voucher_of_another_deployment_is_not_claimed_here(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal outlives a deployment; its vouchers recover to nobody's channel elsewhere."""
    async with sold() as (_, _client, provider, claimer):
        assert provider.node is not None
        (kept,) = await provider.node.journal.vouchers("seller")
        other = VoucherKept(
            channel_id=b"c" * 32,
            receipt_count=kept.receipt_count,
            total=kept.total,
            voucher=Signed(kept.voucher.words, kept.voucher.signature),
        )

        async def vouchers(_role: str) -> list[VoucherKept]:
            return [other]

        monkeypatch.setattr(provider.node.journal, "vouchers", vouchers)
        assert await claimer.unclaimed() == []


async def test_a_row_that_was_skipped_is_claimed_once_it_can_be(
    autojump_clock: MockClock,
) -> None:
    """The payer's unlock came first; when he locks again, the same voucher is worth its total."""
    async with sold() as (world, client, provider, claimer):
        wallet = FakeWallet(world.escrow, client.wallet.address)
        await wallet.request_unlock(provider.key.address, client.key.address, intent="leave")
        waiting = await claimer.unclaimed()
        world.chain.warp(world.chain.deployment.unlock_delay_s + 1)
        world.chain.mine()
        await wallet.unlock(client.channel_with(provider), intent="gone")
        assert (await claimer.settle(waiting)).skipped == 1
        await wallet.lock(provider.key.address, client.key.address, 1_000_000, intent="again")
        owed = waiting[0].amount
        for _ in range(2):
            await claimer.settle()
        assert await world.escrow.credit(provider.key.address) == owed


async def test_watching_ends_when_the_journal_fails(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P11: without its disk a node must end; only trouble with the chain is waited out."""
    async with sold() as (_, _client, provider, claimer):

        async def fails(_role: str) -> list[Any]:
            raise JournalFailed("no space left")

        assert provider.node is not None
        monkeypatch.setattr(provider.node.journal, "channels", fails)
        monkeypatch.setattr(provider.node.journal, "vouchers", fails)
        with trio.fail_after(100), pytest.raises(JournalFailed):
            await claimer.watch(above=1, interval_s=1)


async def test_all_that_a_leaving_payer_owes_is_claimed_although_the_chain_was_away(
    autojump_clock: MockClock,
) -> None:
    """P8, threat 10: however little it is, and before the payer can unlock."""
    async with sold() as (world, client, provider, claimer), trio.open_nursery() as nursery:
        (waiting,) = await claimer.unclaimed()
        nursery.start_soon(partial(claimer.watch, above=10**12, interval_s=30))
        await trio.sleep(100)
        assert await world.escrow.credit(provider.key.address) == 0
        payer = FakeWallet(world.escrow, client.wallet.address)
        await payer.request_unlock(provider.key.address, client.key.address, intent="leave")
        world.escrow.is_down = True
        await trio.sleep(100)
        world.escrow.is_down = False
        await trio.sleep(31)
        assert await world.escrow.credit(provider.key.address) == waiting.amount
        nursery.cancel_scope.cancel()


async def test_claims_wished_for_at_once_are_one_transaction(autojump_clock: MockClock) -> None:
    """Threat 35: the second one waits, and finds nothing left to claim."""
    async with sold() as (world, _client, provider, claimer):
        before = world.chain.nonce(provider.key.address)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(claimer.settle)
        assert world.chain.nonce(provider.key.address) == before + 1
