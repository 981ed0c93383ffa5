"""The whole way: a client, libp2p, a provider with an engine that costs nothing, two journals."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from benchmarks import trade
from benchmarks.journal import SCRATCH
from benchmarks.side import Client, Lags, Load, stamp
from rowen.client.client import ClientSettings, open_client
from rowen.engine.base import Finished, Piece
from rowen.p2p.host import open_network
from rowen.protocol.jobs import JobInput
from rowen.provider.node import Provider
from rowen.provider.settings import Prices, ProviderSettings
from rowen.provider.stock import Ware
from rowen.store.journal import SqliteJournal, open_journal
from rowen.testing.chain import FakeEscrow
from rowen.testing.engine import SCRIPTED
from rowen.testing.fake_chain import FakeChain, FakeTx
from rowen.testing.null_engine import NullEngine

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
DEPOSIT = 10**15
INFO = replace(SCRIPTED, context_units=10**9, concurrency=256)


class StampingEngine(NullEngine):
    """``NullEngine``, each of whose pieces begins with the time it was made.

    Attributes:
        rate_per_s: Of the jobs that start next.
    """

    def __init__(self) -> None:
        super().__init__(info=INFO)
        self.rate_per_s: float | None = None

    @asynccontextmanager
    async def generate(
        self, job: JobInput, output_units_max: int, *, tenant: bytes = b""
    ) -> AsyncIterator[AsyncIterator[Piece | Finished]]:
        """Starts the job; it runs to its limit."""
        engine = NullEngine(10**9, rate_per_s=self.rate_per_s, info=INFO)
        async with engine.generate(job, output_units_max) as pieces:
            yield _Stamped(pieces)


class _Stamped:
    def __init__(self, pieces: AsyncIterator[Piece | Finished]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> _Stamped:
        return self

    async def __anext__(self) -> Piece | Finished:
        piece = await anext(self._pieces)
        return Piece(stamp() + piece.text, piece.units) if isinstance(piece, Piece) else piece


@asynccontextmanager
async def rowen_server() -> AsyncIterator[tuple[Any, Callable[[Any], None]]]:
    """A provider."""
    engine = StampingEngine()
    async with AsyncExitStack() as stack:
        journal, _ = await scratch_journal(stack)
        network = await stack.enter_async_context(
            open_network(trade.PROVIDER.secret, listen=[LOOPBACK])
        )
        escrow = local_escrow()
        node = Provider(
            key=trade.PROVIDER,
            domain=escrow.deployment.domain,
            network=network,
            escrow=escrow,
            journal=journal,
            wares=(
                Ware(
                    engine=engine,
                    prices=Prices(input=500_000, cached=100_000, output=2_000_000),
                    output_units_max=10**8,
                ),
            ),
            settings=ProviderSettings(
                jobs_max=256,
                confirmations=0,
            ),
            now_ms=_now_ms,
        )
        await node.start()

        def prepare(request: Any) -> None:
            engine.rate_per_s = request["rate_per_s"]

        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(node.run)
        yield network.addresses[0], prepare
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def rowen_client(address: str) -> AsyncIterator[Client]:
    """A client with a channel."""
    async with AsyncExitStack() as stack:
        journal, _ = await scratch_journal(stack)
        network = await stack.enter_async_context(open_network(trade.SESSION.secret))
        buyer = await stack.enter_async_context(
            open_client(
                key=trade.SESSION,
                network=network,
                escrow=local_escrow(),
                journal=journal,
                settings=ClientSettings(payer=trade.PAYER, providers=(address,), confirmations=0),
            )
        )

        async def run(load: Load, lags: Lags) -> int:
            received = 0

            async def stream() -> None:
                nonlocal received
                for _ in range(load.jobs):
                    async with buyer.chat(
                        "Why does hay smell sweet?",
                        model=INFO.model,
                        max_cost=10**9,
                        max_output=load.tokens,
                    ) as answer:
                        async for text in answer:
                            lags.note(text)
                    received += answer.output_units

            async with trio.open_nursery() as nursery:
                for _ in range(load.streams):
                    nursery.start_soon(stream)
            return received

        yield run


async def scratch_journal(stack: AsyncExitStack) -> tuple[SqliteJournal, Path]:
    """A journal on disk, and the directory that goes with the stack."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=SCRATCH)))
    journal = await stack.enter_async_context(open_journal(directory / "journal", bytes(32)))
    return journal, directory


def local_escrow() -> FakeEscrow:
    """The same chain in both processes: it follows from constants."""
    chain = FakeChain()
    chain.mint(trade.PAYER, DEPOSIT)
    arguments = (trade.PROVIDER.address, trade.SESSION.address, DEPOSIT)
    chain.submit(FakeTx(sender=trade.PAYER, nonce=0, rule="lock", arguments=arguments))
    return FakeEscrow(chain)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
