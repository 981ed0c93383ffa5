"""What can go wrong between a wish and its confirmations, on anvil (P9, P10, threats 26, 34–37)."""

from functools import partial
from typing import Any

import pytest
import trio

from rowen.chain.base import TxReceipt
from rowen.chain.rpc import to_hex
from rowen.chain.transactions import GWEI, Attempt, FeePolicy, Outcome
from rowen.chain.wallet import RpcWallet
from rowen.protocol.errors import Unavailable, UserError
from rowen.provider.payouts import SWEEP_GAS
from rowen.testing.chain import MemoryTransactionLog
from rowen_scheduler.claiming import ClaimPolicy

from .conftest import CHANNEL, PAYER, PROVIDER, SESSION, AnvilWorld, voucher_row

CONFIRM = FeePolicy(poll_s=0.01, bump_after_s=60)


class Killed(BaseException):
    """The process dies here."""


class DyingLog(MemoryTransactionLog):
    """Kills its process right after an attempt is on disk."""

    async def record(self, attempt: Attempt) -> None:
        await super().record(attempt)
        raise Killed


async def locked(world: AnvilWorld) -> int:
    return (await world.escrow.channel(CHANNEL.id, confirmations=0)).locked


def lock(wallet: RpcWallet, amount: int = 10_000, intent: str = "lock") -> Any:
    return partial(wallet.lock, PROVIDER.address, SESSION.address, amount, intent=intent)


async def until_recorded(log: MemoryTransactionLog, count: int = 1) -> Attempt:
    with trio.fail_after(60):
        while len(log.rows) < count:
            await trio.sleep(0.01)
    return log.rows[-1]


async def until_waiting(world: AnvilWorld, attempt: Attempt) -> None:
    with trio.fail_after(60):
        while await world.devnet.rpc.call("eth_getTransactionByHash", to_hex(attempt.hash)) is None:
            await trio.sleep(0.01)


async def mine_until_done(world: AnvilWorld, done: trio.Event) -> None:
    with trio.fail_after(60):
        while not done.is_set():
            await world.mine()
            await trio.sleep(0.05)


class Running:
    """A call in the background."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.receipt: TxReceipt | None = None

    async def run(self, call: Any) -> None:
        self.receipt = await call()
        self.done.set()


@pytest.mark.parametrize("kill", ["before it was sent", "after"])
async def test_a_transaction_on_disk_is_sent_by_the_next_life(anvil: AnvilWorld, kill: str) -> None:
    if kill == "before it was sent":
        log: MemoryTransactionLog = DyingLog()
        wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=CONFIRM)
        with pytest.raises(Killed):
            await lock(wallet)()
        assert await locked(anvil) == 0
        rows, log = log.rows, MemoryTransactionLog()
        log.rows = rows
    else:
        log = MemoryTransactionLog()
        wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=99, policy=CONFIRM)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lock(wallet))
            while await locked(anvil) == 0:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    next_life = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=CONFIRM)
    await next_life.recover()
    receipt = await lock(next_life)()
    assert receipt.hash == log.rows[0].hash
    assert await locked(anvil) == 10_000
    assert [row.outcome for row in log.rows] == [Outcome.SUCCEEDED]


async def test_recovery_settles_what_was_mined_meanwhile(anvil: AnvilWorld) -> None:
    log = MemoryTransactionLog()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=3, policy=CONFIRM)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lock(wallet))
        while await locked(anvil) == 0:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    await wallet.recover()
    assert [row.outcome for row in log.rows] == [None]
    await anvil.mine(3)
    await wallet.recover()
    assert [row.outcome for row in log.rows] == [Outcome.SUCCEEDED]
    assert await log.pending(PAYER.address) == []


async def test_a_dropped_transaction_is_sent_again(anvil: AnvilWorld) -> None:
    rpc = anvil.devnet.rpc
    await rpc.call("evm_setAutomine", False)
    log, running = MemoryTransactionLog(), Running()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=1, policy=CONFIRM)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run, lock(wallet))
        attempt = await until_recorded(log)
        await until_waiting(anvil, attempt)
        await rpc.call("anvil_dropTransaction", to_hex(attempt.hash))
        await until_waiting(anvil, attempt)
        await mine_until_done(anvil, running.done)
    assert await locked(anvil) == 10_000
    assert len(log.rows) == 1


async def test_a_stuck_transaction_is_replaced_under_its_nonce(anvil: AnvilWorld) -> None:
    """Of all attempts one is mined, and the receipt is that one's."""
    rpc = anvil.devnet.rpc
    await rpc.call("evm_setAutomine", False)
    log, running = MemoryTransactionLog(), Running()
    policy = FeePolicy(poll_s=0.01, bump_after_s=0.2, bump_percent=100)
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=policy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run, lock(wallet))
        await until_recorded(log, 3)
        await mine_until_done(anvil, running.done)
    assert len({row.nonce for row in log.rows}) == 1
    assert {row.outcome for row in log.rows} == {Outcome.SUCCEEDED}
    assert running.receipt is not None
    assert running.receipt.hash in {row.hash for row in log.rows}
    assert await locked(anvil) == 10_000


async def test_fees_stop_rising_at_the_ceiling(anvil: AnvilWorld) -> None:
    """Threat 36: a fee spike costs time, never more than the ceiling."""
    rpc = anvil.devnet.rpc
    await rpc.call("evm_setAutomine", False)
    log, running = MemoryTransactionLog(), Running()
    policy = FeePolicy(poll_s=0.01, bump_after_s=0.05, bump_percent=100, fee_max_wei=5 * GWEI)
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=policy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run, lock(wallet))
        await until_recorded(log)
        await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
        await anvil.mine()
        with trio.move_on_after(2):
            await running.done.wait()
        assert not running.done.is_set()
        assert len(log.rows) <= 4
        await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        await mine_until_done(anvil, running.done)
    assert running.receipt is not None
    assert running.receipt.fee_wei <= running.receipt.gas_used * 5 * GWEI


async def test_a_claim_outbids_a_spike_once_its_ceiling_rises(anvil: AnvilWorld) -> None:
    """Threat 36: first it waits below the owner's ceiling; then what it saves decides."""
    rpc = anvil.devnet.rpc
    await anvil.wallet(PAYER).lock(PROVIDER.address, SESSION.address, 10_000, intent="lock")
    await rpc.call("evm_setAutomine", False)
    log, running = MemoryTransactionLog(), Running()
    policy = FeePolicy(poll_s=0.01, bump_after_s=0.05, bump_percent=100, fee_max_wei=5 * GWEI)
    wallet = RpcWallet(anvil.rpc_escrow, PROVIDER, log, confirmations=0, policy=policy)
    lifted_wei = 0

    def ceiling(intent: str, gas: int) -> int:
        assert intent == "claim-1"
        assert gas >= 60_000
        return lifted_wei

    async def claim() -> TxReceipt:
        rows = [voucher_row(anvil, 3_000)]
        done = await wallet.claim(PROVIDER.address, rows, intent="claim-1", ceiling=ceiling)
        return done.receipt

    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run, claim)
        await until_recorded(log)
        await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
        await anvil.mine()
        with trio.move_on_after(1):
            await running.done.wait()
        assert not running.done.is_set()
        lifted_wei = 300 * GWEI
        await mine_until_done(anvil, running.done)
    assert running.receipt is not None
    price_wei = running.receipt.fee_wei // running.receipt.gas_used
    assert 5 * GWEI < price_wei <= 300 * GWEI


async def test_a_former_lifes_claim_is_finished_under_the_lifted_ceiling(
    anvil: AnvilWorld,
) -> None:
    """After a restart it is the wish on disk that must get through."""
    rpc = anvil.devnet.rpc
    await anvil.wallet(PAYER).lock(PROVIDER.address, SESSION.address, 10_000, intent="lock")
    log = DyingLog()
    policy = FeePolicy(poll_s=0.01, bump_after_s=0.05, bump_percent=100, fee_max_wei=5 * GWEI)
    wallet = RpcWallet(anvil.rpc_escrow, PROVIDER, log, confirmations=0, policy=policy)
    with pytest.raises(Killed):
        await wallet.claim(PROVIDER.address, [voucher_row(anvil, 3_000)], intent="claim-1")
    await rpc.call("evm_setAutomine", False)
    await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
    await anvil.mine()
    after = MemoryTransactionLog()
    after.rows = log.rows
    second = RpcWallet(anvil.rpc_escrow, PROVIDER, after, confirmations=0, policy=policy)
    done = trio.Event()

    async def finish() -> None:
        assert await second.finish(lambda _intent, _gas: 300 * GWEI)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish)
        await mine_until_done(anvil, done)
    assert not await second.finish()


async def test_gas_above_the_ceiling_records_nothing(anvil: AnvilWorld) -> None:
    log = MemoryTransactionLog()
    policy = FeePolicy(poll_s=0.01, fee_max_wei=1)
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=policy)
    with pytest.raises(Unavailable, match="above the ceiling"):
        await lock(wallet)()
    assert log.rows == []


async def test_a_nonce_that_another_program_used_is_an_error_and_not_a_second_try(
    anvil: AnvilWorld,
) -> None:
    """Threat 31: two nodes, one key."""
    log = DyingLog()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=2, policy=CONFIRM)
    with pytest.raises(Killed):
        await lock(wallet)()
    other = anvil.wallet(PAYER, life="another program")
    await lock(other, 5_000, "other")()
    await anvil.mine(1)
    await wallet.recover()
    # Not final yet: a reorganisation may still free it.
    assert [row.outcome for row in log.rows] == [None]
    await anvil.mine(1)
    with pytest.raises(UserError, match="another program used nonce"):
        await wallet.recover()
    assert [row.outcome for row in log.rows] == [Outcome.DISPLACED]
    assert await locked(anvil) == 5_000


async def test_a_wish_whose_nonce_was_taken_is_fulfilled_with_another_nonce(
    anvil: AnvilWorld,
) -> None:
    """It was said once that the key is used elsewhere; a claim must not be lost over it."""
    log = DyingLog()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=CONFIRM)
    with pytest.raises(Killed):
        await lock(wallet)()
    other = anvil.wallet(PAYER, life="another program")
    await lock(other, 5_000, "other")()
    with pytest.raises(UserError, match="another program used nonce"):
        await wallet.recover()
    rows = MemoryTransactionLog()
    rows.rows = log.rows
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, rows, confirmations=0, policy=CONFIRM)
    receipt = await lock(wallet)()
    assert await locked(anvil) == 15_000
    assert [row.outcome for row in rows.rows] == [Outcome.DISPLACED, Outcome.SUCCEEDED]
    again = await lock(wallet)()
    assert again == receipt, "and then it is one transaction, as ever"


async def test_wishes_at_the_same_time_get_nonces_without_gaps(anvil: AnvilWorld) -> None:
    log = MemoryTransactionLog()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=CONFIRM)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(
                partial(
                    wallet.request_payout,
                    (number + 1).to_bytes(20, "big"),
                    intent=f"payout {number}",
                )
            )
    assert sorted(row.nonce for row in log.rows) == list(range(5))
    assert {row.outcome for row in log.rows} == {Outcome.SUCCEEDED}


async def test_a_wish_repeated_at_the_same_time_is_one_transaction(anvil: AnvilWorld) -> None:
    log = MemoryTransactionLog()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=CONFIRM)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(lock(wallet))
    assert len(log.rows) == 1
    assert await locked(anvil) == 10_000


@pytest.mark.parametrize("depth", [1, 7, 64])
async def test_a_reorganisation_of_any_depth_below_the_confirmations_loses_nothing(
    anvil: AnvilWorld, depth: int
) -> None:
    """P9: the nonce moves back, the recorded bytes go out again, and one lock stands."""
    log, running = MemoryTransactionLog(), Running()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=depth + 1, policy=CONFIRM)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run, lock(wallet))
        while await locked(anvil) == 0:
            await trio.sleep(0.01)
        await anvil.mine(depth - 1)
        await anvil.reorg(depth)
        await mine_until_done(anvil, running.done)
    assert await locked(anvil) == 10_000
    assert {row.nonce for row in log.rows} == {0}


async def test_a_journal_of_another_chain_is_named(anvil: AnvilWorld) -> None:
    """A devnet restarted without its state has nonces that the journal has used."""
    log = MemoryTransactionLog()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=CONFIRM)
    await lock(wallet)()
    await anvil.reorg(3)
    with pytest.raises(UserError, match="not the chain of this journal"):
        await lock(wallet, intent="next")()


async def test_an_endpoint_that_dies_leaves_the_transaction_pending(anvil: AnvilWorld) -> None:
    rpc = anvil.devnet.rpc
    original = rpc.call

    async def call(method: str, *params: object) -> Any:
        if method == "eth_sendRawTransaction":
            raise Unavailable("the line is dead")
        return await original(method, *params)

    log = MemoryTransactionLog()
    wallet = RpcWallet(anvil.rpc_escrow, PAYER, log, confirmations=0, policy=CONFIRM)
    rpc.call = call  # type: ignore[method-assign] # a fault in one method
    with pytest.raises(Unavailable, match="dead"):
        await lock(wallet)()
    rpc.call = original  # type: ignore[method-assign] # mended
    assert [row.outcome for row in log.rows] == [None]
    await lock(wallet)()
    assert len(log.rows) == 1
    assert await locked(anvil) == 10_000


async def test_what_a_claim_is_believed_to_cost_is_what_it_costs(anvil: AnvilWorld) -> None:
    """The estimate decides whether a claim is made; the first one fills an empty slot besides."""
    await lock(anvil.wallet(PAYER))()
    wallet = anvil.wallet(PROVIDER)
    await wallet.claim(PROVIDER.address, [voucher_row(anvil, 1_000)], intent="claim-first")
    rows = [voucher_row(anvil, 2_000)]
    claimed = await wallet.claim(PROVIDER.address, rows, intent="claim-second")
    believed = ClaimPolicy().gas(1)
    assert believed * 0.8 < claimed.receipt.gas_used < believed * 1.1
    await wallet.request_payout(b"\xcc" * 20, intent="payout")
    swept = await wallet.sweep(PROVIDER.address, intent="sweep")
    # Once, to an address that never held a token: the most that a sweep takes.
    assert SWEEP_GAS * 0.7 < swept.gas_used <= SWEEP_GAS
