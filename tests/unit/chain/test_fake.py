"""What the fake chain offers beside the interface: faults, on demand."""

from dataclasses import replace
from functools import partial

import msgspec
import pytest
import trio

from rowen.chain.base import ChannelKey
from rowen.protocol.errors import Unavailable
from rowen.testing.chain import FakeChain, FakeEscrow, FakeWallet

PAYER, PROVIDER, SESSION = bytes([1]) * 20, bytes([2]) * 20, bytes([3]) * 20
CHANNEL = ChannelKey(PAYER, PROVIDER, SESSION)


def world(*, automine: bool = True) -> tuple[FakeChain, FakeEscrow, FakeWallet]:
    chain = FakeChain()
    chain.mint(PAYER, 100_000)
    chain.automine = automine
    escrow = FakeEscrow(chain)
    return chain, escrow, FakeWallet(escrow, PAYER)


async def test_an_endpoint_that_is_down_answers_nothing() -> None:
    _, escrow, wallet = world()
    escrow.is_down = True
    for question in (
        escrow.head(),
        escrow.channel(CHANNEL.id, confirmations=0),
        wallet.lock(PROVIDER, SESSION, 5_000, intent="lock"),
    ):
        with pytest.raises(Unavailable):
            await question


async def test_an_endpoint_that_lags_shows_the_past() -> None:
    chain, escrow, wallet = world()
    await wallet.lock(PROVIDER, SESSION, 5_000, intent="lock")
    late = replace(escrow, lag_blocks=1)
    assert (await late.head()).number == chain.head.number - 1
    assert (await late.channel(CHANNEL.id, confirmations=0)).locked == 0


async def test_an_endpoint_that_lies_says_what_it_was_told_to() -> None:
    _, escrow, _ = world()
    escrow.lie = lambda _id, view: msgspec.structs.replace(view, locked=view.locked + 1)
    assert (await escrow.channel(CHANNEL.id, confirmations=0)).locked == 1


async def test_without_automine_a_transaction_waits_for_a_block() -> None:
    chain, escrow, wallet = world(automine=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(wallet.lock, PROVIDER, SESSION, 5_000, intent="lock"))
        await trio.testing.wait_all_tasks_blocked()
        assert (await escrow.channel(CHANNEL.id, confirmations=0)).locked == 0
        chain.mine()
    assert (await escrow.channel(CHANNEL.id, confirmations=0)).locked == 5_000


async def test_a_transaction_dropped_from_the_mempool_is_sent_again_by_its_wallet() -> None:
    chain, escrow, wallet = world(automine=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(wallet.lock, PROVIDER, SESSION, 5_000, intent="lock"))
        await trio.testing.wait_all_tasks_blocked()
        (tx_hash,) = chain.mempool
        chain.drop(tx_hash)
        chain.mine()
        await trio.testing.wait_all_tasks_blocked()
        chain.mine()
    assert (await escrow.channel(CHANNEL.id, confirmations=0)).locked == 5_000


@pytest.mark.parametrize("keep", [True, False])
async def test_a_reorganisation_keeps_transactions_or_forgets_them(keep: bool) -> None:
    chain, escrow, wallet = world()
    await wallet.lock(PROVIDER, SESSION, 5_000, intent="lock")
    before = chain.head
    chain.reorg(1, keep=keep)
    assert chain.head.number == before.number
    assert chain.head.hash != before.hash
    view = await escrow.channel(CHANNEL.id, confirmations=0)
    assert view.locked == (5_000 if keep else 0)


async def test_two_runs_give_the_same_blocks() -> None:
    heads = []
    for _ in range(2):
        chain, _, wallet = world()
        await wallet.lock(PROVIDER, SESSION, 5_000, intent="lock")
        chain.reorg(2, keep=True)
        heads.append(chain.head)
    assert heads[0] == heads[1]


async def test_a_nonce_that_another_wallet_used_is_not_waited_for_for_ever() -> None:
    chain, escrow, wallet = world(automine=False)
    other = FakeWallet(escrow, PAYER)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def displaced() -> None:
                with pytest.raises(Unavailable, match="used by another"):
                    await wallet.lock(PROVIDER, SESSION, 5_000, intent="lock")
                nursery.cancel_scope.cancel()

            nursery.start_soon(displaced)
            await trio.testing.wait_all_tasks_blocked()
            chain.mempool.clear()
            nursery.start_soon(lambda: other.lock(PROVIDER, SESSION, 6_000, intent="other"))
            await trio.testing.wait_all_tasks_blocked()
            chain.mine()
            await trio.sleep_forever()
