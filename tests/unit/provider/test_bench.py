"""What a bench measures of an engine whose speed and energy are known to the millijoule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from rowen.engine.scoring import TEXT_SHA256, Scores
from rowen.gpu.base import GpuInfo, Sample
from rowen.protocol.errors import Unavailable
from rowen.protocol.statements import EnergySource
from rowen.provider.bench import Bench, BenchSettings
from rowen.provider.gauge import open_gauge
from rowen.provider.measurement import Measurement, floors_of
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen_scheduler.pricing import Costs

FIRST_S, EACH_S = 0.5, 0.02
SMALL = BenchSettings(prefill_units=64, decode_units=40, decode_units_least=60, rounds=2)
LONG_ANSWER = "word " * 200


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


class SteadyProbe:
    """Devices that draw a steady power, told by a counter, by power alone, or not at all."""

    def __init__(self, *watts: int, source: EnergySource = EnergySource.NVML_COUNTER) -> None:
        self.watts = watts
        self.source = source

    async def inventory(self) -> tuple[GpuInfo, ...]:
        return tuple(
            GpuInfo(uuid=f"GPU-{n}", index=n, name=f"card {n}") for n in range(len(self.watts))
        )

    async def sample(self, uuid: str) -> Sample:
        watts = self.watts[int(uuid[-1])]
        has_counter = self.source is EnergySource.NVML_COUNTER
        return Sample(
            uuid=uuid,
            energy_mj=round(trio.current_time() * watts * 1000) if has_counter else None,
            power_mw=watts * 1000 if self.source is not EnergySource.NONE else None,
            energy_source=self.source,
        )


class ScoringEngine(ScriptedEngine):
    async def score(self, text: str) -> Scores:
        return Scores((1, 2, 3), (-0.5, -1.25))


def engine(concurrency: int = 3, kind: type[ScriptedEngine] = ScriptedEngine) -> ScriptedEngine:
    return kind(
        LONG_ANSWER,
        info=replace(SCRIPTED, concurrency=concurrency),
        first_delay_s=FIRST_S,
        delay_s=EACH_S,
    )


async def measured(engine: ScriptedEngine, probe: SteadyProbe | None = None) -> Measurement:
    async with open_gauge(probe or SteadyProbe(100)) as gauge:
        return await Bench(engine, SMALL, gauge, lambda _: None).run(measured_at_ms=7)


async def test_speed_is_what_the_engine_does_alone_and_together(autojump_clock: MockClock) -> None:
    """Reading ends with the first token; writing is measured while every job writes."""
    found = await measured(engine())
    alone, together = found.runs
    assert (alone.concurrency, together.concurrency) == (1, 3)
    assert alone.first_token_us == (500_000, 500_000)
    assert len(together.first_token_us) == 6
    assert alone.prefill.elapsed_us == 2 * 500_000
    for run in found.runs:
        each_us = run.decode.elapsed_us * run.concurrency / run.decode.units
        assert each_us == pytest.approx(20_000, rel=0.02)
        assert run.decode.units >= SMALL.decode_units_least
    assert together.prefill.units == pytest.approx(3 * alone.prefill.units, rel=0.05)
    assert (found.measured_at_ms, found.quality) == (7, None)


@pytest.mark.parametrize("source", [EnergySource.NVML_COUNTER, EnergySource.NVML_POWER])
async def test_energy_is_that_of_all_devices_and_of_the_measured_time(
    autojump_clock: MockClock, source: EnergySource
) -> None:
    """300 W are 300 J a second, whether a counter tells them or they are added up from power."""
    found = await measured(engine(), SteadyProbe(100, 200, source=source))
    assert found.energy_source == source.name.lower()
    assert found.devices == ("card 0", "card 1")
    for run in found.runs:
        for phase in (run.prefill, run.decode):
            assert phase.energy_mj is not None
            assert phase.energy_mj == pytest.approx(phase.elapsed_us * 300 / 1000, rel=0.01)


@pytest.mark.parametrize(
    "probe", [SteadyProbe(), SteadyProbe(100, source=EnergySource.NONE)], ids=["no GPU", "silent"]
)
async def test_without_a_source_there_is_no_energy_and_none_is_made_up(
    autojump_clock: MockClock, probe: SteadyProbe
) -> None:
    found = await measured(engine(), probe)
    assert (found.energy_source, found.devices) == ("none", ())
    assert all(run.decode.energy_mj is run.prefill.energy_mj is None for run in found.runs)
    floors = floors_of(found, Costs(kwh=10**9, wear_hour=3_600_000))
    assert not floors.has_energy
    # Wear alone: $3.60 an hour are 1,000 units a second, and a million tokens take 20,000 s.
    assert floors.output_alone == pytest.approx(20_000_000, rel=0.02)
    assert floors.output == pytest.approx(floors.output_alone / 3, rel=0.05)


async def test_quality_is_measured_where_the_engine_tells_likelihoods(
    autojump_clock: MockClock,
) -> None:
    found = await measured(engine(1, ScoringEngine))
    assert found.quality is not None
    assert found.quality.text_sha256 == TEXT_SHA256
    assert found.quality.micronats == (-500_000, -1_250_000)
    assert found.quality.mean_micronats == -875_000
    assert [run.concurrency for run in found.runs] == [1]


async def test_an_engine_that_ends_its_answers_at_once_is_not_measured(
    autojump_clock: MockClock,
) -> None:
    """One token has no speed; a figure from it would be invented."""
    short = ScriptedEngine("no", info=replace(SCRIPTED, concurrency=1), first_delay_s=FIRST_S)
    with pytest.raises(ExceptionGroup) as caught:
        await measured(short)
    assert caught.group_contains(Unavailable, match="too little")


async def test_an_engine_that_fails_ends_the_bench_with_its_reason(
    autojump_clock: MockClock,
) -> None:
    broken = engine()
    broken.fail_at = 3
    with pytest.raises(ExceptionGroup) as caught:
        await measured(broken)
    assert caught.group_contains(Unavailable)
