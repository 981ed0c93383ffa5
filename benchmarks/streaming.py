"""CPU and lag of a token and of a job from end to end, in two processes on loopback."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import trio

from benchmarks.compare import Pair, Row, row_of
from benchmarks.side import Load, Took

ROOT = Path(__file__).resolve().parent.parent
BASELINES = {"trio": "plain TCP on trio", "libp2p": "bare libp2p stream"}
STREAMS = 16
RATE_PER_S = 50.0


def measure(seconds: float) -> list[Row]:
    """Paced tokens, tokens as fast as they go, and the shortest jobs."""
    turn_s = min(seconds / 2, 4.0)
    turns = 2 if seconds < 1 else 4
    paced = Load(streams=STREAMS, tokens=max(1, int(RATE_PER_S * turn_s)), rate_per_s=RATE_PER_S)
    fast = Load(streams=8, tokens=int(10_000 * turn_s))
    short = Load(streams=4, jobs=max(1, int(20 * turn_s)), tokens=1)
    with ExitStack() as stack:
        # All at once: what takes time is importing.
        servers = {kind: Side("benchmarks.side", kind, "server") for kind in ("rowen", *BASELINES)}
        for server in servers.values():
            stack.callback(server.close)
        clients = {
            kind: Side("benchmarks.side", kind, "client", side.ready())
            for kind, side in servers.items()
        }
        for client in clients.values():
            stack.callback(client.close)
            client.ready()
        duos = {kind: _Duo(servers[kind], clients[kind]) for kind in servers}
        rows: list[Row] = []
        for load, what in (
            (paced, f"token, {STREAMS} streams × {RATE_PER_S:g}/s"),
            (fast, "token, 8 streams unpaced"),
            (short, "job of one token"),
        ):
            for duo in duos.values():
                # Connections, channels and caches are there before anything counts.
                duo.run(msgspec.structs.replace(load, tokens=1, jobs=1))
            rows += _rows(duos, load, what, turns)
    return rows


def _rows(duos: dict[str, _Duo], load: Load, what: str, turns: int) -> list[Row]:
    took: dict[str, list[Took]] = {kind: [] for kind in duos}
    for turn in range(turns):
        # Who goes first alternates.
        for kind in duos if turn % 2 else reversed(duos):
            took[kind].append(duos[kind].run(load))
    is_job = load.tokens == 1
    unit = "ms" if is_job else "µs"
    rows: list[Row] = []
    for kind, against in BASELINES.items():
        pairs = [
            Pair(_cpu(ours, load), _cpu(theirs, load))
            for ours, theirs in zip(took["rowen"], took[kind], strict=True)
        ]
        rows.append(
            row_of(pairs, bench="stream", name=f"CPU per {what}", unit=unit, against=against)
        )
        if load.rate_per_s is not None:
            rows += _lag_rows(took["rowen"], took[kind], what, against)
    return rows


def _lag_rows(ours: list[Took], theirs: list[Took], what: str, against: str) -> list[Row]:
    return [
        row_of(
            [Pair(a.lags_ms[at], b.lags_ms[at]) for a, b in zip(ours, theirs, strict=True)],
            bench="stream",
            name=f"lag {name} per {what}",
            unit="ms",
            against=against,
        )
        for at, name in enumerate(("p50", "p99"))
    ]


def _cpu(took: Took, load: Load) -> float:
    """Both processes: µs per token, or ms per job when a job is one token."""
    spent_ns = took.client_ns + took.server_ns
    return spent_ns / took.tokens / (1e6 if load.tokens == 1 else 1e3)


async def answer_parent(greeting: Any, answer: Callable[[Any], Awaitable[Any]]) -> None:
    """In the process: says the greeting, then one line to each of the parent's until they end."""
    print(msgspec.json.encode(greeting).decode(), flush=True)
    async for line in trio.wrap_file(sys.stdin):
        print(msgspec.json.encode(await answer(json.loads(line))).decode(), flush=True)


class Side:
    """A process and the pipe to it."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> Any:
        """What it says when it has started: where it is."""
        return self._next()

    def ask(self, request: Any) -> Any:
        """One line there, one line back."""
        self.send(request)
        return self._next()

    def send(self, request: Any) -> None:
        """One line there; ``receive`` gets the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def has_answered(self, wait_s: float) -> bool:
        """Whether an answer came, or the process ended, within this time."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout.fileno()], [], [], wait_s)[0])

    def receive(self) -> Any:
        """The answer to what was sent."""
        return self._next()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def _next(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended: {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Ends it by closing its pipe, or by force."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Duo:
    """A server and its client."""

    def __init__(self, server: Side, client: Side) -> None:
        self._server = server
        self._client = client

    def run(self, load: Load) -> Took:
        """Runs a load; the CPU time is that of both."""
        request = msgspec.to_builtins(load)
        before_ns = self._server.ask(request)
        took = msgspec.convert(self._client.ask(request), Took)
        return msgspec.structs.replace(took, server_ns=self._server.ask(request) - before_ns)
