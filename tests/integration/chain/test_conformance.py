"""What every chain behind ``Escrow`` and ``Wallet`` does, the fake one and the real one."""

from functools import partial
from itertools import pairwise

import pytest
import trio

from rowen.chain.base import CLAIM_ROWS_MAX, ClaimResult
from rowen.chain.events import (
    Claimed,
    Locked,
    PayoutChanged,
    PayoutRequested,
    PayoutVetoed,
    Released,
    RowSkipped,
    SkipReason,
    UnlockCancelled,
    Unlocked,
    UnlockRequested,
)
from rowen.chain.refusals import Reverted
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.statements import Release, Voucher

from .conftest import (
    CHANNEL,
    MIN_LOCK,
    PAYER,
    PAYOUT_DELAY_S,
    PROVIDER,
    SESSION,
    STRANGER,
    UNLOCK_DELAY_S,
    World,
    voucher_row,
)

EMPTY = ChannelView(locked=0, claimed=0)


async def lock(world: World, amount: int = 10_000, *, intent: str = "lock") -> None:
    wallet = world.wallet(PAYER)
    await wallet.lock(PROVIDER.address, SESSION.address, amount, intent=intent)


async def channel(world: World, confirmations: int = 0) -> ChannelView:
    return await world.escrow.channel(CHANNEL.id, confirmations=confirmations)


async def shapes(world: World) -> list[type]:
    head = await world.escrow.head()
    blocks = await world.escrow.blocks(0, head.number)
    return [type(event) for event in await world.escrow.events(blocks)]


async def reverted(error: str, call: object) -> Reverted:
    with pytest.raises(Reverted) as caught:
        await call  # type: ignore[misc] # a coroutine
    assert caught.value.error == error
    return caught.value


async def test_a_lock_opens_a_channel_and_moves_the_tokens(world: World) -> None:
    receipt = await world.wallet(PAYER).lock(
        PROVIDER.address, SESSION.address, 10_000, intent="lock"
    )
    assert await channel(world) == ChannelView(locked=10_000, claimed=0)
    assert await world.escrow.token_balance(PAYER.address) == 990_000
    assert receipt.block == await world.escrow.head()
    (event,) = await world.escrow.events([receipt.block])
    assert event == Locked(
        block=receipt.block.number,
        index=event.index,
        tx_hash=receipt.hash,
        payer=PAYER.address,
        provider=PROVIDER.address,
        signer=SESSION.address,
        amount=10_000,
    )


async def test_a_channel_reads_as_of_the_confirmations_asked_for(world: World) -> None:
    await lock(world)
    await world.mine(3)
    assert await channel(world, 3) == ChannelView(locked=10_000, claimed=0)
    assert await channel(world, 4) == EMPTY


async def test_a_chain_shorter_than_the_confirmations_confirms_nothing(world: World) -> None:
    await lock(world)
    assert await channel(world, 10_000) == EMPTY


async def test_a_repeated_intent_makes_no_second_transaction(world: World) -> None:
    wallet = world.wallet(PAYER)
    first = await wallet.lock(PROVIDER.address, SESSION.address, 10_000, intent="once")
    again = await world.wallet(PAYER).lock(PROVIDER.address, SESSION.address, 10_000, intent="once")
    assert again == first
    assert (await channel(world)).locked == 10_000
    await lock(world, 5_000, intent="another")
    assert (await channel(world)).locked == 15_000


async def test_a_lock_of_tokens_one_has_not_says_how_many_are_missing(world: World) -> None:
    with pytest.raises(
        UserError, match=r"needs \$0.000001 more of the escrow's token to lock \$1.000001: send"
    ):
        await lock(world, 1_000_001)


async def test_a_first_lock_below_the_minimum_is_refused(world: World) -> None:
    error = await reverted("LockBelowMinimum", lock(world, MIN_LOCK - 1))
    assert error.arguments == (MIN_LOCK - 1, MIN_LOCK)


async def test_a_sender_without_gas_money_is_told_how_much_is_missing(world: World) -> None:
    await world.set_balance_wei(PAYER.address, 1_000)
    with pytest.raises(UserError, match=r"needs \d+ more wei"):
        await lock(world)


async def test_a_claim_pays_the_difference_to_the_voucher_before(world: World) -> None:
    await lock(world)
    wallet = world.wallet(PROVIDER)
    await wallet.claim(PROVIDER.address, [voucher_row(world, 3_000)], intent="1")
    result = await wallet.claim(PROVIDER.address, [voucher_row(world, 4_500)], intent="2")
    assert await world.escrow.credit(PROVIDER.address) == 4_500
    assert await channel(world) == ChannelView(locked=10_000, claimed=4_500)
    (row,) = result.rows
    assert isinstance(row, Claimed)
    assert (row.total, row.receipt_count, row.channel_id) == (4_500, 4_500, CHANNEL.id)


async def test_a_bad_row_is_skipped_with_its_reason_and_blocks_no_other(world: World) -> None:
    await lock(world)
    good, more = voucher_row(world, 3_000), voucher_row(world, 4_000)
    rows = [
        good,
        good,
        voucher_row(world, 10_001),
        good[:68] + b"\xff" * 64,
        voucher_row(world, 5_000, session=STRANGER),
        more,
    ]
    result = await world.wallet(STRANGER).claim(PROVIDER.address, rows, intent="claim")
    assert [row if isinstance(row, SkipReason) else row.total for row in result.rows] == [
        3_000,
        SkipReason.NOT_INCREASING,
        SkipReason.LOCK_EXCEEDED,
        SkipReason.BAD_SIGNATURE,
        SkipReason.LOCK_EXCEEDED,
        4_000,
    ]
    assert await world.escrow.credit(PROVIDER.address) == 4_000


async def test_a_claim_of_no_rows_or_too_many_or_broken_ones_is_refused(world: World) -> None:
    wallet = world.wallet(PROVIDER)
    row = voucher_row(world, 1)
    for rows in ([], [row] * (CLAIM_ROWS_MAX + 1), [row[:-1]]):
        with pytest.raises(ValueError, match="row"):
            await wallet.claim(PROVIDER.address, rows, intent="claim")


async def test_a_voucher_of_another_deployment_pays_nothing(world: World) -> None:
    """Threat 3: the EIP-712 domain binds a signature to one chain and contract."""
    await lock(world)
    domain = world.escrow.deployment.domain
    voucher = Voucher(
        payer=PAYER.address,
        provider=PROVIDER.address,
        total=1_000,
        receipt_count=1,
        receipts_root=bytes(32),
    )
    rows = [
        voucher.row(SESSION.sign(voucher.digest(other)))
        for other in (
            Domain(domain.chain_id + 1, domain.escrow),
            Domain(domain.chain_id, bytes(19) + b"\1"),
        )
    ]
    result = await world.wallet(PROVIDER).claim(PROVIDER.address, rows, intent="claim")
    assert result.rows == (SkipReason.LOCK_EXCEEDED, SkipReason.LOCK_EXCEEDED)


async def test_a_sweep_empties_the_credit_to_the_payout_address(world: World) -> None:
    await lock(world)
    wallet = world.wallet(PROVIDER)
    await wallet.request_payout(STRANGER.address, intent="payout")
    assert await world.escrow.payout(PROVIDER.address) == STRANGER.address
    await wallet.claim(PROVIDER.address, [voucher_row(world, 3_000)], intent="claim")
    await wallet.sweep(PROVIDER.address, intent="sweep")
    assert await world.escrow.token_balance(STRANGER.address) == 3_000
    assert await world.escrow.credit(PROVIDER.address) == 0
    await reverted("NothingToSweep", wallet.sweep(PROVIDER.address, intent="again"))
    assert await shapes(world) == [Locked, PayoutChanged, Claimed]


async def test_a_payout_address_changes_after_a_delay_unless_vetoed(world: World) -> None:
    wallet = world.wallet(PROVIDER)
    assert await world.escrow.payout(PROVIDER.address) == PROVIDER.address
    await wallet.request_payout(STRANGER.address, intent="1")
    await wallet.request_payout(PAYER.address, intent="2")
    await reverted("PayoutTooEarly", wallet.apply_payout(PROVIDER.address, intent="early"))
    await reverted("NotPayoutAddress", wallet.veto_payout(PROVIDER.address, intent="veto"))
    await world.wallet(STRANGER).veto_payout(PROVIDER.address, intent="veto")
    await reverted("PayoutNotPending", wallet.apply_payout(PROVIDER.address, intent="vetoed"))
    await wallet.request_payout(PAYER.address, intent="3")
    await world.warp(PAYOUT_DELAY_S)
    await world.mine()
    await wallet.apply_payout(PROVIDER.address, intent="apply")
    assert await world.escrow.payout(PROVIDER.address) == PAYER.address
    assert await shapes(world) == [
        PayoutChanged, PayoutRequested, PayoutVetoed, PayoutRequested, PayoutChanged,
    ]  # fmt: skip


async def test_an_unlock_refunds_after_the_delay_what_was_not_claimed(world: World) -> None:
    """Threat 10: the provider has the whole delay to claim in."""
    await lock(world)
    payer, provider = world.wallet(PAYER), world.wallet(PROVIDER)
    receipt = await payer.request_unlock(PROVIDER.address, SESSION.address, intent="request")
    unlock_at_s = receipt.block.timestamp_s + UNLOCK_DELAY_S
    assert (await channel(world)).unlock_at_s == unlock_at_s
    await reverted("UnlockPending", lock(world, intent="more"))
    early = await reverted("UnlockTooEarly", payer.unlock(CHANNEL, intent="early"))
    assert early.arguments[0] == unlock_at_s
    await provider.claim(PROVIDER.address, [voucher_row(world, 2_000)], intent="claim")
    await world.warp(UNLOCK_DELAY_S)
    await world.mine()
    await payer.unlock(CHANNEL, intent="unlock")
    assert await channel(world) == ChannelView(locked=2_000, claimed=2_000)
    assert await world.escrow.token_balance(PAYER.address) == 998_000
    await reverted(
        "NothingLocked", payer.request_unlock(PROVIDER.address, SESSION.address, intent="again")
    )
    assert await shapes(world) == [Locked, UnlockRequested, Claimed, Unlocked]


async def test_a_cancelled_unlock_lets_the_channel_be_funded_again(world: World) -> None:
    await lock(world)
    wallet = world.wallet(PAYER)
    await reverted("UnlockNotPending", wallet.unlock(CHANNEL, intent="none"))
    await wallet.request_unlock(PROVIDER.address, SESSION.address, intent="request")
    await wallet.cancel_unlock(PROVIDER.address, SESSION.address, intent="cancel")
    await lock(world, 1, intent="more")
    assert await channel(world) == ChannelView(locked=10_001, claimed=0)
    assert await shapes(world) == [Locked, UnlockRequested, UnlockCancelled, Locked]


async def test_a_release_refunds_at_once_all_above_its_total_and_works_once(world: World) -> None:
    await lock(world)
    wallet = world.wallet(PAYER)
    deadline_s = (await world.escrow.head()).timestamp_s + 600
    release = Release(channel_id=CHANNEL.id, total=2_500, deadline_s=deadline_s)
    signature = PROVIDER.sign(release.digest(world.escrow.deployment.domain))
    forged = STRANGER.sign(release.digest(world.escrow.deployment.domain))
    await reverted(
        "ReleaseSignerMismatch", wallet.release(CHANNEL, release, forged, intent="forged")
    )
    await wallet.release(CHANNEL, release, signature, intent="release")
    assert await channel(world) == ChannelView(locked=2_500, claimed=0)
    await reverted("ReleaseUsed", wallet.release(CHANNEL, release, signature, intent="again"))
    await world.warp(700)
    await world.mine()
    await reverted("ReleaseExpired", wallet.release(CHANNEL, release, signature, intent="late"))
    assert await shapes(world) == [Locked, Released]


async def test_a_release_that_keeps_something_does_not_end_an_unlock(world: World) -> None:
    await lock(world)
    wallet = world.wallet(PAYER)
    await wallet.request_unlock(PROVIDER.address, SESSION.address, intent="request")
    due_s = (await channel(world)).unlock_at_s
    for total, left in (
        (10_000, ChannelView(locked=10_000, claimed=0, unlock_at_s=due_s)),
        (2_500, ChannelView(locked=2_500, claimed=0, unlock_at_s=due_s)),
        (0, ChannelView(locked=0, claimed=0)),
    ):
        release = Release(channel_id=CHANNEL.id, total=total, deadline_s=due_s)
        signature = PROVIDER.sign(release.digest(world.escrow.deployment.domain))
        await wallet.release(CHANNEL, release, signature, intent=f"release {total}")
        assert await channel(world) == left
    assert await shapes(world) == [Locked, UnlockRequested, Released, Released, Released]


async def test_a_reorganisation_takes_a_lock_back_and_recovery_brings_it_again(
    world: World,
) -> None:
    """P9, threat 37: the nonce moves back, and the recorded transaction is sent again."""
    wallet = world.wallet(PAYER, confirmations=2)
    async with trio.open_nursery() as nursery:

        async def locking() -> None:
            await wallet.lock(PROVIDER.address, SESSION.address, 10_000, intent="lock")
            nursery.cancel_scope.cancel()

        nursery.start_soon(locking)
        while (await channel(world)).locked == 0:
            await trio.sleep(0.01)
        await world.reorg(1)
        with trio.move_on_after(60):
            while True:
                await world.mine()
                await trio.sleep(0.1)
    assert await channel(world, 2) == ChannelView(locked=10_000, claimed=0)


async def test_a_reorganisation_takes_a_claim_back_and_recovery_brings_it_again(
    world: World,
) -> None:
    """Threat 37: it is one claim still, under its nonce, and pays once."""
    await lock(world)
    await world.mine(3)
    wallet = world.wallet(PROVIDER, confirmations=2)
    rows = [voucher_row(world, 3_000)]
    results: list[ClaimResult] = []
    async with trio.open_nursery() as nursery:

        async def claiming() -> None:
            results.append(await wallet.claim(PROVIDER.address, rows, intent="claim"))
            nursery.cancel_scope.cancel()

        nursery.start_soon(claiming)
        while await world.escrow.credit(PROVIDER.address) == 0:
            await trio.sleep(0.01)
        await world.reorg(1)
        with trio.move_on_after(60):
            while True:
                await world.mine()
                await trio.sleep(0.1)
    (row,) = results[0].rows
    assert isinstance(row, Claimed)
    assert await channel(world, 2) == ChannelView(locked=10_000, claimed=3_000)
    assert await world.escrow.credit(PROVIDER.address) == 3_000
    # Whoever asks again finds what was done.
    again = await world.wallet(PROVIDER).claim(PROVIDER.address, rows, intent="claim")
    assert again.receipt.hash == results[0].receipt.hash


async def test_events_of_a_block_that_was_replaced_are_unavailable(world: World) -> None:
    await lock(world)
    head = await world.escrow.head()
    await world.reorg(1)
    with pytest.raises(Unavailable):
        await world.escrow.events([head])


async def test_blocks_are_linked_and_end_at_the_head(world: World) -> None:
    head = await world.escrow.head()
    blocks = await world.escrow.blocks(0, head.number + 5)
    assert blocks[-1] == head
    for below, above in pairwise(blocks):
        assert (above.number, above.parent_hash) == (below.number + 1, below.hash)
        assert above.timestamp_s >= below.timestamp_s


async def test_a_wallet_after_a_crash_finds_the_transaction_of_the_one_before(
    world: World,
) -> None:
    """P7, P10, threat 26: cancelled while waiting for confirmations is as good as killed."""
    await lock(world)
    rows = [voucher_row(world, 3_000)]
    first = world.wallet(PROVIDER, confirmations=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(first.claim, PROVIDER.address, rows, intent="claim"))
        while await world.escrow.credit(PROVIDER.address) == 0:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    await world.mine(5)
    second = world.wallet(PROVIDER, confirmations=5)
    await second.recover()
    result = await second.claim(PROVIDER.address, rows, intent="claim")
    assert isinstance(result.rows[0], Claimed)
    assert await world.escrow.credit(PROVIDER.address) == 3_000
    assert await shapes(world) == [Locked, Claimed]
    third = world.wallet(PROVIDER)
    again = await third.claim(PROVIDER.address, rows, intent="another")
    assert again.rows == (SkipReason.NOT_INCREASING,)
    assert (await shapes(world))[-1] is RowSkipped


async def test_what_transactions_cost_is_told_by_kind(world: World) -> None:
    """Only of those that are final; of a fee that was raised only what was mined."""
    await lock(world)
    wallet = world.wallet(PROVIDER)
    assert await wallet.spent() == []
    rows = [voucher_row(world, 3_000)]
    claimed = await wallet.claim(PROVIDER.address, rows, intent="claim-1")
    swept = await wallet.sweep(PROVIDER.address, intent="sweep-1")
    spent = await world.wallet(PROVIDER).spent()
    assert [(s.kind, s.hash, s.fee_wei) for s in spent] == [
        ("claim", claimed.receipt.hash, claimed.receipt.fee_wei),
        ("sweep", swept.hash, swept.fee_wei),
    ]
    assert [s.time_s for s in spent] == [claimed.receipt.block.timestamp_s, swept.block.timestamp_s]
    assert all(s.has_succeeded for s in spent)
    assert await wallet.gas_price_wei() > 0


async def test_a_wallet_finishes_what_a_former_life_sent(world: World) -> None:
    """It returns when nothing is in flight any more, also when nothing was."""
    await lock(world)
    first = world.wallet(PROVIDER, confirmations=2)
    await first.finish()
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            rows = [voucher_row(world, 3_000)]
            nursery.start_soon(partial(first.claim, PROVIDER.address, rows, intent="claim"))
            while await world.escrow.credit(PROVIDER.address) == 0:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    second = world.wallet(PROVIDER, confirmations=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second.finish)
        await world.mine(2)
    (spent,) = await second.spent()
    assert (spent.kind, spent.has_succeeded) == ("claim", True)
