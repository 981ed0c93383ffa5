"""What a node sells: its engines, the line before each of them, and how an owner takes one back.

A shelf is one variant: an engine, its prices and its places. The stock is all of them. Jobs come
in through ``Shelf.place`` and hold a place to their last receipt; ``Shelf.vacate`` is the way
back, for the moment the GPU's owner needs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import trio

from rowen.engine.base import Engine
from rowen.protocol.errors import Reason, Refused
from rowen.protocol.offers import variant_id
from rowen.provider.settings import Caps, Prices
from rowen_scheduler.admission import Entry, Full, Limits, Line, Load, Turned, arrive, leave
from rowen_scheduler.market import Claim, Variant

log = structlog.get_logger("rowen.provider")

_FULL = {
    Full.JOBS: "this node has {count} jobs, it takes {most}",
    Full.MEMORY: "the inputs of all jobs would take {count} bytes, at most {most} are kept",
    Full.LINE: "{count} jobs would wait for this variant, at most {most} may",
    Full.SHARE: "{count} jobs of this channel would wait, at most {most} may",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ware:
    """An engine and what its work costs.

    Attributes:
        engine: Makes it.
        prices: Of its units.
        output_units_max: Longest answer an order may ask for, of those that a model writes.
        gpus: UUIDs of the GPUs that the engine uses; empty for all that are lent.
        claim: What was measured of it; None until that was done.
    """

    engine: Engine
    prices: Prices
    output_units_max: int = 4096
    gpus: tuple[str, ...] = ()
    claim: Claim | None = None

    def variant(self) -> Variant:
        """As it stands in the offer."""
        info = self.engine.info
        return Variant(
            id=variant_id(
                info.model,
                info.precision,
                info.weights_digest,
                info.build,
                info.context_units,
                info.kinds,
            ),
            model=info.model,
            precision=info.precision,
            weights_digest=info.weights_digest,
            build=info.build,
            context_units=info.context_units,
            kinds=info.kinds,
            output_units_max=self._output_units_max(),
            price_input=self.prices.input,
            price_cached=self.prices.cached,
            price_output=self.prices.output,
            price_request=self.prices.request,
            claim=self.claim,
        )

    def _output_units_max(self) -> int:
        info = self.engine.info
        if info.item_units_max:
            return info.item_units_max
        return min(self.output_units_max, info.context_units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacated:
    """How an engine was taken from its jobs.

    Attributes:
        jobs: That were ended, each with a receipt for what it delivered.
        is_free: Whether the engine holds no memory any more.
        has_slept: Whether it got there by its own ``release``; otherwise it was stopped.
        jobs_s: Until the last job had ended.
        memory_s: From then until the memory was free, or nothing more could be tried.
    """

    jobs: int
    is_free: bool
    has_slept: bool
    jobs_s: float
    memory_s: float


class Place:
    """A job's place before or at an engine.

    Attributes:
        preempt: Ends the job when the owner needs the engine; set once it was accepted.
        is_preempted: Whether the owner came back while the job was being accepted.
        gpus: Of its engine.
    """

    def __init__(self, gpus: tuple[str, ...] = ()) -> None:
        self.gpus = gpus
        self.preempt: Callable[[], Awaitable[None]] | None = None
        self.is_preempted = False
        self._called = trio.Event()
        self._refusal: Refused | None = None

    def call(self, refusal: Refused | None = None) -> None:
        """Ends the waiting: to run, or with a no."""
        self._refusal = refusal
        self._called.set()

    async def wait(self) -> None:
        """Returns when the job may run.

        Raises:
            Refused: It will not.
        """
        await self._called.wait()
        if self._refusal is not None:
            raise self._refusal.again()


class Shelf:
    """One variant on sale.

    Attributes:
        ware: Engine and prices.
        variant: As offered.
    """

    def __init__(self, ware: Ware, stock: Stock) -> None:
        self.ware = ware
        self.variant = ware.variant()
        self._stock = stock
        self._line = Line()
        self._places: dict[bytes, Place] = {}
        self._closed: Refused | None = None
        self._emptied = trio.Event()
        caps = stock.caps
        self._limits = Limits(
            places=ware.engine.info.concurrency,
            waiting_max=caps.waiting_max,
            waiting_per_client_max=caps.waiting_per_client_max,
            jobs_max=caps.jobs_total_max,
            bytes_max=caps.input_bytes_total_max,
        )

    @property
    def engine(self) -> Engine:
        """What makes it."""
        return self.ware.engine

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs of the GPUs that its engine uses; empty for all that are lent."""
        return self.ware.gpus

    @property
    def running(self) -> int:
        """Jobs that have a place."""
        return len(self._line.running)

    @property
    def waiting(self) -> int:
        """Jobs that wait for one."""
        return len(self._line.waiting)

    @property
    def places(self) -> int:
        """Jobs that may run at the same time."""
        return self._limits.places

    @property
    def is_ready(self) -> bool:
        """Whether jobs are taken now."""
        return self._closed is None and self.engine.is_ready

    # --- the owner's side

    def close(self, reason: Reason, detail: str, retry_ms: int | None = None) -> None:
        """Takes no more jobs until ``open``; those that wait are refused, those that run go on."""
        self._closed = Refused(reason, detail, retry_ms)
        for entry in self._line.waiting:
            self._places[entry.job].call(self._closed)

    def open(self) -> None:
        """Takes jobs again."""
        self._closed = None

    def check_open(self) -> None:
        """Whether jobs are taken now.

        Raises:
            Refused: They are not.
        """
        if self._closed is not None:
            raise self._closed.again()
        if not self.engine.is_ready:
            raise Refused(
                Reason.ENGINE_DOWN,
                f"the engine of {self.variant.model} is not ready",
                self._stock.caps.engine_retry_ms,
            )

    async def vacate(
        self, *, end_s: float, release_s: float, detail: str, retry_ms: int | None = None
    ) -> Vacated:
        """Gives the engine's memory to the GPU's owner: close, end jobs, release, stop.

        Every job gets a signed receipt, *preempted*, for what it delivered. ``reopen`` is the
        way back.

        Args:
            end_s: Most time for the jobs to end; then their engine is stopped under them.
            release_s: Most time for the engine's own ``release``; then it is stopped.
            detail: What refused clients are told.
            retry_ms: When they may ask again.

        Raises:
            ExceptionGroup: Of ``JournalFailed``; the node cannot go on.
        """
        self.close(Reason.NO_LEASE, detail, retry_ms)
        began = trio.current_time()
        jobs = len(self._places)
        with trio.move_on_after(end_s):
            async with trio.open_nursery() as nursery:
                for place in list(self._places.values()):
                    place.is_preempted = True
                    if place.preempt is not None:
                        nursery.start_soon(place.preempt)
            while self._places:
                self._emptied = trio.Event()
                await self._emptied.wait()
        ended = trio.current_time()
        has_slept = False
        if not self._places:
            with trio.move_on_after(release_s):
                has_slept = await self.engine.release()
        is_free = has_slept or await self.engine.stop()
        return Vacated(
            jobs=jobs,
            is_free=is_free,
            has_slept=has_slept,
            jobs_s=ended - began,
            memory_s=trio.current_time() - ended,
        )

    async def reopen(self) -> None:
        """Wakes the engine and takes jobs again.

        Raises:
            Unavailable: The engine did not come back; the shelf stays closed.
            UserError: It cannot.
        """
        await self.engine.wake()
        self.open()

    # --- a job's side

    @asynccontextmanager
    async def place(self, job: bytes, client: bytes, size_bytes: int) -> AsyncIterator[Place]:
        """A place at the engine, after waiting for it if need be.

        Args:
            job: Its id.
            client: Who pays; places are shared among these.
            size_bytes: Memory its input takes.

        Raises:
            Refused: On entering: closed, full, or none came free in time.
        """
        self.check_open()
        entry = Entry(job, client, size_bytes)
        if job in self._places:
            raise Refused(Reason.JOB_REPLAYED, f"job 0x{job.hex()} was ordered before")
        line, verdict = arrive(self._line, entry, self._limits, self._stock.load, _now_ms())
        if isinstance(verdict, Turned):
            detail = _FULL[verdict.full].format(count=verdict.count, most=verdict.most)
            raise Refused(Reason.BUSY, detail, verdict.retry_ms)
        self._line = line
        place = self._places[job] = Place(self.gpus)
        self._stock.add(1, size_bytes)
        try:
            if not verdict:
                await self._wait(place)
            yield place
        finally:
            self._leave(entry)

    async def _wait(self, place: Place) -> None:
        wait_s = self._stock.caps.wait_s_max
        with trio.move_on_after(wait_s) as patience:
            await place.wait()
        if patience.cancelled_caught:
            raise Refused(
                Reason.BUSY, f"no place came free within {wait_s:g} s", round(wait_s * 1000)
            )

    def _leave(self, entry: Entry) -> None:
        del self._places[entry.job]
        self._stock.add(-1, -entry.size_bytes)
        self._line, started = leave(self._line, entry.job, self._limits, _now_ms())
        for job in started:
            self._places[job].call()
        if not self._places:
            self._emptied.set()


class Stock:
    """All that one node sells.

    Attributes:
        caps: The owner's bounds.
        load: Jobs and bytes of all shelves together.
        shelves: By variant id.
    """

    def __init__(self, wares: Sequence[Ware], caps: Caps) -> None:
        self.caps = caps
        self.load = Load()
        self.shelves: dict[bytes, Shelf] = {}
        for ware in wares:
            shelf = Shelf(ware, self)
            # Two engines of one build sell one product; the second would never be asked.
            assert shelf.variant.id not in self.shelves, "two engines make one variant"
            self.shelves[shelf.variant.id] = shelf

    @property
    def variants(self) -> dict[bytes, Variant]:
        """What is offered, by id."""
        return {key: shelf.variant for key, shelf in self.shelves.items()}

    def shelf(self, variant: bytes) -> Shelf:
        """The shelf of a variant.

        Raises:
            Refused: It is not sold here.
        """
        shelf = self.shelves.get(variant)
        if shelf is None:
            sold = ", ".join(f"{v.model}:{v.precision}" for v in self.variants.values())
            raise Refused(
                Reason.UNKNOWN_VARIANT, f"variant 0x{variant.hex()} is not sold here: {sold}"
            )
        return shelf

    def add(self, jobs: int, size_bytes: int) -> None:
        """Counts jobs in, or out when negative."""
        self.load = Load(self.load.jobs + jobs, self.load.size_bytes + size_bytes)


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
