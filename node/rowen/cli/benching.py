"""``rowen bench``: measures what is for sale, keeps it, and proposes prices."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import exp
from pathlib import Path

import msgspec
from rich.console import Console

from rowen.cli.bench_documents import (
    BenchDocument,
    BenchedVariant,
    BenchFloors,
    BenchPhase,
    BenchQuality,
    BenchRun,
)
from rowen.cli.exits import Exit
from rowen.cli.output import console, show
from rowen.cli.people import dollars, facts, joules, table, to_copy
from rowen.cli.runner import run_async
from rowen.config import Config, load_config
from rowen.engine.llama import LlamaEngine
from rowen.home import Home
from rowen.protocol.errors import UserError
from rowen.protocol.jobs import Kind
from rowen.provider.asking import ask_daemon
from rowen.provider.bench import Bench, BenchSettings
from rowen.provider.engines import open_wares
from rowen.provider.floors import costs_of, known
from rowen.provider.gauge import Gauge, open_gauge
from rowen.provider.lending import named_gpus, open_probe
from rowen.provider.measurement import (
    Measurement,
    Phase,
    check_prices,
    floors_of,
    keep,
    quality_loss,
    recall_all,
    reference_of,
    require_writable,
)
from rowen.provider.stock import Ware

MICRO = 1_000_000


def bench_all(
    home: Home,
    flags: tuple[str, ...],
    settings: BenchSettings,
    *,
    as_json: bool,
) -> int:
    """Measures every variant, one after the other."""
    config = load_config(home.config, flags=flags)
    costs_of(config)
    require_writable(home.measurements)
    screen = console(stderr=True)

    async def work() -> int:
        if await ask_daemon(home, "status") is not None:
            raise UserError("a node runs in this home and would be measured too: end it first")
        variants = []
        async with open_probe(config.gpu) as (_, found):
            lent = named_gpus(config.gpu, found)
        async with open_wares(home, config, lent) as wares:
            for ware in wares:
                info = ware.engine.info
                screen.print(f"{info.model}:{info.precision}", style="bold")
                if Kind.CHAT not in info.kinds:
                    screen.print(f"  not measured: it is for {', '.join(info.kinds)}", style="dim")
                    continue
                measurement = await _measure(ware, config, settings, screen)
                file = keep(home.measurements, measurement)
                variants.append(_document(home, config, ware, measurement, file))
        document = BenchDocument(variants=variants)
        show(document, as_json=as_json, for_people=lambda s: _print(s, document))
        return Exit.OK

    return run_async(work)


async def _measure(
    ware: Ware, config: Config, settings: BenchSettings, screen: Console
) -> Measurement:
    async with _gauge_of(ware, config) as gauge:
        bench = Bench(
            ware.engine, settings, gauge, lambda what: screen.print(f"  {what} …", style="dim")
        )
        return await bench.run(measured_at_ms=time.time_ns() // 1_000_000)


@asynccontextmanager
async def _gauge_of(ware: Ware, config: Config) -> AsyncIterator[Gauge | None]:
    """The meter of the device that the engine runs on: ours on the processor, others on GPUs."""
    if isinstance(ware.engine, LlamaEngine):
        from rowen.gpu.cpu import CpuProbe

        async with open_gauge(CpuProbe()) as gauge:
            yield gauge
        return
    uuids = ware.gpus or config.gpu.only
    async with open_probe(config.gpu) as (probe, _), open_gauge(probe, uuids) as gauge:
        yield gauge


def _document(
    home: Home, config: Config, ware: Ware, measurement: Measurement, file: Path
) -> BenchedVariant:
    variant = ware.variant()
    told = known(home, config, variant.id)
    assert told is not None, "it was kept a moment ago"
    floors = msgspec.structs.asdict(floors_of(told, costs_of(config)))
    has_energy = floors.pop("has_energy")
    return BenchedVariant(
        variant=told.variant,
        model=told.model,
        precision=told.precision,
        build=told.build,
        energy_source=told.energy_source,  # type: ignore[arg-type]  # one of the words, by `Bench`
        devices=list(told.devices),
        runs=[
            BenchRun(
                concurrency=run.concurrency,
                prefill=_phase(run.prefill),
                decode=_phase(run.decode),
                first_token_us=round(statistics.median(run.first_token_us)),
                first_token_us_max=max(run.first_token_us),
            )
            for run in told.runs
        ],
        quality=_quality(home, measurement),
        floors=BenchFloors(
            **{name: str(amount) for name, amount in floors.items()}, has_energy=has_energy
        ),
        is_below_floor=bool(check_prices([variant], {variant.id: told}, costs_of(config))),
        file=str(file),
    )


def _phase(phase: Phase) -> BenchPhase:
    return BenchPhase(units=phase.units, elapsed_us=phase.elapsed_us, energy_mj=phase.energy_mj)


def _quality(home: Home, measurement: Measurement) -> BenchQuality | None:
    quality = measurement.quality
    if quality is None:
        return None
    reference = reference_of(measurement, recall_all(home.measurements))
    loss = None
    if reference is not None and reference.quality is not None:
        loss = quality_loss(quality, reference.quality)
    return BenchQuality(
        tokens=len(quality.tokens),
        mean_micronats=quality.mean_micronats,
        reference=reference.precision if reference is not None and loss else None,
        worse_micronats=loss[0] if loss else None,
        apart_micronats=loss[1] if loss else None,
    )


# --- for people


def _print(screen: Console, document: BenchDocument) -> None:
    for variant in document.variants:
        screen.print()
        screen.print(f"{variant.model}:{variant.precision} on {variant.build}", style="bold")
        header = ("jobs", "reads", "writes", "first token", "J/token read", "J/token written")
        rows = [
            (
                str(run.concurrency),
                _speed(run.prefill),
                _speed(run.decode),
                f"{run.first_token_us / 1000:.0f} ms",
                _energy(run.prefill),
                _energy(run.decode),
            )
            for run in variant.runs
        ]
        screen.print(table(header, rows, right="rrrrrr"))
        _print_quality(screen, variant.quality)
        _print_energy(screen, variant)
        _print_prices(screen, variant)


def _speed(phase: BenchPhase) -> str:
    return f"{phase.units * MICRO / phase.elapsed_us:,.1f} tok/s"


def _energy(phase: BenchPhase) -> str:
    return "–" if phase.energy_mj is None else joules(round(phase.energy_mj / phase.units))


def _print_quality(screen: Console, quality: BenchQuality | None) -> None:
    if quality is None:
        screen.print("quality: not measured; this engine tells no likelihoods")
        return
    perplexity = exp(-quality.mean_micronats / MICRO)
    line = f"quality: perplexity {perplexity:.2f} on the fixed text of {quality.tokens} tokens"
    if quality.reference is None:
        screen.print(f"{line}; no finer precision of this model was measured here to compare with")
        return
    worse = exp((quality.worse_micronats or 0) / MICRO)
    apart = (quality.apart_micronats or 0) / MICRO
    screen.print(
        f"{line}: {worse:.3f} times that of {quality.reference}; their tokens' log-likelihoods "
        f"are {apart:.3f} apart on average"
    )


def _print_energy(screen: Console, variant: BenchedVariant) -> None:
    said = {
        "none": "energy: nothing here measures it. Set [costs] watts to what the machine draws at "
        "work, or the prices below lack electricity",
        "stated": "energy: not measured; from the watts in [costs], all the time",
        "rapl": f"energy: the processor's counter ({', '.join(variant.devices)}); memory, fans and "
        "losses are not in it",
    }
    meant = f"energy: the GPU's own reading ({', '.join(variant.devices)}); the rest of the " \
            "machine is not in it"  # fmt: skip
    screen.print(said.get(variant.energy_source, meant))


def _print_prices(screen: Console, variant: BenchedVariant) -> None:
    floors = variant.floors
    if not int(floors.output_alone):
        screen.print("price: set [costs] electricity_kwh and wear_hour to have one proposed")
        return
    facts(
        screen,
        [
            (
                "floor",
                f"input {dollars(floors.input)}, output {dollars(floors.output)} per million",
            ),
            (
                "proposed",
                f"input {dollars(floors.input_alone)}, output {dollars(floors.output_alone)}, "
                "no loss even on a lone job",
            ),
        ],
    )
    if variant.is_below_floor:
        screen.print("Your prices are below the floor; `rowen serve` will refuse. In rowen.toml:")
        to_copy(screen, f'price_input = "{dollars(floors.input_alone)[1:].replace(",", "")}"')
        to_copy(screen, f'price_output = "{dollars(floors.output_alone)[1:].replace(",", "")}"')
