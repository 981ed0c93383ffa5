"""One process of the streaming benchmark: half of a pair that talks over loopback.

Run as ``python -m benchmarks.side KIND ROLE``; the parent talks to it in lines of JSON, one
answer to each. A server answers with the CPU time it has used, a client runs the load it is
given and answers with what that took.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any

import msgspec
import structlog
import trio


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is to do.

    Attributes:
        streams: Jobs at the same time.
        jobs: Jobs each of them does, one after the other.
        tokens: Of one answer.
        rate_per_s: Tokens per second of one answer; None for as fast as they are taken.
    """

    streams: int
    jobs: int = 1
    tokens: int
    rate_per_s: float | None = None


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """What a load took.

    Attributes:
        client_ns: CPU time of the client.
        server_ns: CPU time of the server.
        wall_s: From first to last.
        tokens: Received.
        lags_ms: From a message's making to its arrival, p50 and p99.
    """

    client_ns: int
    server_ns: int = 0
    wall_s: float
    tokens: int
    lags_ms: tuple[float, float]


Client = Callable[[Load, "Lags"], Awaitable[int]]
"""Runs a load, notes the lags, and returns how many tokens came."""


class Lags:
    """Time from making to arrival, message by message.

    Both ends read the same clock: it is one machine, and CLOCK_MONOTONIC is the system's.
    """

    def __init__(self) -> None:
        self._ns: list[int] = []

    def note(self, stamp: str | bytes) -> None:
        """Takes the stamp at the start of what arrived."""
        self._ns.append(time.monotonic_ns() - int(stamp[:STAMP_CHARS], 16))

    def quantiles_ms(self) -> tuple[float, float]:
        """p50 and p99."""
        ordered = sorted(self._ns) or [0]
        return tuple(ordered[int((len(ordered) - 1) * q)] / 1e6 for q in (0.5, 0.99))  # type: ignore[return-value]  # two of them


STAMP_CHARS = 16


def stamp() -> str:
    """The time now, in as many characters always."""
    return f"{time.monotonic_ns():016x}"


def message_sizes(load: Load) -> tuple[int, int]:
    """How many messages an answer has when it is sent as fast as it is made, and their tokens."""
    each = JOINED if load.rate_per_s is None else 1
    return -(-load.tokens // each), each


JOINED = 256
"""Tokens that ``NullEngine`` joins at most."""


async def serve_parent(answer: Callable[[Any], Awaitable[Any]]) -> None:
    """Answers the parent's lines until it closes the pipe."""
    async for line in trio.wrap_file(sys.stdin):
        reply = await answer(json.loads(line))
        _tell(reply)


def _tell(what: Any) -> None:
    print(msgspec.json.encode(what).decode(), flush=True)


async def run_server(
    opened: AbstractAsyncContextManager[tuple[Any, Callable[[Any], None]]],
) -> None:
    """Tells the parent where the server is, then its CPU time whenever it asks."""
    async with opened as (address, prepare):
        _tell(address)

        async def answer(request: Any) -> int:
            prepare(request)
            await trio.lowlevel.checkpoint()
            return time.process_time_ns()

        await serve_parent(answer)


async def run_client(opened: AbstractAsyncContextManager[Client]) -> None:
    """Runs the loads the parent asks for."""
    async with opened as client:
        _tell("ready")

        async def answer(request: Any) -> Took:
            load = msgspec.convert(request, Load)
            lags = Lags()
            cpu_ns, began = time.process_time_ns(), time.monotonic()
            tokens = await client(load, lags)
            return Took(
                client_ns=time.process_time_ns() - cpu_ns,
                wall_s=time.monotonic() - began,
                tokens=tokens,
                lags_ms=lags.quantiles_ms(),
            )

        await serve_parent(answer)


def main() -> None:
    """Runs what the command line names."""
    # What is logged goes nowhere: the pipe is for answers.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    kind, role, *rest = sys.argv[1:]
    # Only what this side needs is imported: it is a process of its own each time.
    module = import_module(
        {"rowen": "benchmarks.whole", "libp2p": "benchmarks.bare"}.get(kind, "benchmarks.plain")
    )
    opened = getattr(module, f"{kind}_{role}")(*rest)
    trio.run(run_server if role == "server" else run_client, opened)


if __name__ == "__main__":
    main()
