"""``python -m benchmarks.abuse``: what one abusive peer costs everybody else.

A provider, honest clients and an attacker, in three processes on loopback. Honest answers stream
all the time; in turns of some seconds the attacker works and rests. For each attack: how the time
from a token's making to its arrival changes, what of a core the provider spends, and how much its
memory grows.

The attacker yields the processor to the others: what is looked at is what it makes the provider
do, not that three processes share a machine.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import msgspec
import psutil
import structlog
import trio

from benchmarks import soak
from benchmarks.attacks import ATTACKS
from benchmarks.side import STAMP_CHARS
from benchmarks.streaming import Side, answer_parent
from benchmarks.whole import INFO
from rowen.client.client import Client

STREAMS = 16
CLIENTS = 4
RATE_PER_S = 20.0
TURNS = 3
RATIO_MAX = 2.0


class Turn(msgspec.Struct, frozen=True):
    """Some seconds of honest streams.

    Attributes:
        p50_ms: From a token's making to its arrival.
        p99_ms: The same.
        cpu: Share of one core that the provider used.
    """

    p50_ms: float
    p99_ms: float
    cpu: float


class Result(msgspec.Struct, frozen=True):
    """What an attack did.

    Attributes:
        attack: Its name.
        quiet: Turns without it.
        attacked: Turns with it, one after each of those.
        grown_mb: By how much the provider's memory grew from before the first attack to after
            the last.
    """

    attack: str
    quiet: list[Turn]
    attacked: list[Turn]
    grown_mb: float

    @property
    def ratio(self) -> float:
        """Of p99 under attack to p99 before it, the median of the turns."""
        return statistics.median(
            with_.p99_ms / without.p99_ms
            for without, with_ in zip(self.quiet, self.attacked, strict=True)
        )


# --- the processes besides `benchmarks.soak server`


async def be_honest(address: str) -> None:
    """Clients that stream, each with a key, a connection, a journal and a channel of its own."""
    async with AsyncExitStack() as stack:
        clients = [await soak.open_buyer(stack, number, address) for number in range(CLIENTS)]

        async def answer(request: Any) -> Any:
            lags = soak.Histogram()
            async with trio.open_nursery() as nursery:
                for number in range(STREAMS):
                    nursery.start_soon(_stream, clients[number % CLIENTS], request, lags)
            return [lags.quantile_ms(share) for share in (0.5, 0.99)]

        await answer_parent("ready", answer)


async def _stream(client: Client, seconds: float, lags: soak.Histogram) -> None:
    tokens = int(seconds * RATE_PER_S)
    async with client.chat(
        soak.PROMPT, model=INFO.model, max_cost=10**9, max_output=tokens
    ) as answer:
        async for text in answer:
            lags.note((time.monotonic_ns() - int(text[:STAMP_CHARS], 16)) / 1e6)


async def be_hostile(address: str) -> None:
    """The attacker: begins what it is told to and stops when it is told to."""
    os.nice(10)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def attack(name: str) -> None:
            with scope:
                await ATTACKS[name](address)

        async def answer(request: Any) -> Any:
            nonlocal scope
            scope.cancel()
            if request is not None:
                scope = trio.CancelScope()
                nursery.start_soon(attack, request)
            await trio.lowlevel.checkpoint()
            return "so be it"

        await answer_parent("ready", answer)
        nursery.cancel_scope.cancel()


# --- the parent


def measure(name: str, seconds: float, turns: int = TURNS) -> Result:
    """Takes turns with one attack, on a provider of its own."""
    with ExitStack() as stack:

        def start(module: str, *arguments: str) -> Side:
            side = Side(module, *arguments)
            stack.callback(side.close)
            return side

        server = start("benchmarks.soak", "server")
        address = server.ready()
        honest, hostile = (
            start("benchmarks.abuse", role, address) for role in ("honest", "hostile")
        )
        honest.ready()
        hostile.ready()
        server.ask({"rate_per_s": RATE_PER_S})
        provider = psutil.Process(server.pid)
        _turn(honest, provider, 1.0)
        before_mb = provider.memory_info().rss / 1e6
        quiet, attacked = [], []
        for _ in range(turns):
            quiet.append(_turn(honest, provider, seconds))
            hostile.ask(name)
            attacked.append(_turn(honest, provider, seconds))
            hostile.ask(None)
        return Result(name, quiet, attacked, provider.memory_info().rss / 1e6 - before_mb)


def _turn(honest: Side, provider: psutil.Process, seconds: float) -> Turn:
    before_s, began_s = sum(provider.cpu_times()[:2]), time.monotonic()
    p50_ms, p99_ms = honest.ask(seconds)
    used_s = sum(provider.cpu_times()[:2]) - before_s
    return Turn(p50_ms, p99_ms, used_s / (time.monotonic() - began_s))


def show(result: Result) -> str:
    """A line for people."""

    def typical(turns: Sequence[Turn]) -> Turn:
        return Turn(
            *(statistics.median(values) for values in zip(*map(_fields, turns), strict=True))
        )

    quiet, attacked = typical(result.quiet), typical(result.attacked)
    verdict = "" if result.ratio <= RATIO_MAX else f"  above {RATIO_MAX:g}"
    return (
        f"{result.attack:<12} p99 {quiet.p99_ms:7.1f} → {attacked.p99_ms:7.1f} ms "
        f"(× {result.ratio:.2f})  p50 {quiet.p50_ms:6.1f} → {attacked.p50_ms:6.1f} ms  "
        f"core {quiet.cpu:4.0%} → {attacked.cpu:4.0%}  memory {result.grown_mb:+6.1f} MB{verdict}"
    )


def _fields(turn: Turn) -> tuple[float, ...]:
    return msgspec.structs.astuple(turn)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what was asked for, or is one of the processes; returns the exit status."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    given = list(sys.argv[1:] if arguments is None else arguments)
    roles = {"honest": be_honest, "hostile": be_hostile}
    if given[:1] and given[0] in roles:
        trio.run(roles[given[0]], given[1])
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=__doc__)
    parser.add_argument("attack", nargs="*", choices=[*ATTACKS, []], help="all without a name")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a turn (default 6)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(given)
    results = []
    for name in options.attack or ATTACKS:
        results.append(measure(name, options.seconds))
        print(show(results[-1]), flush=True)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    return int(any(result.ratio > RATIO_MAX for result in results))


if __name__ == "__main__":
    sys.exit(main())
