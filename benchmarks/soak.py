"""``python -m benchmarks.soak``: many paid streams for minutes, over everything but a model.

A provider and its clients, in two processes, over libp2p on loopback, with SQLite journals on
disk and an engine that costs nothing. What is looked at:

- the ledger: both sides' logs have the same length, total and root, and the total is the sum of
  what the answers cost, recomputed from their units;
- memory: the resident set of the provider, sampled every second; its slope is fitted over the
  second half, when caches are full and arenas have grown;
- latency: from a token's making to its arrival, beyond what the engine's pace makes it wait;
- the door: with as many jobs as a node takes, how long the refusal of one more takes.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import sys
import time
from array import array
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import psutil
import structlog
import trio

from benchmarks import trade
from benchmarks.side import STAMP_CHARS
from benchmarks.streaming import Side, answer_parent
from benchmarks.whole import DEPOSIT, INFO, LOOPBACK, StampingEngine, scratch_journal
from rowen.client.client import Client, ClientSettings, open_client
from rowen.p2p.host import open_network
from rowen.protocol.errors import RowenError
from rowen.protocol.metering import PRICE_UNITS
from rowen.protocol.signing import Key
from rowen.provider.node import Provider
from rowen.provider.settings import Caps, Prices, ProviderSettings
from rowen.provider.stock import Ware
from rowen.testing.chain import FakeEscrow
from rowen.testing.fake_chain import FakeChain, FakeTx

STREAMS = 64
CHANNELS = 8
# Of one channel, so that its eight streams wait for a voucher every dozen seconds.
CREDIT = 2_000
RATE_PER_S = 10.0
# A job a minute on each stream: orders, receipts and vouchers come and go all the time.
JOB_S = 60.0
JOBS_MAX = 256
PRICES = Prices(input=500_000, cached=100_000, output=2_000_000)
PROMPT = "Why does hay smell sweet?"
SAMPLE_S = 1.0
LAST_VOUCHER_S = 5.0
SLOPE_MAX_MB_H = 1.0
REFUSAL_MS_MAX = 100.0


class Histogram:
    """Latencies in steps of a tenth of a millisecond, in memory that does not grow."""

    _STEPS = 100_000

    def __init__(self) -> None:
        self._counts = array("q", bytes(8 * self._STEPS))
        self.count = 0

    def note(self, value_ms: float) -> None:
        """Counts one."""
        self._counts[min(self._STEPS - 1, max(0, int(value_ms * 10)))] += 1
        self.count += 1

    def quantile_ms(self, share: float) -> float:
        """The value that this share of all is at most."""
        left = share * self.count
        for step, counted in enumerate(self._counts):
            left -= counted
            if left <= 0:
                return (step + 1) / 10
        return self._STEPS / 10


class Books(msgspec.Struct, frozen=True):
    """One side's view of a channel.

    Attributes:
        count: Receipts.
        total: Token units.
        root: Of the log, hexadecimal.
    """

    count: int
    total: int
    root: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a soak found.

    Attributes:
        minutes: How long streams ran.
        streams: At the same time.
        jobs: Ended.
        chunks: Received.
        lags_ms: p50, p99 and p99.9 from a token's making to its arrival.
        receipts: In all channels.
        seller: The provider's books after the streams, by channel.
        buyer: The clients' books, by channel.
        expected: What was paid before the streams, and their jobs' costs, recomputed from units.
        rss_mb: Of the provider: after a quarter, after half, at the end.
        slope_mb_h: Of its memory, fitted over the second half.
        client_slope_mb_h: The same of the client's process.
        cpu: Share of one core that the provider used.
        refusal_ms: How long one job too many waits for its no, the worst of five.
        wal_mb: Size of the provider's journal files at the end.
    """

    minutes: float
    streams: int
    jobs: int
    chunks: int
    lags_ms: tuple[float, float, float]
    receipts: int
    seller: dict[str, Books]
    buyer: dict[str, Books]
    expected: int
    rss_mb: tuple[float, float, float]
    slope_mb_h: float
    client_slope_mb_h: float
    cpu: float
    refusal_ms: float
    wal_mb: float

    @property
    def total(self) -> int:
        """Token units that were paid in all channels."""
        return sum(books.total for books in self.seller.values())

    def failures(self) -> list[str]:
        """What did not hold."""
        found = []
        if self.seller != self.buyer:
            found.append(f"the books differ: {self.seller} and {self.buyer}")
        if self.total != self.expected:
            found.append(f"{self.total} was billed, the answers cost {self.expected}")
        if self.slope_mb_h > SLOPE_MAX_MB_H:
            found.append(f"memory grows by {self.slope_mb_h:.2f} MB/h")
        if self.refusal_ms > REFUSAL_MS_MAX:
            found.append(f"a refusal took {self.refusal_ms:.0f} ms")
        return found


# --- the two processes


async def serve() -> None:
    """The provider: says where it is, then answers questions until its input ends."""
    engine = StampingEngine()
    engine.rate_per_s = RATE_PER_S
    async with AsyncExitStack() as stack:
        journal, directory = await scratch_journal(stack)
        network = await stack.enter_async_context(
            open_network(trade.PROVIDER.secret, listen=[LOOPBACK])
        )
        escrow = escrow_of_all()
        node = Provider(
            key=trade.PROVIDER,
            domain=escrow.deployment.domain,
            network=network,
            escrow=escrow,
            journal=journal,
            wares=(Ware(engine=engine, prices=PRICES, output_units_max=10**8),),
            settings=ProviderSettings(
                # The channels' own bounds lie above the node's, which is what is looked at.
                jobs_max=JOBS_MAX,
                credit=CREDIT,
                credit_total=CREDIT * CHANNELS,
                deadline_s_max=7200,
                confirmations=0,
                caps=Caps(jobs_total_max=JOBS_MAX),
            ),
            now_ms=lambda: time.time_ns() // 1_000_000,
        )
        await node.start()
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(node.run)

        async def answer(request: Any) -> Any:
            engine.rate_per_s = request.get("rate_per_s", engine.rate_per_s)
            gc.collect()
            accounts = node.books.accounts
            size = sum(file.stat().st_size for file in directory.iterdir())
            await trio.lowlevel.checkpoint()
            books = {key.hex(): _books(account.state.paid) for key, account in accounts.items()}
            return {"books": books, "journal_mb": size / 1e6}

        await answer_parent(network.addresses[0], answer)
        nursery.cancel_scope.cancel()


async def buy(address: str) -> None:
    """The clients, each with a key, a connection, a journal and a channel of its own."""
    async with AsyncExitStack() as stack:
        clients = [await open_buyer(stack, number, address) for number in range(CHANNELS)]

        async def answer(request: Any) -> Any:
            if request["do"] == "stream":
                return await _stream(clients, request["streams"], request["seconds"])
            if request["do"] == "overfill":
                return await _overfill(clients)
            accounts = [await client.account(trade.PROVIDER.address) for client in clients]
            books = {a.state.channel_id.hex(): _books(a.state.log) for a in accounts}
            return {"books": books}

        await answer_parent("ready", answer)


async def open_buyer(stack: AsyncExitStack, number: int, address: str) -> Client:
    """The client with this number, its journal and its connection, for as long as the stack."""
    key = session(number)
    journal, _ = await scratch_journal(stack)
    network = await stack.enter_async_context(open_network(key.secret))
    settings = ClientSettings(
        payer=trade.PAYER,
        providers=(address,),
        confirmations=0,
        answer_s_max=7000,
        # How long a refusal takes is measured.
        busy_wait_s=0,
    )
    return await stack.enter_async_context(
        open_client(
            key=key, network=network, escrow=escrow_of_all(), journal=journal, settings=settings
        )
    )


async def _stream(clients: Sequence[Client], streams: int, seconds: float) -> dict[str, Any]:
    lags, done = Histogram(), {"jobs": 0, "expected": 0}
    until = trio.current_time() + seconds

    async def stream(number: int) -> None:
        # Not all at once: jobs begin and end all the time.
        await trio.sleep(JOB_S * number / streams)
        while (left_s := until - trio.current_time()) > 1:
            tokens = max(1, int(min(JOB_S, left_s) * RATE_PER_S))
            client = clients[number % CHANNELS]
            async with client.chat(
                PROMPT, model=INFO.model, max_cost=10**9, max_output=tokens
            ) as answer:
                async for text in answer:
                    lags.note((time.monotonic_ns() - int(text[:STAMP_CHARS], 16)) / 1e6)
            (part,) = answer.parts
            assert part.output_units == tokens
            price = part.input_units * PRICES.input + part.output_units * PRICES.output
            done["expected"] += -(-price // PRICE_UNITS)
            done["jobs"] += 1

    async with trio.open_nursery() as nursery:
        for number in range(streams):
            nursery.start_soon(stream, number)
    quantiles = [lags.quantile_ms(share) for share in (0.5, 0.99, 0.999)]
    return {**done, "chunks": lags.count, "lags_ms": quantiles}


async def _overfill(clients: Sequence[Client]) -> dict[str, Any]:
    """Fills every place of the node and times the refusal of one job more."""
    took_ms: list[float] = []
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        begun = [trio.Event() for _ in range(JOBS_MAX)]

        async def hold(client: Client, event: trio.Event) -> None:
            async with client.chat(
                PROMPT, model=INFO.model, max_cost=10**9, max_output=10**5
            ) as answer:
                async for _ in answer:
                    event.set()
                    if over.is_set():
                        break

        over = trio.Event()
        for number, event in enumerate(begun):
            nursery.start_soon(hold, clients[number % CHANNELS], event)
            if number % STREAMS == STREAMS - 1:
                # In four waves: a crowd at the door is another matter than a full house.
                for waited in begun[: number + 1]:
                    await waited.wait()
        for _ in range(5):
            began = time.monotonic()
            try:
                await clients[0].chat(PROMPT, model=INFO.model, max_cost=10**9, max_output=5).read()
            except RowenError as error:
                told.append(str(error))
                took_ms.append((time.monotonic() - began) * 1000)
        over.set()
    assert len(took_ms) == 5, "the job too many was taken"
    assert all(f"this node has {JOBS_MAX + 1} jobs" in text for text in told), told
    return {"refusal_ms": took_ms}


def session(number: int) -> Key:
    """The session key of the channel with this number."""
    return Key(trade.named(f"soak session {number}"))


def escrow_of_all() -> FakeEscrow:
    """The same chain in every process, with the channels of all clients."""
    chain = FakeChain()
    chain.mint(trade.PAYER, DEPOSIT * CHANNELS)
    for number in range(CHANNELS):
        arguments = (trade.PROVIDER.address, session(number).address, DEPOSIT)
        chain.submit(FakeTx(sender=trade.PAYER, nonce=number, rule="lock", arguments=arguments))
    return FakeEscrow(chain)


def _books(head: Any) -> Books:
    return Books(head.count, head.total, head.frontier.root().hex())


# --- the parent


def soak(minutes: float, streams: int) -> Result:
    """Runs it all; takes somewhat longer than ``minutes``."""
    module = "benchmarks.soak"
    server = Side(module, "server")
    try:
        client = Side(module, "client", server.ready())
        try:
            client.ready()
            return _measure(server, client, minutes, streams)
        finally:
            client.close()
    finally:
        server.close()


def _measure(server: Side, client: Side, minutes: float, streams: int) -> Result:
    # As many pieces a second as later, of four times as many jobs.
    server.ask({"rate_per_s": RATE_PER_S * streams / JOBS_MAX})
    overfilled = client.ask({"do": "overfill"})
    server.ask({"rate_per_s": RATE_PER_S})
    # The clients' books: their last vouchers may still be on their way.
    before_books = client.ask({"do": "books"})["books"]
    watched = psutil.Process(server.pid), psutil.Process(client.pid)
    before = sum(watched[0].cpu_times()[:2])
    began = time.monotonic()
    client.send({"do": "stream", "streams": streams, "seconds": minutes * 60})
    samples: list[tuple[float, float, float]] = []
    while not client.has_answered(SAMPLE_S):
        at_s = time.monotonic() - began
        if at_s <= minutes * 60:
            samples.append((at_s, *(process.memory_info().rss / 1e6 for process in watched)))
    took_s = time.monotonic() - began
    took = client.receive()
    cpu = (sum(watched[0].cpu_times()[:2]) - before) / took_s
    buyer = client.ask({"do": "books"})
    seller = server.ask({})
    until = time.monotonic() + LAST_VOUCHER_S
    while seller["books"] != buyer["books"] and time.monotonic() < until:
        time.sleep(SAMPLE_S / 10)
        seller = server.ask({})
    half = samples[len(samples) // 2 :]
    return Result(
        minutes=minutes,
        streams=streams,
        jobs=took["jobs"],
        chunks=took["chunks"],
        lags_ms=tuple(took["lags_ms"]),
        receipts=sum(books["count"] for books in seller["books"].values()),
        seller=msgspec.convert(seller["books"], dict[str, Books]),
        buyer=msgspec.convert(buyer["books"], dict[str, Books]),
        expected=took["expected"] + sum(books["total"] for books in before_books.values()),
        rss_mb=(samples[len(samples) // 4][1], half[0][1], samples[-1][1]),
        slope_mb_h=_slope_mb_h([(at_s, rss) for at_s, rss, _ in half]),
        client_slope_mb_h=_slope_mb_h([(at_s, rss) for at_s, _, rss in half]),
        cpu=cpu,
        refusal_ms=max(overfilled["refusal_ms"]),
        wal_mb=seller["journal_mb"],
    )


def _slope_mb_h(samples: Sequence[tuple[float, float]]) -> float:
    if len(samples) < 3:
        return 0.0
    fitted = statistics.linear_regression(*zip(*samples, strict=True))
    return fitted.slope * 3600


def show(result: Result) -> str:
    """A few lines for people."""
    quarter, half, end = result.rss_mb
    p50, p99, p999 = result.lags_ms
    lines = [
        f"{result.streams} streams × {RATE_PER_S:g} chunks/s for {result.minutes:g} min: "
        f"{result.jobs:,} jobs, {result.chunks:,} chunks, {result.receipts:,} receipts",
        f"ledger    {result.total:,} token units on both sides, expected {result.expected:,}",
        f"latency   p50 {p50:.1f} ms, p99 {p99:.1f} ms, p99.9 {p999:.1f} ms from making to arrival",
        f"memory    {quarter:.1f} → {half:.1f} → {end:.1f} MB; in the second half "
        f"{result.slope_mb_h:+.2f} MB/h (client {result.client_slope_mb_h:+.2f})",
        f"processor {100 * result.cpu:.0f} % of a core in the provider",
        f"refusal   {result.refusal_ms:.0f} ms for job {JOBS_MAX + 1}, the worst of five",
    ]
    return "\n".join([*lines, *(f"FAILED: {failure}" for failure in result.failures())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the soak, or one of its processes; returns the exit status."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["server"]:
        trio.run(serve)
        return 0
    if given[:1] == ["client"]:
        trio.run(buy, given[1])
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(given)
    result = soak(options.minutes, options.streams)
    print(show(result))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return 1 if result.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
