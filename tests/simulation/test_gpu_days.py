"""Scripted days of transcoding, gaming, gaps, missing sensors and lost cards: no wrong lease."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from tests.simulation import gpu_days
from tests.simulation.gpu_days import (
    LOOK_S,
    Day,
    Look,
    Result,
    Span,
    lent_by_the_oracle,
    live,
    script,
)

from rowen.gpu.base import Sample
from rowen.gpu.energy import EnergyMeter
from rowen.protocol.errors import Unavailable
from rowen.protocol.statements import EnergySource
from rowen.testing.gpu import Card, GpuWorld, Program, SimulatedProbe

DAYS = 32


def simulated() -> Look:
    probes: dict[int, SimulatedProbe] = {}

    def look(world: GpuWorld, uuid: str) -> Sample:
        return probes.setdefault(id(world), SimulatedProbe(world)).look(uuid)

    return look


@cache
def lived(number: int) -> Result:
    return live(script(number), simulated())


@pytest.mark.parametrize("number", range(DAYS))
def test_every_look_finds_what_the_owner_would_say(number: int) -> None:
    """Lent neither a look too long nor one too short; the oracle knows only the script."""
    day = script(number)
    found = lived(number).lent
    expected = lent_by_the_oracle(day)
    pairs = enumerate(zip(found, expected, strict=True))
    wrong = [index * LOOK_S for index, (is_lent, should) in pairs if is_lent is not should]
    assert not wrong, f"day {number} ({day.profile}): {len(wrong)} looks, first at {wrong[0]} s"


def test_the_days_hold_what_they_are_for() -> None:
    """Days on which nothing ever happens would prove nothing."""
    seen: Counter[str] = Counter()
    gaps = preempted = lent = 0
    for number in range(DAYS):
        day = script(number)
        result = lived(number)
        seen.update({span.what for span in day.spans})
        seen[day.profile] += 1
        preempted += len(result.preempted_at)
        lent += sum(result.lent)
        work = sorted((s.begin, s.end) for s in day.spans if s.what == "transcode")
        gaps += sum(1 <= b[0] - a[1] <= 3 for a, b in pairwise(work))
    wanted = {"transcode", "game", "menu", "compute", "loaded model", "down", "lost", "paused"}
    assert all(seen[what] >= 5 for what in wanted), seen
    assert all(seen[profile] == DAYS // 8 for profile in gpu_days.PROFILES)
    assert gaps > 1000
    assert preempted > 100
    assert 0.1 < lent / (DAYS * gpu_days.DAY_S / LOOK_S) < 0.9


@pytest.mark.parametrize("number", range(DAYS))
def test_every_joule_of_a_day_is_somebodys(number: int) -> None:
    """Jobs, idling and the owner are the counter's difference, through losses and restarts.

    The other sum is made from the card itself: all it drew between two looks that both saw it.
    """
    day = script(number)
    card = Card(tells=day.tells, memory_bytes=24 << 30)
    world = GpuWorld(card)
    look, meter = simulated(), EnergyMeter()
    expected_mj = jobs_mj = 0
    seen: int | None = None
    for second in day.changes():
        gpu_days.show(day, second, world, ours=second % 2 == 0)
        if any(span.what == "down" and span.begin == second for span in day.at(second)):
            world.restart_driver()
            gpu_days.show(day, second, world, ours=False)
        with suppress(Unavailable):
            look(world, card.uuid)
        job = second.to_bytes(32, "big")
        meter.begin(job, 100)
        for wait_s in (1, 7):
            world.pass_time(wait_s)
            meter.worked(job, wait_s)
            try:
                sample = look(world, card.uuid)
            except Unavailable:
                meter.lose()
                seen = None
                continue
            meter.look(sample, world.now_us // 1000, {gpu_days.OURS})
            if seen is not None and sample.energy_mj is not None and sample.energy_mj >= seen:
                expected_mj += sample.energy_mj - seen
            seen = sample.energy_mj
        jobs_mj += meter.end(job).energy_mj
    totals = meter.totals
    assert totals.idle_mj + totals.foreign_mj + totals.jobs_mj == totals.counter_mj
    assert totals.jobs_mj == jobs_mj
    if "energy" in day.tells:
        assert meter.source is EnergySource.NVML_COUNTER
        assert totals.counter_mj == expected_mj > 0
    else:
        assert meter.source is EnergySource.NVML_POWER
        assert totals.counter_mj > 0


def planted(**changes: object) -> Day:
    """A day with one film from noon to one, then changed."""
    film = Program(pid=4242, sm=2, encoder=40, encodes=(1920, 1080, 25))
    day = Day(0, "consumer", [Span(43_200, 46_800, film, True, "transcode")])
    return replace(day, **changes)  # type: ignore[arg-type]  # of a test's own making


def test_the_oracle_sees_a_lease_that_lasts_a_look_too_long() -> None:
    """The film begins one look earlier than the card shows it."""
    day = planted()
    (span,) = day.spans
    late = planted(spans=[replace(span, begin=span.begin + LOOK_S)])
    assert lent_by_the_oracle(day) == live(day, simulated()).lent
    assert lent_by_the_oracle(day) != live(late, simulated()).lent


def test_the_oracle_sees_a_hold_that_is_a_look_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    day = planted()
    expected = lent_by_the_oracle(day)
    shorter = replace(gpu_days.RULES, hold_s=gpu_days.RULES.hold_s - LOOK_S)
    monkeypatch.setattr(gpu_days, "RULES", shorter)
    assert live(day, simulated()).lent != expected
