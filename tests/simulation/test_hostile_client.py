"""What a provider answers to a client that breaks the rules. Nothing it was paid is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from tests.simulation.conversation import SALT, Talk, talk
from trio.testing import MockClock

from rowen.p2p.session import Session
from rowen.protocol import messages
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import Reason, Unavailable
from rowen.protocol.messages import encode
from rowen.testing.chain import FakeWallet
from rowen.testing.simulator import FUNDS, SimClient, SimProvider, Simulation, simulate
from rowen_scheduler.admission import Load


@asynccontextmanager
async def market(funds: int = FUNDS) -> AsyncIterator[tuple[Simulation, SimClient, SimProvider]]:
    """One provider, and one funded client that leaves the talking to the test."""
    async with simulate(1) as world:
        provider = await world.add_provider()
        client = await world.add_client(funds)
        await client.kill()
        yield world, client, provider


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def assert_dropped(hand: Talk) -> None:
    """The provider resets the session; it does not end it politely."""

    async def to_the_end() -> None:
        while await hand.hear() is not None:
            pass

    with pytest.raises(Unavailable):
        await to_the_end()


async def refusal(hand: Talk, changes: dict[str, Any], **order: Any) -> messages.No:
    await hand.attach()
    await hand.hear_until(messages.Attached)
    wish, encoded = hand.order(**order)
    await hand.submit(wish, encoded, **changes)
    said = await hand.hear_until(messages.No)
    assert isinstance(said, messages.No)
    return said


@pytest.mark.parametrize(
    ("order", "reason", "words"),
    [
        ({"variant": b"?" * 32}, Reason.UNKNOWN_VARIANT, "scripted"),
        ({"price_output": 1}, Reason.PRICE_TOO_LOW, "output price is 2000000, the order offers 1"),
        ({"amount_max": 1}, Reason.COST_ABOVE_MAX, "the order allows 1"),
        ({"amount_max": FUNDS + 1}, Reason.CHANNEL_EMPTY, f"has {FUNDS} left"),
        ({"deadline_ms": 1}, Reason.DEADLINE_PASSED, "deadline 1 is not after"),
        ({"deadline_ms": 2**60}, Reason.DEADLINE_PASSED, "at most 3600000"),
        ({"input_hash": b"#" * 32}, Reason.INPUT_MISMATCH, "not the one the order was signed for"),
        ({"output_units_max": 10**6}, Reason.INPUT_TOO_LONG, "1000000 output units asked"),
        ({"text": "long " * 1_000}, Reason.CREDIT_EXCEEDED, "credit is 400"),
    ],
)
async def test_an_order_that_cannot_be_served_is_refused_with_a_reason(
    autojump_clock: MockClock, order: dict[str, Any], reason: Reason, words: str
) -> None:
    async with market() as (world, client, provider), talk(world, client, provider) as hand:
        no = await refusal(hand, {}, **order)
        assert no.reason == reason.value
        assert words in no.detail


async def test_an_order_replayed_is_refused(autojump_clock: MockClock) -> None:
    """Threat 1: a job id is used once, also after a restart of the provider."""
    async with market() as (world, client, provider):
        async with talk(world, client, provider) as hand:
            await hand.attach()
            wish, encoded = hand.order()
            await hand.submit(wish, encoded)
            await hand.hear_until(messages.Accepted)
            await hand.submit(wish, encoded)
            no = await hand.hear_until(messages.No)
            assert no.reason == Reason.JOB_REPLAYED.value
        await provider.kill()
        await provider.start()
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.submit(wish, encoded)
            no = await hand.hear_until(messages.No)
            assert no.reason == Reason.JOB_REPLAYED.value


async def test_an_order_for_another_deployment_ends_the_session(autojump_clock: MockClock) -> None:
    """Threat 3: the signature of one chain and contract is worth nothing on another."""
    async with market() as (world, client, provider), talk(world, client, provider) as hand:
        await hand.attach()
        await hand.hear_until(messages.Attached)
        wish, encoded = hand.order()
        other = Domain(hand.domain.chain_id + 1, hand.domain.escrow)
        await hand.submit(wish, encoded, domain=other)
        with pytest.raises(Unavailable):
            await hand.hear()


async def test_an_unfunded_channel_is_told_what_to_wait_for(autojump_clock: MockClock) -> None:
    async with market() as (world, client, provider), talk(world, client, provider) as hand:
        await hand.attach(payer=b"p" * 20)
        no = await hand.hear_until(messages.No)
        assert no.reason == Reason.CHANNEL_UNKNOWN.value
        assert "no funds with 2 confirmations" in no.detail
        assert no.retry_ms is not None
        assert provider.node is not None
        assert not provider.node.books.accounts


async def test_another_chain_is_named_in_the_refusal(autojump_clock: MockClock) -> None:
    async with market() as (world, client, provider), talk(world, client, provider) as hand:
        await hand.attach(chain_id=5)
        no = await hand.hear_until(messages.No)
        assert f"settles on chain {hand.domain.chain_id}" in no.detail
        assert "you came from chain 5" in no.detail


async def test_a_channel_whose_payer_is_leaving_gets_no_work(autojump_clock: MockClock) -> None:
    """Threat 10: no service after an unlock request."""
    async with market() as (world, client, provider):
        wallet = FakeWallet(world.escrow, client.wallet.address)
        await wallet.request_unlock(provider.key.address, client.key.address, intent="leave")
        world.chain.mine(5)
        async with talk(world, client, provider) as hand:
            no = await refusal(hand, {})
            assert no.reason == Reason.CHANNEL_UNLOCKING.value


async def test_a_dead_chain_means_no_new_work(autojump_clock: MockClock) -> None:
    """Threat 38: no credit on a stale view."""
    async with market() as (world, client, provider), talk(world, client, provider) as hand:
        await hand.attach()
        await hand.hear_until(messages.Attached)
        await trio.sleep(100)
        world.escrow.is_down = True
        wish, encoded = hand.order()
        await hand.submit(wish, encoded)
        no = await hand.hear_until(messages.No)
        assert no.reason == Reason.CHAIN_STALE.value
        world.escrow.is_down = False
        await hand.submit(*hand.order())
        await hand.hear_until(messages.Accepted)


@pytest.mark.parametrize(
    "changes",
    [
        {"total": 1},
        {"total": 10**9},
        {"receipt_count": 0},
        {"receipt_count": 9},
        {"receipts_root": b"r" * 32},
        {"payer": b"p" * 20},
        {"provider": b"p" * 20},
    ],
    ids=lambda c: next(iter(c)) + str(next(iter(c.values())))[:6],
)
async def test_a_voucher_that_is_not_what_is_owed_ends_the_session_and_costs_nothing(
    autojump_clock: MockClock, changes: dict[str, Any]
) -> None:
    """Too low, too high, for other receipts, payer or provider: refused; a right one is taken."""
    async with market() as (world, client, provider):
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.submit(*hand.order())
            hand.take(await hand.hear_until(messages.Bill))
            await hand.say(messages.Pay(hand.voucher(**changes)))
            await assert_dropped(hand)
        await assert_still_owed_and_payable(world, client, provider)


@pytest.mark.parametrize("change", ["chain", "contract"])
async def test_a_voucher_for_another_deployment_is_refused(
    autojump_clock: MockClock, change: str
) -> None:
    """Threat 3, and P6."""
    async with market() as (world, client, provider):
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.submit(*hand.order())
            hand.take(await hand.hear_until(messages.Bill))
            chain_id, escrow = hand.domain.chain_id, hand.domain.escrow
            other = (
                Domain(chain_id + 1, escrow) if change == "chain" else Domain(chain_id, bytes(20))
            )
            await hand.say(messages.Pay(hand.voucher(other)))
            await assert_dropped(hand)
        await assert_still_owed_and_payable(world, client, provider)


async def assert_still_owed_and_payable(
    world: Simulation, client: SimClient, provider: SimProvider
) -> None:
    """The provider's log stands, it has been paid nothing, and takes the right voucher."""
    async with talk(world, client, provider) as hand:
        await hand.attach()
        attached = await hand.hear_until(messages.Attached)
        assert attached.voucher is None
        for _ in range(attached.receipt_count):
            hand.take(await hand.hear_until(messages.Bill))
        await hand.say(messages.Pay(hand.voucher()))
        await trio.sleep(1)
        assert provider.node is not None
        (account,) = provider.node.books.accounts.values()
        assert account.state.paid.total == account.state.issued.total == hand.total > 0


async def test_a_client_that_never_pays_costs_the_credit_line_and_no_more(
    autojump_clock: MockClock,
) -> None:
    """P2, threat 14."""
    async with market() as (world, client, provider):
        for _ in range(5):
            async with talk(world, client, provider) as hand:
                await hand.attach()
                for _ in range(4):
                    await hand.submit(*hand.order("spend " * 20))
                with trio.move_on_after(60):
                    while await hand.hear() is not None:
                        pass
        assert provider.node is not None
        (account,) = provider.node.books.accounts.values()
        assert account.state.paid.total == 0
        assert 300 < account.state.exposure() <= account.state.credit + 2


async def test_a_client_that_stops_reading_holds_no_engine_and_stays_within_credit(
    autojump_clock: MockClock,
) -> None:
    """What it is sent fits its window; what it is not paid for ends at the credit line."""
    async with market() as (world, client, provider), talk(world, client, provider) as hand:
        await hand.attach()
        for _ in range(6):
            await hand.submit(*hand.order("spend " * 20))
        await hand.hear_until(messages.Chunk)
        world.hub.change_link(provider.network, client.network, is_read=False)
        await trio.sleep(300)
        assert provider.node is not None
        (account,) = provider.node.books.accounts.values()
        assert account.open_jobs == 0
        assert account.state.exposure() <= account.state.credit + 2
        assert provider.node.stock.load == Load()


async def test_a_second_session_of_a_client_takes_over_from_the_first(
    autojump_clock: MockClock,
) -> None:
    """A client may be back before its old connection is known to be dead."""
    async with market() as (world, client, provider), talk(world, client, provider) as first:
        await first.attach()
        await first.submit(*first.order())
        await first.hear_until(messages.Chunk)
        async with talk(world, client, provider) as second:
            await second.attach()
            attached = await second.hear_until(messages.Attached)
            assert attached.receipt_count == 1
            await second.hear_until(messages.Chunk)
            bill = await second.hear_until(messages.Bill)
            assert bill.finish == "cancelled"
            second.take(bill)
            await second.say(messages.Pay(second.voucher()))
            await second.submit(*second.order())
            await second.hear_until(messages.Accepted)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\x81\xa1t\xa5hello",
        b"\x91" * 500 + b"\x90",
        b"\x83\xa1t\xa6cancel\xa3job\xc4 " + b"j" * 32 + b"\xa3job\xc4 " + b"k" * 32,
        b"\xdf\xff\xff\xff\xff",
        b"\x82\xa1t\xa6cancel\xa3job\xc4\x01j",
    ],
)
async def test_malformed_messages_end_that_session_only(
    autojump_clock: MockClock, raw: bytes
) -> None:
    """P12, threat 46."""
    async with market() as (world, client, provider):
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.hear_until(messages.Attached)
            session: Session = hand.session
            await session.send(raw)
            await assert_dropped(hand)
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.submit(*hand.order())
            await hand.hear_until(messages.Accepted)


async def test_a_client_restored_from_a_newer_world_stops_the_channel(
    autojump_clock: MockClock,
) -> None:
    """Threat 30: a voucher for receipts the journal has not says that an old copy was restored."""
    async with market() as (world, client, provider):
        async with talk(world, client, provider) as hand:
            hand.log = hand.log.append(b"e" * 32)
            hand.total = 7
            await hand.attach(voucher=hand.voucher())
            no = await hand.hear_until(messages.No)
            assert no.reason == Reason.CHANNEL_STOPPED.value
            assert "only 0 were written" in no.detail
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.submit(*hand.order())
            no = await hand.hear_until(messages.No)
            assert no.reason == Reason.CHANNEL_STOPPED.value


async def test_a_deposit_that_a_reorganisation_took_buys_nothing(
    autojump_clock: MockClock,
) -> None:
    """P9, threat 37: the channel is looked at again, also while its client stays connected."""
    async with market() as (world, client, provider), talk(world, client, provider) as hand:
        await hand.attach()
        await hand.submit(*hand.order())
        await hand.hear_until(messages.Accepted)
        world.chain.reorg(world.chain.head.number)
        await trio.sleep(provider.settings.view_age_s_max + 1)
        await hand.submit(*hand.order())
        no = await hand.hear_until(messages.No)
        assert no.reason == Reason.CHANNEL_UNKNOWN.value


async def test_a_client_that_never_says_who_it_is_does_not_stay(autojump_clock: MockClock) -> None:
    """Threat 48: heartbeats alone hold no place."""
    async with market() as (world, client, provider), talk(world, client, provider) as hand:
        assert provider.node is not None
        assert provider.node.sessions == 1
        with trio.fail_after(provider.settings.attach_wait_s + 5):
            assert await hand.hear() is None
        await trio.sleep(1)
        assert provider.node.sessions == 0


async def test_no_prompt_and_no_key_is_in_the_log(autojump_clock: MockClock) -> None:
    """P16, threat 61: whatever is served, refused or broken off."""
    with capture_logs() as lines:
        async with market() as (world, client, provider):
            async with talk(world, client, provider) as hand:
                await hand.attach()
                for changes in ({}, {"price_output": 1}, {"input_hash": b"#" * 32}):
                    await hand.submit(*hand.order("canary", **changes))
                await hand.hear_until(messages.Bill)
                order, encoded = hand.order("canary")
                signed = messages.seal(order, hand.domain, client.key)
                await hand.session.send(encode(messages.Submit(signed, SALT, encoded)) + b"more")
                await assert_dropped(hand)
            async with talk(world, client, provider) as hand:
                await hand.session.send(
                    encode(messages.Cancel(b"j" * 32)).replace(b"cancel", b"canary")
                )
                await assert_dropped(hand)
            await trio.sleep(1)
    said = [line["event"] for line in lines]
    assert said == ["serving", "session ended", "session ended"]
    assert all(line["why"].startswith("malformed message of ") for line in lines[1:])
    for secret in ("canary", provider.key.secret.hex(), repr(provider.key.secret)[2:-1]):
        assert secret not in str(lines)
