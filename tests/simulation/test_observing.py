"""What a node sees of its own money and chain; the watchdog of threat 64."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from rowen.config import WatchConfig
from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import Finish
from rowen.provider.alerts import Reading
from rowen.provider.exposition import samples
from rowen.provider.observing import Observer, look_once
from rowen.provider.readings import Surroundings, readings_of
from rowen.provider.settlement import Claimer
from rowen.testing.chain import FakeWallet
from rowen.testing.engine import SCRIPTED
from rowen.testing.simulator import SimClient, SimProvider, Simulation, simulate

MINUTE_S = 60
LIMITS = WatchConfig(unclaimed_age_s=24 * MINUTE_S)


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


class Scene:
    """A node that sells, is watched, and does not claim by itself."""

    def __init__(self, world: Simulation, client: SimClient, provider: SimProvider, folder: Path):
        self.world = world
        self.client = client
        self.provider = provider
        assert provider.node is not None
        self.node = provider.node
        self.sent = 0
        self.engine_is_well = True
        self.claimer = Claimer(
            provider=provider.key.address,
            domain=world.escrow.deployment.domain,
            journal=self.node.journal,
            escrow=world.escrow,
            wallet=FakeWallet(world.escrow, provider.key.address),
            now_ms=world.now_ms,
        )
        self.observer = Observer(
            provider=provider.key.address,
            escrow=world.escrow,
            gas_price=self._gas_price,
            claimer=self.claimer,
            journal_file=folder / "seller.db",
            pending=self._pending,
            key_trouble=self._key_trouble,
            probe_engines=self._probe,
        )

    async def buy(self) -> None:
        """One answer, paid for."""
        assert self.client.client is not None
        async with self.client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
            await answer.read()
        await trio.sleep(1)

    async def look(self) -> dict[str, Reading]:
        """Looks at the chain, and reads what alerts would."""
        await look_once(self.observer.seen.chain, self.observer.look_at_chain)
        around = Surroundings(
            seen=self.observer.seen,
            at_risk=0,
            gpus_lost=0,
            now_ms=self.world.now_ms(),
            now_s=trio.current_time(),
        )
        return {reading.name: reading for reading in readings_of(around, LIMITS)}

    def numbers(self) -> dict[tuple[str, str], float]:
        """What Prometheus would read, by name and label."""
        page = samples(
            self.node,
            self.observer.seen,
            now_ms=self.world.now_ms(),
            at_risk=0,
            conditions=[],
            alerts={},
            webhooks={},
            gpus=[],
        )
        return {(sample.family.name, sample.label): sample.value for sample in page}

    async def _gas_price(self) -> int:
        await trio.lowlevel.checkpoint()
        return 10**9

    async def _pending(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.sent

    async def _key_trouble(self) -> str:
        await trio.lowlevel.checkpoint()
        return ""

    async def _probe(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.engine_is_well:
            raise Unavailable("the engine does not answer")


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Scene]:
    async with simulate(6) as world:
        provider = await world.add_provider()
        client = await world.add_client()
        yield Scene(world, client, provider, folder)


async def test_a_node_that_silently_stops_claiming_is_noticed_by_its_oldest_voucher(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Threat 64. Newer vouchers do not make the oldest look young, nor does a restart."""
    async with watched(tmp_path) as scene:
        assert (await scene.look())["unclaimed_old"].level == 0
        await scene.buy()
        await trio.sleep(20 * MINUTE_S)
        await scene.buy()
        assert not (await scene.look())["unclaimed_old"].is_bad
        await trio.sleep(4 * MINUTE_S)
        old = (await scene.look())["unclaimed_old"]
        assert old.is_bad
        assert old.level is not None
        assert 24 * MINUTE_S <= old.level < 25 * MINUTE_S

        again = Scene(scene.world, scene.client, scene.provider, tmp_path)
        assert (await again.look())["unclaimed_old"].level == old.level

        await scene.claimer.settle()
        assert (await scene.look())["unclaimed_old"].level == 0
        await scene.buy()
        await trio.sleep(MINUTE_S)
        young = (await scene.look())["unclaimed_old"].level
        assert young is not None
        assert MINUTE_S <= young < 2 * MINUTE_S, "the claimed ones count no more"


async def test_money_adds_up_in_what_prometheus_reads(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with watched(tmp_path) as scene:
        await scene.buy()
        await scene.look()
        before = scene.numbers()
        billed = before["rowen_billed_token_units", ""]
        assert billed == before["rowen_promised_token_units", ""] > 0
        assert before["rowen_unclaimed_token_units", ""] == billed
        assert before["rowen_claimed_token_units", ""] == 0
        assert before["rowen_unclaimed_age_seconds", ""] > 0
        await scene.claimer.settle()
        await scene.look()
        after = scene.numbers()
        assert after["rowen_unclaimed_token_units", ""] == 0
        assert after["rowen_unclaimed_age_seconds", ""] == 0
        assert after["rowen_claimed_token_units", ""] == billed
        assert after["rowen_credit_token_units", ""] == billed


async def test_jobs_that_ended_well_and_badly_are_counted_apart(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Threat 65: what failed is no success, and a refusal is neither."""
    async with watched(tmp_path) as scene:
        await scene.buy()
        assert scene.client.client is not None
        async with scene.client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
            async for _ in answer:
                break
        await trio.sleep(5)
        numbers = scene.numbers()
        ended = {f: numbers["rowen_jobs_total", f.value] for f in Finish}
        assert ended[Finish.CANCELLED] == 1
        assert sum(ended.values()) == 2
        assert numbers["rowen_units_total", "output"] > 0
        assert numbers["rowen_units_total", "input"] >= numbers["rowen_units_total", "cached"]


async def test_a_chain_that_is_away_is_said_and_what_was_known_stays(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with watched(tmp_path) as scene:
        await scene.buy()
        await scene.look()
        known = scene.observer.seen.money
        scene.world.escrow.is_down = True
        readings = await scene.look()
        assert readings["chain_away"].is_bad
        assert scene.observer.seen.money is known
        assert scene.numbers()["rowen_chain_up", ""] == 0
        scene.world.escrow.is_down = False
        assert not (await scene.look())["chain_away"].is_bad
        assert scene.numbers()["rowen_chain_up", ""] == 1


async def test_a_transaction_waits_since_it_was_first_seen(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with watched(tmp_path) as scene:
        scene.sent = 1
        assert (await scene.look())["transaction_stuck"].level == 0
        await trio.sleep(900)
        assert (await scene.look())["transaction_stuck"].is_bad
        scene.sent = 0
        assert (await scene.look())["transaction_stuck"].level == 0


async def test_a_look_that_hangs_makes_nothing_else_look_hung(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as scene:
        monkeypatch.setattr(scene.claimer, "unclaimed", trio.sleep_forever)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.observer.watch, 1.0)
            await trio.sleep(30)
            seen = scene.observer.seen
            assert seen.chain.why == "no answer within 20 s"
            assert seen.engine.why == ""
            scene.engine_is_well = False
            await trio.sleep(2)
            assert seen.engine.why == "the engine does not answer"
            nursery.cancel_scope.cancel()
