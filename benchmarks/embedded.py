"""Tokens a second of the embedded model: through the whole node, against asked directly.

One engine in one process serves both, in turn: jobs of a client in another process, over libp2p,
paid and journaled; and jobs that nobody pays for. A job's time runs from asking to its last token.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog
import trio

from benchmarks import trade
from benchmarks.compare import Pair, Row, row_of
from benchmarks.streaming import ROOT, Side, answer_parent
from benchmarks.whole import LOOPBACK, local_escrow, scratch_journal
from rowen.client.client import ClientSettings, open_client
from rowen.engine.base import Finished, Piece
from rowen.engine.llama import open_llama
from rowen.engine.models import SMOLLM2, pull
from rowen.p2p.host import open_network
from rowen.protocol.jobs import ChatInput, Message
from rowen.provider.node import Provider
from rowen.provider.settings import Prices, ProviderSettings
from rowen.provider.stock import Ware

UNITS = 160
TARGET = 0.97
QUESTION = "Write a long story about a field and the people who live beside it."


def measure(seconds: float) -> list[Row]:
    """Pairs of jobs, as many as the time allows; at least two."""
    module = "benchmarks.embedded"
    units = UNITS if seconds > 1 else 16
    pairs: list[Pair] = []
    server = Side(module, "server")
    try:
        client = Side(module, "client", server.ready())
        try:
            client.ready()
            # Channel, connection and caches are there before anything counts.
            client.ask({"units": 4})
            server.ask({"units": 4})
            began = time.monotonic()
            while len(pairs) < 2 or time.monotonic() - began < 8 * seconds:
                sides = {"node": client, "direct": server}
                order = list(sides) if len(pairs) % 2 else list(reversed(sides))
                rate = {name: units / sides[name].ask({"units": units}) for name in order}
                pairs.append(Pair(rate["node"], rate["direct"]))
        finally:
            client.close()
    finally:
        server.close()
    return [
        row_of(
            pairs,
            bench="engine",
            name="tokens through the node",
            unit="/s",
            against="embedded engine, directly",
            sense="at least",
            target=TARGET,
        )
    ]


async def _serve() -> None:
    directory = Path(os.environ.get("ROWEN_MODELS_DIR") or ROOT / "models")
    model_file = await pull(SMOLLM2.name, directory)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(
            open_llama(
                model_file,
                model=SMOLLM2.model,
                precision=SMOLLM2.precision,
                weights_digest=SMOLLM2.weights_digest,
                concurrency=1,
            )
        )
        journal, _ = await scratch_journal(stack)
        network = await stack.enter_async_context(
            open_network(trade.PROVIDER.secret, listen=[LOOPBACK])
        )
        escrow = local_escrow()
        prices = Prices(input=500_000, cached=100_000, output=2_000_000)
        node = Provider(
            key=trade.PROVIDER,
            domain=escrow.deployment.domain,
            network=network,
            escrow=escrow,
            journal=journal,
            wares=(Ware(engine=engine, prices=prices),),
            settings=ProviderSettings(confirmations=0),
            now_ms=lambda: time.time_ns() // 1_000_000,
        )
        await node.start()
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(node.run)

        async def answer(request: Any) -> float:
            job = ChatInput((Message("user", QUESTION),))
            began, units = time.monotonic(), 0
            async with engine.generate(job, request["units"]) as items:
                async for item in items:
                    units += item.units if isinstance(item, Piece) else 0
                    assert not isinstance(item, Finished) or units == request["units"]
            return time.monotonic() - began

        await answer_parent(network.addresses[0], answer)
        nursery.cancel_scope.cancel()


async def _buy(address: str) -> None:
    async with AsyncExitStack() as stack:
        journal, _ = await scratch_journal(stack)
        network = await stack.enter_async_context(open_network(trade.SESSION.secret))
        settings = ClientSettings(payer=trade.PAYER, providers=(address,), confirmations=0)
        client = await stack.enter_async_context(
            open_client(
                key=trade.SESSION,
                network=network,
                escrow=local_escrow(),
                journal=journal,
                settings=settings,
            )
        )

        async def answer(request: Any) -> float:
            began = time.monotonic()
            ended = began
            async with client.chat(
                QUESTION, model=SMOLLM2.model, max_cost=10**9, max_output=request["units"]
            ) as said:
                async for _ in said:
                    ended = time.monotonic()
            assert said.output_units == request["units"]
            return ended - began

        await answer_parent("ready", answer)


if __name__ == "__main__":
    # What is logged goes nowhere: the pipe is for answers.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    trio.run(_serve) if sys.argv[1] == "server" else trio.run(_buy, sys.argv[2])
