"""Whole markets under faults: real provider and client code, everything else simulated."""

from __future__ import annotations

import os
from random import Random

import pytest
import trio
from trio.testing import MockClock

from rowen.protocol.errors import RowenError
from rowen.provider.settings import ProviderSettings
from rowen.store import keeping
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import (
    CONFIRMATIONS,
    SimClient,
    SimProvider,
    Simulation,
    simulate,
)

SEEDS = range(int(os.environ.get("ROWEN_SEEDS", "16")))
PIECE = 2  # token units that one piece of the scripted engine costs at the simulator's price


async def ask(client: SimClient, text: str, rng: Random) -> None:
    """One question; may be cancelled on the way, and may fail."""
    stop_after = rng.choice([None, None, 1, 5, 20])
    assert client.client is not None
    try:
        async with client.client.chat(text, model=SCRIPTED.model, max_cost=5_000) as answer:
            count = 0
            async for _ in answer:
                count += 1
                if count == stop_after:
                    break
        assert answer.cost <= 5_000
    except RowenError:
        return


async def chaos(world: Simulation, rng: Random, until_s: float) -> None:
    """Kills, restarts and bad weather."""
    nodes = [*world.providers, *world.clients]
    while trio.current_time() < until_s:
        await trio.sleep(rng.uniform(0.05, 1.0))
        node = rng.choice(nodes)
        match rng.randrange(6):
            case 0 | 1:
                if node.is_alive:
                    await node.kill()
                await trio.sleep(rng.uniform(0, 0.5))
                await node.start()
            case 2:
                other = rng.choice(nodes)
                if other is not node:
                    world.hub.change_link(
                        node.network, other.network, drop_after_bytes=rng.randrange(1, 20_000)
                    )
            case 3:
                # One way or both: a client whose vouchers do not arrive looks like one who
                # does not pay.
                one, other = rng.sample(nodes, 2)
                world.hub.change_link(one.network, other.network, is_cut=True)
                if rng.random() < 0.5:
                    world.hub.change_link(other.network, one.network, is_cut=True)
                await trio.sleep(rng.uniform(0, 12))
                world.hub.heal(one.network, other.network)
            case 4:
                one, other = rng.sample(nodes, 2)
                world.hub.change_link(
                    one.network, other.network, fragments=True, latency_s=rng.uniform(0, 0.2)
                )
            case _:
                world.chain.mine()


def heal(world: Simulation) -> None:
    for one in (*world.providers, *world.clients):
        for other in (*world.providers, *world.clients):
            if one is not other:
                world.hub.change_link(
                    one.network, other.network,
                    drop_after_bytes=None, is_cut=False, latency_s=0.0, fragments=False,
                )  # fmt: skip


async def watch_exposure(world: Simulation) -> None:
    """P2: a provider never works more than its credit uncovered, one piece apart."""
    while True:
        for provider in world.providers:
            if provider.node is not None:
                for account in provider.node.books.accounts.values():
                    assert account.state.exposure() <= account.state.credit + PIECE
        await trio.sleep(0.01)


async def agree(world: Simulation, client: SimClient, provider: SimProvider) -> int:
    """Both sides hold the same log and voucher; returns what is owed."""
    assert provider.node is not None
    channel = client.channel_with(provider).id
    account = provider.node.books.accounts.get(channel)
    if account is None:
        return 0
    assert client.client is not None
    mine = (await client.client.account(provider.key.address)).state
    theirs = account.state
    assert not theirs.stopped
    assert not mine.stopped
    assert mine.log.total == theirs.issued.total == theirs.paid.total
    assert mine.log.count == theirs.issued.count == theirs.paid.count
    assert mine.log.frontier.root() == theirs.issued.frontier.root()
    assert not mine.jobs
    assert not theirs.jobs
    return mine.log.total


@pytest.mark.parametrize("seed", SEEDS)
def test_books_agree_on_both_sides_and_on_chain_whatever_happened(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1, P2, P3, P7: after kills, partitions and cuts, everyone's books say the same."""
    # Replays begin late in the log, now and then, or never.
    monkeypatch.setattr(keeping, "RECEIPTS_PER_SETTLED", (1, 5, 1_000)[seed % 3])

    async def main() -> None:
        async with simulate(seed) as world:
            rng = world.rng
            for _ in range(2):
                # An answer costs about 90, so the small line is reached and the large one not.
                settings = ProviderSettings(
                    credit=rng.choice([30, 400]), confirmations=CONFIRMATIONS
                )
                engine = ScriptedEngine(delay_s=rng.uniform(0.001, 0.03), piece_units=1)
                await world.add_provider(engine, settings)
            for _ in range(2):
                await world.add_client()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_exposure, world)
                with trio.move_on_after(20):
                    async with trio.open_nursery() as busy:
                        busy.start_soon(chaos, world, Random(rng.random()), 20.0)
                        for client in world.clients:
                            busy.start_soon(buy_for_ever, client, Random(rng.random()))
                nursery.cancel_scope.cancel()
            await settle_all(world)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def buy_for_ever(client: SimClient, rng: Random) -> None:
    number = 0
    while True:
        number += 1
        if not client.is_alive:
            await trio.sleep(0.1)
            continue
        async with trio.open_nursery() as nursery:
            for part in range(rng.choice([1, 1, 3])):
                nursery.start_soon(ask, client, f"question {number}.{part}", rng)
        await trio.sleep(0.01)


async def settle_all(world: Simulation) -> None:
    heal(world)
    for node in (*world.providers, *world.clients):
        await node.kill()
        await node.start()
    owed = 0
    for client in world.clients:
        assert client.client is not None
        assert await client.client.settle_open_jobs() == []
    # A voucher on its way is one round trip from its provider.
    await trio.sleep(5)
    for provider in world.providers:
        earned = sum([await agree(world, client, provider) for client in world.clients])
        await provider.settle()
        assert await world.escrow.credit(provider.key.address) == earned
        owed += earned
    assert owed > 0
