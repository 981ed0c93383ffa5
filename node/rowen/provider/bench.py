"""Measures a variant: how fast it reads and writes, and what that takes.

The engine is used as a job uses it, from order to last token, so the figures are what a client
gets. Prompts begin differently each time: a cache would make them fast and tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from rowen.engine.base import Engine, Finished
from rowen.engine.scoring import TEXT, TEXT_SHA256, Scorer
from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import ChatInput, Message
from rowen.protocol.offers import variant_id
from rowen.provider.gauge import Gauge
from rowen.provider.measurement import Measurement, Phase, Quality, Run

TENANT = b"bench"
_WRITE = "Count from one to one thousand in words, each number on a line of its own."
ROUNDS_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """How much is measured.

    Attributes:
        prefill_units: About the length of a prompt.
        decode_units: Most tokens of an answer.
        decode_units_least: Tokens to see written before speed and energy are believed.
        rounds: Prompts a job reads.
    """

    prefill_units: int = 512
    decode_units: int = 128
    decode_units_least: int = 256
    rounds: int = 3


@dataclass(slots=True)
class _Sums:
    units: int = 0
    elapsed_us: int = 0
    energy_mj: int = 0

    def phase(self, gauge: Gauge | None) -> Phase:
        return Phase(
            units=self.units,
            elapsed_us=self.elapsed_us,
            energy_mj=None if gauge is None else self.energy_mj,
        )


class Bench:
    """Measures one engine."""

    def __init__(
        self,
        engine: Engine,
        settings: BenchSettings,
        gauge: Gauge | None,
        say: Callable[[str], None],
    ) -> None:
        """Takes what to measure and with what.

        Args:
            engine: Ready.
            settings: How much.
            gauge: Of energy; None when nothing measures it.
            say: Told what happens now, for a person who waits.
        """
        self._engine = engine
        self._settings = settings
        self._gauge = gauge
        self._say = say
        self._number = 0

    async def run(self, *, measured_at_ms: int) -> Measurement:
        """Measures all.

        Raises:
            Unavailable: The engine failed, or wrote nothing.
        """
        info = self._engine.info
        self._say("warming up")
        await self._write([], trio.Event())
        counts = sorted({1, info.concurrency})
        runs = [await self._measure(count) for count in counts]
        quality = None
        if isinstance(self._engine, Scorer):
            self._say("reading the fixed text")
            quality = await measure_quality(self._engine)
        source = "none" if self._gauge is None else self._gauge.source.name.lower()
        key = variant_id(
            info.model,
            info.precision,
            info.weights_digest,
            info.build,
            info.context_units,
            info.kinds,
        )
        return Measurement(
            variant="0x" + key.hex(),
            model=info.model,
            precision=info.precision,
            build=info.build,
            measured_at_ms=measured_at_ms,
            energy_source=source,
            devices=() if self._gauge is None else self._gauge.devices,
            runs=tuple(runs),
            quality=quality,
        )

    async def _measure(self, count: int) -> Run:
        jobs = "one job" if count == 1 else f"{count} jobs at once"
        self._say(f"{jobs}: reading")
        reading, firsts = _Sums(), []
        for _ in range(self._settings.rounds):
            firsts += await self._read_round(count, reading)
        self._say(f"{jobs}: writing")
        writing = _Sums()
        for _ in range(ROUNDS_MAX):
            if writing.units >= self._settings.decode_units_least:
                break
            await self._write_round(count, writing)
        if writing.units < self._settings.decode_units_least or not reading.units:
            raise Unavailable("the engine wrote too little to measure: it ends its answers at once")
        return Run(
            concurrency=count,
            prefill=reading.phase(self._gauge),
            decode=writing.phase(self._gauge),
            first_token_us=tuple(sorted(firsts)),
        )

    async def _read_round(self, count: int, sums: _Sums) -> list[int]:
        """Has ``count`` jobs read a prompt each; returns when each said its first."""
        firsts: list[int] = []
        prompts = [self._prompt() for _ in range(count)]
        began_mj, began = await self._energy(), trio.current_time()

        async def read(prompt: ChatInput) -> None:
            async with self._engine.generate(prompt, 1, tenant=self._tenant()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Finished):
                        sums.units += piece.input_units - piece.cached_units
                    elif piece.units:
                        firsts.append(_us(trio.current_time() - began))

        async with trio.open_nursery() as nursery:
            for prompt in prompts:
                nursery.start_soon(read, prompt)
        sums.elapsed_us += _us(trio.current_time() - began)
        sums.energy_mj += await self._energy() - began_mj
        return firsts

    async def _write_round(self, count: int, sums: _Sums) -> None:
        """Has ``count`` jobs write; counts while all of them do."""
        written = [0] * count
        over = trio.Event()
        begun = [trio.Event() for _ in range(count)]
        before = (0, 0.0, 0)

        async def write(index: int) -> None:
            await self._write(written, over, index, begun[index])

        async with trio.open_nursery() as nursery:
            for index in range(count):
                nursery.start_soon(write, index)
            for one in begun:
                await one.wait()
            if not over.is_set():
                began_mj = await self._energy()
                before = (sum(written), trio.current_time(), began_mj)
                await over.wait()
                # What was written by then, before anything else gets to run.
                units, ended = sum(written) - before[0], trio.current_time()
                if units > 0:
                    sums.units += units
                    sums.elapsed_us += _us(ended - before[1])
                    sums.energy_mj += await self._energy() - began_mj

    async def _write(
        self,
        written: list[int],
        over: trio.Event,
        index: int = 0,
        begun: trio.Event | None = None,
    ) -> None:
        prompt = ChatInput((Message("user", f"{self._next()}. {_WRITE}"),))
        try:
            async with self._engine.generate(
                prompt, self._settings.decode_units, tenant=self._tenant()
            ) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Finished):
                        break
                    if written:
                        written[index] += piece.units
                    if begun is not None and piece.units:
                        begun.set()
        finally:
            # The first to end ends the span: from then on fewer jobs share the machine.
            over.set()
            if begun is not None:
                begun.set()

    def _prompt(self) -> ChatInput:
        words = f"{self._next()} {TEXT}".split()
        # A little more than a token a word, in any tokenizer.
        wanted = max(8, min(self._settings.prefill_units, self._room()) * 3 // 4)
        text = " ".join(words[place % len(words)] for place in range(wanted))
        return ChatInput((Message("user", text),))

    def _room(self) -> int:
        return self._engine.info.context_units // 2

    def _tenant(self) -> bytes:
        # Each job a stranger to those before it, so that no cache serves it.
        return TENANT + str(self._next()).encode()

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _energy(self) -> int:
        return 0 if self._gauge is None else await self._gauge.read_mj()


async def measure_quality(engine: Scorer) -> Quality:
    """What a variant makes of the fixed text.

    Raises:
        Unavailable: The engine failed.
        UserError: The text does not fit its context.
    """
    scores = await engine.score(TEXT)
    return Quality(
        text_sha256=TEXT_SHA256,
        tokens=scores.tokens,
        micronats=tuple(round(one * 1_000_000) for one in scores.log_likelihoods),
    )


def _us(seconds: float) -> int:
    return max(1, round(seconds * 1_000_000))
