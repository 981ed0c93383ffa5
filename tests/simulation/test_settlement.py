"""What a provider puts on chain, and what it costs it to look. Threats 10, 26, 37."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from rowen.chain.base import Ceiling, ClaimResult
from rowen.protocol.messages import Signed
from rowen.provider.backlog import Backlog
from rowen.provider.settlement import Claimer, ClaimTerms
from rowen.store.base import JournalFailed, VoucherKept
from rowen.testing.chain import FakeWallet
from rowen.testing.engine import SCRIPTED
from rowen.testing.simulator import SimClient, SimProvider, Simulation, simulate
from rowen_scheduler.claiming import ClaimPolicy


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


def worth(above: int) -> ClaimTerms:
    """Claims from a fixed sum, as while the coin's worth is not set."""
    return ClaimTerms(policy=ClaimPolicy(above=above))


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
            now_ms=world.now_ms,
        )
        yield world, client, provider, claimer


async def test_looking_for_what_to_claim_does_not_read_the_whole_journal(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P15: it happens every half minute, on a history that only grows."""
    async with sold() as (_, _client, provider, claimer):

        def whole(_channel_id: bytes) -> list[Any]:
            raise AssertionError("every receipt and prompt was read")

        assert provider.node is not None
        for name in ("to_replay", "orders_of", "receipts_of", "vouchers_of"):
            monkeypatch.setattr(provider.node.journal, name, whole)
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
        monkeypatch.setattr(provider.node.journal, "vouchers", fails)
        with trio.fail_after(100), pytest.raises(JournalFailed):
            await claimer.watch(worth(1), interval_s=1)


async def test_all_that_a_leaving_payer_owes_is_claimed_although_the_chain_was_away(
    autojump_clock: MockClock,
) -> None:
    """P8, threat 10: however little it is, and before the payer can unlock."""
    async with sold() as (world, client, provider, claimer), trio.open_nursery() as nursery:
        (waiting,) = await claimer.unclaimed()
        nursery.start_soon(partial(claimer.watch, worth(10**12), interval_s=30))
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


async def test_a_claim_may_cost_more_as_its_payer_comes_near_to_leaving(
    autojump_clock: MockClock,
) -> None:
    """Threat 36: the wallet asks before each fee, and hears what the moment is worth."""

    class Asked(FakeWallet):
        """Keeps the ceiling of its newest claim."""

        ceiling: Ceiling | None = None

        async def claim(
            self, provider: bytes, rows: Any, *, intent: str, ceiling: Ceiling | None = None
        ) -> ClaimResult:
            self.ceiling = ceiling
            return await super().claim(provider, rows, intent=intent)

    async with sold() as (world, client, provider, claimer), trio.open_nursery() as nursery:
        assert provider.node is not None
        wallet = Asked(world.escrow, provider.key.address)
        claimer = Claimer(
            provider=provider.key.address,
            domain=world.escrow.deployment.domain,
            journal=provider.node.journal,
            escrow=world.escrow,
            wallet=wallet,
            now_ms=world.now_ms,
        )
        (waiting,) = await claimer.unclaimed()
        payer = FakeWallet(world.escrow, client.wallet.address)
        await payer.request_unlock(provider.key.address, client.key.address, intent="leave")
        terms = ClaimTerms(policy=ClaimPolicy(), coin_value=1)
        nursery.start_soon(partial(claimer.watch, terms, interval_s=30))
        await trio.sleep(1)
        ceiling = wallet.ceiling
        assert ceiling is not None
        gas, delay_s = 50_000, world.escrow.deployment.unlock_delay_s
        assert ceiling("claim-1", gas) == 0
        seen = []
        for _ in range(10):
            await trio.sleep(delay_s / 10)
            seen.append(ceiling("claim-1", gas))
        assert seen == sorted(seen)
        assert seen[3] == 0
        assert seen[-1] == waiting.amount * 10**18 // gas
        assert ceiling("sweep-1", gas) == 0
        nursery.cancel_scope.cancel()


async def test_claims_wished_for_at_once_are_one_transaction(autojump_clock: MockClock) -> None:
    """Threat 35: the second one waits, and finds nothing left to claim."""
    async with sold() as (world, _client, provider, claimer):
        before = world.chain.nonce(provider.key.address)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(claimer.settle)
        assert world.chain.nonce(provider.key.address) == before + 1


HOUR_S = 3600


def paid_in_gas(share_percent: int, coin_value: int) -> ClaimTerms:
    policy = ClaimPolicy(gas_percent_max=share_percent, age_s_max=24 * HOUR_S)
    return ClaimTerms(policy=policy, coin_value=coin_value)


async def test_a_claim_waits_until_gas_takes_a_small_part_of_it(
    autojump_clock: MockClock,
) -> None:
    """The chain says what gas costs, the owner what the coin is worth."""
    async with sold() as (world, _client, provider, claimer), trio.open_nursery() as nursery:
        (waiting,) = await claimer.unclaimed()
        world.chain.gas_price_wei = 10**9
        # So much that the gas of one row alone is worth ten times the voucher.
        coin_value = waiting.amount * 10 * 10**18 // (14_400 * 10**9)
        nursery.start_soon(partial(claimer.watch, paid_in_gas(5, coin_value), interval_s=30))
        await trio.sleep(HOUR_S)
        assert await claimer.unclaimed()
        # 47,400 gas then take just less than a twentieth.
        world.chain.gas_price_wei = 10**9 // (10 * 20 * 4)
        await trio.sleep(31)
        assert await world.escrow.credit(provider.key.address) == waiting.amount
        nursery.cancel_scope.cancel()


async def test_an_old_voucher_is_claimed_as_soon_as_it_brings_anything(
    autojump_clock: MockClock,
) -> None:
    """Its age counts from the end of the first work that no claim has paid for."""
    async with sold() as (world, client, provider, claimer), trio.open_nursery() as nursery:
        await client.kill()
        (waiting,) = await claimer.unclaimed()
        coin_value = waiting.amount * 10**18 // (2 * 47_400 * 10**9)
        nursery.start_soon(partial(claimer.watch, paid_in_gas(5, coin_value), interval_s=600))
        await trio.sleep(23 * HOUR_S)
        assert (await claimer.backlog()).oldest_s == pytest.approx(23 * HOUR_S, abs=60)
        assert await claimer.unclaimed()
        await trio.sleep(HOUR_S + 600)
        assert await world.escrow.credit(provider.key.address) == waiting.amount
        assert await claimer.backlog() == Backlog()
        nursery.cancel_scope.cancel()


async def test_the_age_is_that_of_the_first_work_that_is_not_claimed(
    autojump_clock: MockClock,
) -> None:
    """A claim makes the backlog young again, and old work does not hide behind new."""
    async with sold() as (_world, client, _provider, claimer):
        assert client.client is not None
        await claimer.settle()
        for _ in range(5):
            await trio.sleep(HOUR_S)
            async with client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
                await answer.read()
        await trio.sleep(HOUR_S)
        assert (await claimer.backlog()).oldest_s == pytest.approx(5 * HOUR_S, abs=60)


async def test_a_claim_of_a_former_life_is_waited_for_before_another_is_made(
    autojump_clock: MockClock,
) -> None:
    """Threat 35: a process that was killed left one in flight; two would both cost gas."""
    async with sold() as (world, client, provider, claimer):
        world.chain.automine = False
        nonce = world.chain.nonce(provider.key.address)
        with trio.move_on_after(10):
            await claimer.settle()
        assert client.client is not None
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
            await answer.read()
        assert provider.node is not None
        second = Claimer(
            provider=provider.key.address,
            domain=world.escrow.deployment.domain,
            journal=provider.node.journal,
            escrow=world.escrow,
            wallet=claimer._wallet,
            now_ms=world.now_ms,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(second.watch, worth(1), interval_s=30))
            await trio.sleep(100)
            assert len(world.chain.mempool) == 1
            world.chain.mine()
            await trio.sleep(31)
            assert [tx.nonce for tx in world.chain.mempool.values()] == [nonce + 1]
            world.chain.mine()
            await trio.sleep(31)
            nursery.cancel_scope.cancel()
        assert await second.unclaimed() == []


async def test_a_backlog_that_waits_too_long_is_said_whatever_the_reason(
    autojump_clock: MockClock,
) -> None:
    """Gas that costs too much, a chain that is away: silence would look like all is well."""
    async with sold() as (world, client, _provider, claimer), trio.open_nursery() as nursery:
        await client.kill()
        await trio.sleep(60)
        nursery.start_soon(partial(claimer.guard, age_s_max=2 * HOUR_S, interval_s=600))
        for hours, down, expected in (
            (1, False, set()),
            (2, False, {"vouchers wait too long for a claim"}),
            (1, True, {"backlog unknown"}),
        ):
            world.escrow.is_down = down
            with capture_logs() as said:
                await trio.sleep(hours * HOUR_S)
            assert {entry["event"] for entry in said} == expected
        nursery.cancel_scope.cancel()


async def test_credit_is_swept_to_the_payout_address_and_nowhere_else(
    autojump_clock: MockClock,
) -> None:
    """By itself only from the owner's sum on, and never to the hot key."""
    async with sold() as (world, _client, provider, claimer), trio.open_nursery() as nursery:
        (waiting,) = await claimer.unclaimed()
        terms = replace(worth(1), sweep_above=waiting.amount)
        nursery.start_soon(partial(claimer.watch, terms, interval_s=30))
        await trio.sleep(100)
        assert await world.escrow.credit(provider.key.address) == waiting.amount
        cold = b"\xcc" * 20
        await claimer._wallet.request_payout(cold, intent="payout")
        await trio.sleep(31)
        assert await world.escrow.credit(provider.key.address) == 0
        assert await world.escrow.token_balance(cold) == waiting.amount
        nursery.cancel_scope.cancel()
