"""Bonds and slashes, on the fake chain and the real one alike, with really signed receipts."""

from __future__ import annotations

from typing import Any

import pytest

from rowen.chain.refusals import Reverted
from rowen.chain.staking import BondView, Penalty
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.evidence import ChannelRecord
from rowen.protocol.fraud import Offence, Proof
from rowen.protocol.messages import Signed, seal
from rowen.protocol.signing import Key
from rowen.protocol.statements import Receipt, Status

from .conftest import CHANNEL, PAYER, PENALTY, PROVIDER, STRANGER, UNBOND_DELAY_S, World

RECORD = ChannelRecord(*CHANNEL)


def receipt(world: World, key: Key = PROVIDER, **changes: Any) -> Signed:
    fields: dict[str, Any] = {
        "channel_id": CHANNEL.id,
        "sequence": 3,
        "order_hash": b"o" * 32,
        "segment": 0,
        "status": Status.FINAL,
        "input_units": 10,
        "cached_units": 0,
        "output_units": 20,
        "amount": 100,
        "total": 400,
        "output_hash": b"h" * 32,
        "started_at_ms": 1_000,
        "finished_at_ms": 2_000,
    }
    return seal(Receipt(**{**fields, **changes}), world.escrow.deployment.domain, key)


def equivocation(world: World) -> Proof:
    pair = (receipt(world), receipt(world, amount=101, total=401))
    return Proof(offence=Offence.EQUIVOCATION, channel=RECORD, receipts=pair)


def broken_total(world: World) -> Proof:
    pair = (receipt(world), receipt(world, sequence=4, amount=50, total=451))
    return Proof(offence=Offence.BROKEN_TOTAL, channel=RECORD, receipts=pair)


def charged_failure(world: World) -> Proof:
    one = (receipt(world, status=Status.FAILED),)
    return Proof(offence=Offence.CHARGED_FAILURE, channel=RECORD, receipts=one)


async def bonded(world: World, amount: int = 3 * PENALTY) -> None:
    wallet = await world.stake_wallet(PAYER)
    await wallet.bond(PROVIDER.address, amount, intent=f"bond {amount}")


@pytest.mark.parametrize("proof_of", [equivocation, broken_total, charged_failure])
async def test_each_offence_costs_one_penalty_once(world: World, proof_of: Any) -> None:
    """Threat 21: a quarter is the reporter's, the rest is burned."""
    await bonded(world)
    stake, reporter = await world.stake(), await world.stake_wallet(STRANGER)
    proof = proof_of(world)
    expected = Penalty(burned=7_500, reward=2_500)
    assert await stake.expected(proof) == expected
    result = await reporter.slash(proof, intent="report")
    assert result.penalty == expected
    assert await stake.bond(PROVIDER.address) == BondView(2 * PENALTY, 0, 0)
    assert await world.escrow.token_balance(STRANGER.address) == 2_500
    assert await stake.paid_for(proof) == PENALTY
    assert await stake.expected(proof) == Penalty(0, 0)
    with pytest.raises(Reverted) as caught:
        await reporter.slash(proof, intent="again")
    assert caught.value.error == "OffencePunished"


async def test_a_bond_smaller_than_the_penalty_stays_owing_the_rest(world: World) -> None:
    await bonded(world, PENALTY)
    stake, reporter = await world.stake(), await world.stake_wallet(STRANGER)
    await reporter.slash(charged_failure(world), intent="first")
    with pytest.raises(Reverted) as caught:
        await reporter.slash(broken_total(world), intent="nothing left")
    assert caught.value.error == "NothingBonded"
    await bonded(world, PENALTY + 1)
    assert await stake.expected(broken_total(world)) == Penalty(7_500, 2_500)


async def test_what_proves_nothing_is_never_sent(world: World) -> None:
    await bonded(world)
    reporter = await world.stake_wallet(STRANGER)
    one, other = receipt(world), receipt(world, sequence=4, amount=50, total=450)
    before = await world.escrow.head()
    for offence, receipts, why in (
        (Offence.EQUIVOCATION, (one, one), "one and the same"),
        (Offence.EQUIVOCATION, (one, other), "sequences differ"),
        (Offence.BROKEN_TOTAL, (one, other), "total is right"),
        (Offence.BROKEN_TOTAL, (other, one), "do not follow"),
        (Offence.CHARGED_FAILURE, (one,), "did not fail"),
        (Offence.CHARGED_FAILURE, (receipt(world, status=Status.FAILED, amount=0),), "nothing"),
        (Offence.EQUIVOCATION, (one, receipt(world, STRANGER, amount=7)), "not signed by"),
        (Offence.EQUIVOCATION, (one, receipt(world, channel_id=b"c" * 32)), "another channel"),
        (Offence.EQUIVOCATION, (one,), "takes 2 receipts"),
    ):
        proof = Proof(offence=offence, channel=RECORD, receipts=receipts)
        with pytest.raises(PeerError, match=why):
            await reporter.slash(proof, intent=why)
    assert await world.escrow.head() == before


async def test_a_bond_leaves_after_its_delay_to_the_payout_address(world: World) -> None:
    await bonded(world)
    stake = await world.stake()
    provider, stranger = await world.stake_wallet(PROVIDER), await world.stake_wallet(STRANGER)
    await world.wallet(PROVIDER).request_payout(STRANGER.address, intent="payout")
    with pytest.raises(UserError, match="may not decide over this bond"):
        await (await world.stake_wallet(PAYER)).request_unbond(
            PROVIDER.address, PENALTY, intent="thief"
        )
    asked = await provider.request_unbond(PROVIDER.address, PENALTY, intent="leave")
    due_s = asked.block.timestamp_s + UNBOND_DELAY_S
    view = await stake.bond(PROVIDER.address)
    assert (view, view.active) == (BondView(3 * PENALTY, PENALTY, due_s), 2 * PENALTY)
    with pytest.raises(Reverted) as caught:
        await stranger.withdraw(PROVIDER.address, intent="early")
    assert caught.value.error == "UnbondTooEarly"
    await stranger.cancel_unbond(PROVIDER.address, intent="stay")
    await provider.request_unbond(PROVIDER.address, PENALTY, intent="leave again")
    await world.warp(UNBOND_DELAY_S)
    await world.mine()
    await (await world.stake_wallet(PAYER)).withdraw(PROVIDER.address, intent="due")
    assert await stake.bond(PROVIDER.address) == BondView(2 * PENALTY, 0, 0)
    assert await world.escrow.token_balance(STRANGER.address) == PENALTY


async def test_what_is_leaving_can_be_slashed(world: World) -> None:
    """A slash cannot be outrun by unstaking."""
    await bonded(world, PENALTY)
    provider = await world.stake_wallet(PROVIDER)
    await provider.request_unbond(PROVIDER.address, PENALTY, intent="run")
    await world.warp(UNBOND_DELAY_S)
    await world.mine()
    await (await world.stake_wallet(STRANGER)).slash(equivocation(world), intent="report")
    assert await (await world.stake()).bond(PROVIDER.address) == BondView(0, 0, 0)


async def test_a_bond_is_at_least_a_penalty_and_of_tokens_one_has(world: World) -> None:
    payer, provider = await world.stake_wallet(PAYER), await world.stake_wallet(PROVIDER)
    height = (await world.escrow.head()).number
    with pytest.raises(Reverted) as caught:
        await payer.bond(PROVIDER.address, PENALTY - 1, intent="small")
    assert caught.value.error == "BondBelowPenalty"
    assert (await world.escrow.head()).number == height, "no allowance was paid for"
    with pytest.raises(UserError, match=r"needs \$0.01 more of the escrow's token to bond"):
        await provider.bond(PROVIDER.address, PENALTY, intent="poor")
