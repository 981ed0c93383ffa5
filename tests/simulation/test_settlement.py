"""What a provider puts on chain, and what it costs it to look. Threats 10, 26, 37."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rowen.protocol.messages import Signed
from rowen.provider.settlement import Claimer
from rowen.store.base import VoucherKept
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
