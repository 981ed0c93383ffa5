"""The books of a provider that sold, claimed, and lost a client in the middle."""

from __future__ import annotations

from datetime import UTC

import pytest
import trio
from tests.simulation.test_settlement import sold
from trio.testing import MockClock

from rowen.protocol.errors import Unavailable, UserError
from rowen.provider.earnings import EarningsReport, Grouping, Question, read_earnings
from rowen.provider.payouts import change_payout, withdraw
from rowen.provider.settlement import Claimer
from rowen.testing.engine import SCRIPTED
from rowen.testing.fake_chain import GAS_PRICE_WEI
from rowen.testing.simulator import SimProvider, Simulation

DAY_S = 86_400
COLD, COLDER = b"\xcc" * 20, b"\xdd" * 20


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def books(
    world: Simulation, provider: SimProvider, claimer: Claimer, by: Grouping = "day"
) -> EarningsReport:
    assert provider.node is not None
    return await read_earnings(
        Question(by=by, zone=UTC, coin_value=2_000_000_000, kwh=300_000),
        provider=provider.key.address,
        journal=provider.node.journal,
        escrow=world.escrow,
        wallet=claimer._wallet,
    )


async def test_money_moves_from_potential_to_earned_to_settled_and_is_never_lost(
    autojump_clock: MockClock,
) -> None:
    """By day, by variant and by channel the same sums; gas where it was spent."""
    async with sold() as (world, client, provider, claimer):
        assert provider.node is not None
        assert client.client is not None
        first = (await books(world, provider, claimer)).total
        assert (first.potential, first.settled, first.gas_wei) == (0, 0, 0)
        assert first.earned > 0
        await claimer.settle()
        await trio.sleep(DAY_S)
        # This one is billed when the client has gone, and no voucher comes.
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
            await anext(aiter(answer))
            await client.kill()
        await trio.sleep(60)
        found = await books(world, provider, claimer)
        assert [line.key for line in found.lines] == ["2023-11-14", "2023-11-15"]
        assert found.lines[0].settled == first.earned == found.credit
        assert found.lines[1].settled == 0
        assert found.total.potential > 0
        (account,) = provider.node.books.accounts.values()
        total = found.total
        assert total.potential + total.earned + total.settled == account.state.issued.total
        assert total.earned + total.settled == account.state.paid.total
        (spent,) = await claimer._wallet.spent()
        assert total.gas_wei == spent.fee_wei == 46_000 * GAS_PRICE_WEI
        assert total.gas == 92_000
        assert total.net == total.earned + total.settled - 92_000
        assert total.unknown == ("power",)
        for by in ("variant", "channel"):
            other = await books(world, provider, claimer, by)
            assert len(other.lines) == 1
            assert other.total == total
            assert other.lines[0].gas_wei is None


async def test_without_the_chain_there_are_no_books(autojump_clock: MockClock) -> None:
    """Half an answer about money is none."""
    async with sold() as (world, _client, provider, claimer):
        world.escrow.is_down = True
        with pytest.raises(Unavailable):
            await books(world, provider, claimer)


async def test_a_withdrawal_follows_the_payout_address_through_its_delay(
    autojump_clock: MockClock,
) -> None:
    """Nothing goes to the hot key; a change takes over when its delay is over, and not before."""
    async with sold() as (world, _client, _provider, claimer):
        wallet, escrow = claimer._wallet, world.escrow
        credited = (await claimer.settle()).credited
        look = await withdraw(escrow, wallet, is_wished=False)
        assert (look.credit, look.is_own_key, look.transaction) == (credited, True, None)
        with pytest.raises(UserError, match="rowen payout 0x"):
            await withdraw(escrow, wallet, is_wished=True)
        with pytest.raises(UserError, match="own key"):
            await change_payout(escrow, wallet, wallet.address)
        assert (await change_payout(escrow, wallet, COLD)).pending == ""
        assert (await change_payout(escrow, wallet, COLDER)).apply_at_s > 0
        before = await change_payout(escrow, wallet, COLDER)
        assert before.transaction is None, "asked for already"
        world.chain.warp(world.chain.deployment.payout_delay_s + 1)
        world.chain.mine()
        done = await withdraw(escrow, wallet, is_wished=True)
        assert done.transaction is not None
        assert await escrow.token_balance(COLDER) == credited == done.credit
        assert await escrow.token_balance(COLD) == 0
        assert (await withdraw(escrow, wallet, is_wished=True)).transaction is None
