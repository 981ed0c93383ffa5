"""Every way of funding and leaving, on the fake chain and the real one alike."""

from __future__ import annotations

import pytest

from rowen.chain import authorizations
from rowen.chain.authorizations import Funding, Permit, Signable, key_signature
from rowen.chain.base import ChannelKey
from rowen.chain.calls.escrow import Lock, LockPart
from rowen.chain.refusals import Reverted
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import UserError
from rowen.protocol.signing import Key

from .conftest import CHANNEL, PAYER, PROVIDER, SESSION, STRANGER, UNLOCK_DELAY_S, World

SALT = b"s" * 32
AMOUNT = 10_000


def signed(message: Signable, key: Key = PAYER) -> bytes:
    return key_signature(key.sign(message.digest))


async def wish(world: World, *, amount: int = AMOUNT, life_s: int = 600) -> Lock:
    deadline_s = (await world.escrow.head()).timestamp_s + life_s
    return Lock(PAYER.address, PROVIDER.address, SESSION.address, amount, SALT, deadline_s)


async def locked(world: World, key: ChannelKey = CHANNEL) -> int:
    return (await world.escrow.channel(key.id, confirmations=0)).locked


async def reverts(error: str, call: object) -> Reverted:
    with pytest.raises(Reverted) as caught:
        await call  # type: ignore[misc]  # a coroutine
    assert caught.value.error == error
    return caught.value


async def height(world: World) -> int:
    return (await world.escrow.head()).number


@pytest.mark.parametrize(
    ("by", "transactions"),
    [(None, 1), (Funding.PERMIT, 1), (Funding.AUTHORIZATION, 1), (Funding.APPROVE, 2)],
)
async def test_each_way_of_funding_opens_the_channel(
    world: World, by: Funding | None, transactions: int
) -> None:
    """By default no transaction is spent on an allowance."""
    before = await height(world)
    wallet = world.wallet(PAYER)
    for number in (1, 2):
        receipt = await wallet.lock(
            PROVIDER.address, SESSION.address, AMOUNT, by=by, intent=f"lock {number}"
        )
        assert await locked(world) == number * AMOUNT
        again = await wallet.lock(
            PROVIDER.address, SESSION.address, AMOUNT, by=by, intent=f"lock {number}"
        )
        assert again == receipt
    assert await height(world) == before + 2 * transactions
    assert (await world.escrow.token_facts(PAYER.address)).allowance == 0


async def test_permit2_is_refused_where_it_is_not_deployed(world: World) -> None:
    with pytest.raises(UserError, match="Permit2 is not on this chain"):
        await world.wallet(PAYER).lock(
            PROVIDER.address, SESSION.address, AMOUNT, by=Funding.PERMIT2, intent="lock"
        )


async def test_many_channels_are_funded_in_one_transaction_and_all_or_none(world: World) -> None:
    wallet = world.wallet(PAYER)
    providers = [bytes([number]) * 20 for number in range(1, 6)]
    parts = [LockPart(each, SESSION.address, 2_000) for each in providers]
    before = await height(world)
    receipt = await wallet.lock_many(parts, intent="many")
    assert await height(world) == before + 2, "an allowance, and the lock"
    assert await wallet.lock_many(parts, intent="many") == receipt
    keys = [ChannelKey(PAYER.address, each, SESSION.address) for each in providers]
    views = await world.escrow.channels([key.id for key in keys], confirmations=0)
    assert views == [ChannelView(locked=2_000, claimed=0)] * 5
    small = [
        LockPart(bytes([9]) * 20, SESSION.address, 5_000),
        LockPart(PROVIDER.address, SESSION.address, 1),
    ]
    await reverts("LockBelowMinimum", wallet.lock_many(small, intent="too small"))
    assert await locked(world, ChannelKey(PAYER.address, bytes([9]) * 20, SESSION.address)) == 0
    with pytest.raises(UserError, match="more of the escrow's token to lock"):
        await wallet.lock_many([LockPart(PROVIDER.address, SESSION.address, 10**9)], intent="dear")


async def test_a_payer_without_gas_funds_by_authorization(world: World) -> None:
    """ERC-3009: one signature, one transaction, sent and paid by a stranger; it works once."""
    await world.set_balance_wei(PAYER.address, 0)
    deployment = world.escrow.deployment
    facts = await world.escrow.token_facts(PAYER.address)
    wanted = await wish(world)
    message = authorizations.authorization(facts, deployment.domain, deployment.token, wanted)
    relayer = world.wallet(STRANGER)
    await relayer.lock_for(wanted, signed(message), by=Funding.AUTHORIZATION, intent="relay")
    assert await locked(world) == AMOUNT
    assert await world.escrow.token_balance(PAYER.address) == 1_000_000 - AMOUNT
    again = relayer.lock_for(wanted, signed(message), by=Funding.AUTHORIZATION, intent="again")
    await reverts("ERC3009UsedAuthorization", again)
    late = wanted._replace(deadline=1)
    message = authorizations.authorization(facts, deployment.domain, deployment.token, late)
    too_late = relayer.lock_for(late, signed(message), by=Funding.AUTHORIZATION, intent="late")
    await reverts("ERC3009InvalidAuthorizationTime", too_late)


async def test_whoever_sends_an_authorization_cannot_direct_it_elsewhere(world: World) -> None:
    deployment = world.escrow.deployment
    facts = await world.escrow.token_facts(PAYER.address)
    wanted = await wish(world)
    message = authorizations.authorization(facts, deployment.domain, deployment.token, wanted)
    relayer = world.wallet(STRANGER)
    for number, changed in enumerate(
        (
            wanted._replace(provider=STRANGER.address),
            wanted._replace(signer=STRANGER.address),
            wanted._replace(amount=AMOUNT + 1),
            wanted._replace(deadline=wanted.deadline + 1),
        )
    ):
        call = relayer.lock_for(
            changed, signed(message), by=Funding.AUTHORIZATION, intent=f"thief {number}"
        )
        await reverts("ERC3009InvalidSignature", call)


async def test_a_payer_without_gas_funds_by_permit_and_consent(world: World) -> None:
    """ERC-2612: the relayer gives the allowance in the payer's name, then locks."""
    await world.set_balance_wei(PAYER.address, 0)
    deployment = world.escrow.deployment
    facts = await world.escrow.token_facts(PAYER.address)
    wanted = await wish(world)
    allowance = authorizations.permit(
        facts, deployment.domain, deployment.token, PAYER.address, AMOUNT, wanted.deadline
    )
    permit = Permit(AMOUNT, wanted.deadline, signed(allowance))
    consent = signed(authorizations.lock(deployment.domain, wanted))
    relayer = world.wallet(STRANGER)
    await relayer.lock_for(wanted, consent, by=Funding.PERMIT, permit=permit, intent="relay")
    assert await locked(world) == AMOUNT
    await reverts(
        "AuthorizationUsed",
        relayer.lock_for(wanted, consent, by=Funding.APPROVE, intent="twice"),
    )


async def test_a_lock_out_of_the_allowance_needs_the_payers_own_signature(world: World) -> None:
    domain = world.escrow.deployment.domain
    wanted = await wish(world)
    relayer = world.wallet(STRANGER)
    forged = signed(authorizations.lock(domain, wanted), STRANGER)
    await reverts(
        "AuthorizationInvalid",
        relayer.lock_for(wanted, forged, by=Funding.APPROVE, intent="forged"),
    )
    right = signed(authorizations.lock(domain, wanted))
    await reverts(
        "ERC20InsufficientAllowance",
        relayer.lock_for(wanted, right, by=Funding.APPROVE, intent="no allowance"),
    )
    late = wanted._replace(deadline=1)
    await reverts(
        "AuthorizationExpired",
        relayer.lock_for(
            late, signed(authorizations.lock(domain, late)), by=Funding.APPROVE, intent="late"
        ),
    )


async def test_a_payer_without_gas_leaves_and_comes_back_by_signature(world: World) -> None:
    """Threat 10 holds for a request by signature as for one by transaction."""
    payer, relayer = world.wallet(PAYER), world.wallet(STRANGER)
    await payer.lock(PROVIDER.address, SESSION.address, AMOUNT, intent="lock")
    await world.set_balance_wei(PAYER.address, 0)
    domain = world.escrow.deployment.domain
    deadline_s = (await world.escrow.head()).timestamp_s + 9_000
    leave = signed(authorizations.request_unlock(domain, CHANNEL, deadline_s))
    asked = await relayer.request_unlock_for(CHANNEL, deadline_s, leave, intent="leave")
    due_s = asked.block.timestamp_s + UNLOCK_DELAY_S
    assert (await world.escrow.channel(CHANNEL.id, confirmations=0)).unlock_at_s == due_s

    other = signed(authorizations.cancel_unlock(domain, CHANNEL, due_s + 1, deadline_s))
    await reverts(
        "OtherUnlockPending",
        relayer.cancel_unlock_for(CHANNEL, due_s + 1, deadline_s, other, intent="other"),
    )
    stay = signed(authorizations.cancel_unlock(domain, CHANNEL, due_s, deadline_s))
    await relayer.cancel_unlock_for(CHANNEL, due_s, deadline_s, stay, intent="stay")
    assert await world.escrow.channel(CHANNEL.id, confirmations=0) == ChannelView(
        locked=AMOUNT, claimed=0
    )
    await reverts(
        "AuthorizationUsed",
        relayer.request_unlock_for(CHANNEL, deadline_s, leave, intent="replayed"),
    )
    leave = signed(authorizations.request_unlock(domain, CHANNEL, deadline_s + 1))
    await relayer.request_unlock_for(CHANNEL, deadline_s + 1, leave, intent="leave again")
    await world.warp(UNLOCK_DELAY_S)
    await world.mine()
    await relayer.unlock(CHANNEL, intent="refund")
    assert await world.escrow.token_balance(PAYER.address) == 1_000_000


async def test_what_was_signed_can_be_revoked_before_it_is_sent(world: World) -> None:
    payer, relayer = world.wallet(PAYER), world.wallet(STRANGER)
    await payer.lock(PROVIDER.address, SESSION.address, AMOUNT, intent="lock")
    deadline_s = (await world.escrow.head()).timestamp_s + 600
    message = authorizations.request_unlock(world.escrow.deployment.domain, CHANNEL, deadline_s)
    await payer.revoke_authorization(message.digest, intent="revoke")
    await reverts(
        "AuthorizationUsed",
        relayer.request_unlock_for(CHANNEL, deadline_s, signed(message), intent="leave"),
    )


async def test_a_payout_address_that_waits_is_shown(world: World) -> None:
    wallet = world.wallet(PROVIDER)
    assert await world.escrow.pending_payout(PROVIDER.address) == (bytes(20), 0)
    await wallet.request_payout(STRANGER.address, intent="1")
    assert await world.escrow.pending_payout(PROVIDER.address) == (bytes(20), 0)
    receipt = await wallet.request_payout(PAYER.address, intent="2")
    due_s = receipt.block.timestamp_s + world.escrow.deployment.payout_delay_s
    assert await world.escrow.pending_payout(PROVIDER.address) == (PAYER.address, due_s)
