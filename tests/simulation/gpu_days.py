"""Days in the life of a GPU, written as scripts, and what its owner would say about each second.

A script is who does what from when to when. From it come a card, which is looked at and judged
by what is shipped, and, without any of that, the truth: whether the card may be lent. The oracle
says from the truth alone which looks have to find it lent. Times are whole seconds of the day.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rowen.gpu.base import Sample
from rowen.gpu.judging import Limits, judge
from rowen.protocol.errors import Unavailable
from rowen.testing import gpu as simulated
from rowen.testing.gpu import MIB, Card, GpuWorld, Program
from rowen_scheduler.hours import Hours, parse_hours
from rowen_scheduler.placement import (
    Alarm,
    Event,
    Grant,
    Lease,
    LeaseRules,
    LeaseState,
    Preempt,
    Released,
    Why,
    Withheld,
    step,
)

DAY_S = 86_400
LOOK_S = 2
RULES = LeaseRules(hold_s=60, look_gap_s_max=5, release_s_max=5)
OURS = 777
GIB = 1 << 30
LIMITS = Limits(need_bytes=8 * GIB, reserve_bytes=2 * GIB)

PROFILES = {
    "consumer": simulated.CONSUMER,
    "h200": simulated.H200,
    "mig": simulated.MIG,
    "old driver": simulated.OLD_DRIVER,
    "no accounting": simulated.NO_ACCOUNTING,
    "no counter": simulated.NO_COUNTER,
    "no processes": simulated.CONSUMER - {"processes"},
    "no memory figures": simulated.CONSUMER - {"memory", "temperature", "clocks"},
}


@dataclass(frozen=True)
class Span:
    """Something that holds from one second to another, the end excluded.

    Attributes:
        begin: First second.
        end: First second after it.
        program: On the card in that time; None for what is no program.
        is_work: Whether its owner would say: I am using the GPU.
        what: For people; ``down``, ``lost`` and ``paused`` are no programs.
    """

    begin: int
    end: int
    program: Program | None
    is_work: bool
    what: str


@dataclass
class Day:
    """A script.

    Attributes:
        number: Also its seed.
        profile: Of ``PROFILES``.
        spans: In no order.
        hours: The owner's; empty for always.
        job_seconds: When our own job runs, if the card is lent then: alternating.
        release_s: How long our engine takes to leave.
    """

    number: int
    profile: str
    spans: list[Span] = field(default_factory=list)
    hours: Hours = field(default_factory=Hours)
    job_every_s: int = 97
    release_s: float = 1.5

    @property
    def tells(self) -> frozenset[str]:
        """What the card can tell."""
        return PROFILES[self.profile]

    def changes(self) -> list[int]:
        """Seconds at which something begins or ends."""
        found = {0, DAY_S}
        for span in self.spans:
            found |= {span.begin, min(span.end, DAY_S)}
        return sorted(found)

    def at(self, second: int) -> list[Span]:
        """What holds at a second."""
        return [span for span in self.spans if span.begin <= second < span.end]


# --- the owner's day -----------------------------------------------------------------------


def _transcode(rng: random.Random, day: Day, begin: int, end: int, pid: int) -> None:
    """Segments of video with gaps of about three seconds; the program stays loaded throughout."""
    can_encode = "encoder" in day.tells
    day.spans.append(
        Span(begin, end, Program(pid=pid, memory_bytes=900 * MIB), False, "loaded transcoder")
    )
    second = begin
    while second < end:
        length = rng.randint(5, 240)
        sm, decoder = rng.randint(0, 4), rng.randint(1, 60)
        busy = Program(pid=pid, memory_bytes=0, sm=sm, decoder=decoder)
        if can_encode:
            busy.encoder = rng.randint(1, 90)
            busy.encodes = (1920, 1080, rng.choice([25, 30, 60]))
        day.spans.append(Span(second, min(end, second + length), busy, True, "transcode"))
        second += length + rng.choice([1, 2, 3, 3, 3, 5, 40])


def _game(rng: random.Random, day: Day, begin: int, end: int, pid: int) -> None:
    """Play, with menus in between that hardly load the card."""
    second = begin
    while second < end:
        length = rng.randint(60, 1800)
        program = Program(pid=pid, memory_bytes=6 * GIB, sm=rng.randint(40, 99), is_graphics=True)
        if rng.random() < 0.3:
            program.captures = (2560, 1440, 60)
        day.spans.append(Span(second, min(end, second + length), program, True, "game"))
        second += length
        menu = rng.randint(10, 200)
        idle = Program(pid=pid, memory_bytes=6 * GIB, sm=rng.randint(0, 4), is_graphics=True)
        day.spans.append(Span(second, min(end, second + menu), idle, False, "menu"))
        second += menu


def _compute(rng: random.Random, day: Day, begin: int, end: int, pid: int) -> None:
    program = Program(pid=pid, memory_bytes=2 * GIB, sm=rng.randint(5, 100))
    day.spans.append(Span(begin, end, program, True, "compute"))


def _hog(rng: random.Random, day: Day, begin: int, end: int, pid: int) -> None:
    """A loaded model that nobody asks anything: quiet, and in the way."""
    program = Program(pid=pid, memory_bytes=rng.choice([4, 13, 14, 15, 20]) * GIB)
    day.spans.append(Span(begin, end, program, False, "loaded model"))


def _trouble(what: str) -> Callable[[random.Random, Day, int, int, int], None]:
    def add(_rng: random.Random, day: Day, begin: int, end: int, _pid: int) -> None:
        day.spans.append(Span(begin, min(end, begin + 600), None, False, what))

    return add


_ACTS = [_transcode, _transcode, _game, _compute, _hog]
_TROUBLES = [_trouble("down"), _trouble("lost"), _trouble("paused")]


def script(number: int) -> Day:
    """One day, the same for the same number."""
    rng = random.Random(number)
    profiles = sorted(PROFILES)
    day = Day(number, profiles[number % len(profiles)], release_s=rng.choice([0.5, 1.5, 3.5, 9]))
    if number % 5 == 4:
        day.hours = parse_hours(("20:00-08:00",))
    if "processes" in day.tells and day.profile not in ("mig", "no accounting"):
        # A desktop is always there and never still.
        desktop = Program(pid=100, memory_bytes=300 * MIB, is_graphics=True)
        day.spans.append(Span(0, DAY_S, desktop, False, "desktop"))
        for second in range(0, DAY_S, 1800):
            stirs = Program(pid=100, memory_bytes=0, sm=rng.randint(1, 4), is_graphics=True)
            day.spans.append(Span(second, second + rng.randint(5, 400), stirs, False, "desktop"))
    second = rng.randint(0, 3600)
    pid = 4000
    while second < DAY_S:
        length = rng.randint(30, 7200)
        act = rng.choice(_ACTS if rng.random() < 0.8 else _TROUBLES)
        pid += 1
        act(rng, day, second, min(DAY_S, second + length), pid)
        # Often together, sometimes after a while, sometimes just too soon for a lease.
        second += rng.choice([length // 2, length + rng.randint(1, 90), length + 5400])
    return day


# --- the truth ------------------------------------------------------------------------------


def may_be_lent(day: Day, second: int) -> bool:
    """What the owner would say, knowing the script and what this card can tell anybody."""
    spans = day.at(second)
    if not day.hours.is_open(second // 60):
        return False
    if any(span.is_work or span.what in ("down", "lost", "paused") for span in spans):
        return False
    if "processes" not in day.tells:
        # Nobody can know who is there.
        return False
    present = [span.program for span in spans if span.program is not None]
    if present and "process_loads" not in day.tells:
        # Nobody can know what it does.
        return False
    desktop = sum(program.sm for program in present)
    if desktop >= LIMITS.sm_percent:
        # Quiet programs that are busy enough together: work, by the owner's own limit.
        return False
    free = 24 * GIB - sum(program.memory_bytes for program in present)
    return "memory" not in day.tells or free >= LIMITS.need_bytes + LIMITS.reserve_bytes


def lent_by_the_oracle(day: Day) -> list[bool]:
    """For each look, whether it has to find the card lent, after what it decides.

    Runs of looks at which it may be lent, each shortened by the hold and, after a lease, by the
    time in which our engine leaves.
    """
    looks = range(0, DAY_S, LOOK_S)
    truth = {begin: may_be_lent(day, begin) for begin in _boundaries(day)}
    begins = sorted(truth)
    lent = [False] * len(looks)
    busy_until = -1
    for first, last in _runs([truth[begins[bisect_right(begins, s) - 1]] for s in looks]):
        quiet = max(first, busy_until + 1)
        granted = quiet + -(-int(RULES.hold_s) // LOOK_S)
        if granted > last:
            continue
        lent[granted : last + 1] = [True] * (last + 1 - granted)
        # The first look that finds it gone decides; the engine leaves from there on.
        gone_at_s = (last + 1) * LOOK_S + day.release_s
        busy_until = bisect_left(looks, gone_at_s)
    return lent


def _boundaries(day: Day) -> set[int]:
    """Seconds after which the truth may change."""
    minutes = range(0, DAY_S, 60) if day.hours.windows else ()
    return {*day.changes(), *minutes} - {DAY_S}


def _runs(values: list[bool]) -> Iterator[tuple[int, int]]:
    """First and last index of each run of true values."""
    begin = None
    for index, value in enumerate([*values, False]):
        if value and begin is None:
            begin = index
        elif not value and begin is not None:
            yield begin, index - 1
            begin = None


# --- what is shipped ------------------------------------------------------------------------

Look = Callable[[GpuWorld, str], Sample]


@dataclass
class Result:
    """What the shipped rules made of a day.

    Attributes:
        lent: For each look, whether it found the card lent.
        preempted_at: Seconds at which a preemption was decided.
        alarms: Engines that were slow to leave.
    """

    lent: list[bool] = field(default_factory=list)
    preempted_at: list[int] = field(default_factory=list)
    granted: int = 0
    alarms: int = 0


def live(day: Day, look: Look) -> Result:
    """Looks at the day every two seconds and does what follows, with our own job on the card.

    Args:
        day: The script.
        look: Looks at the world's only card; raises ``Unavailable`` when it cannot.
    """
    card = Card(tells=day.tells, memory_bytes=24 * GIB)
    world = GpuWorld(card)
    boundaries = sorted(_boundaries(day))
    judged: dict[tuple[int, bool], Event] = {}
    result = Result()
    lease = Lease()
    gone_at_s = 0.0
    for second in range(0, DAY_S, LOOK_S):
        ours = lease.state is LeaseState.LEASED and second // day.job_every_s % 2 == 0
        # Between two boundaries nothing changes but our own job, so one look is as good as many.
        key = (bisect_right(boundaries, second), ours)
        if key not in judged:
            judged[key] = _event(day, second, world, ours, look)
        lease, effects = step(lease, judged[key], second, RULES)
        for effect in effects:
            result.granted += isinstance(effect, Grant)
            result.alarms += isinstance(effect, Alarm)
            if isinstance(effect, Preempt):
                result.preempted_at.append(second)
                gone_at_s = second + day.release_s
        if lease.state is LeaseState.PREEMPTING and second >= gone_at_s:
            lease, _ = step(lease, Released(), second, RULES)
        result.lent.append(lease.state is LeaseState.LEASED)
    return result


def show(day: Day, second: int, world: GpuWorld, *, ours: bool, place: int = 0) -> None:
    """Puts one card of the world where the script has it at a second, with our job or without."""
    spans = day.at(second)
    card = world.cards[place]
    merged: dict[int, Program] = {}
    for span in spans:
        if span.program is not None:
            merged[span.program.pid] = _both(merged.get(span.program.pid), span.program)
    if ours:
        merged[OURS] = Program(pid=OURS, memory_bytes=8 * GIB, sm=97)
    card.programs = list(merged.values())
    card.is_lost = any(span.what == "lost" for span in spans)
    world.is_driver_up = not any(span.what == "down" for span in spans)


def _event(day: Day, second: int, world: GpuWorld, ours: bool, look: Look) -> Event:
    spans = day.at(second)
    card = world.cards[0]
    show(day, second, world, ours=ours)
    world.pass_time(1)
    if any(span.what == "paused" for span in spans):
        return Withheld(Why.PAUSED)
    if not day.hours.is_open(second // 60):
        return Withheld(Why.HOURS)
    try:
        sample = look(world, card.uuid)
    except Unavailable as error:
        return Withheld(Why.LOST, str(error))
    return judge(sample, {OURS}, (), LIMITS)


def _both(one: Program | None, other: Program) -> Program:
    """A program that is loaded all the time and busy in a part of it."""
    if one is None:
        return other
    return Program(
        pid=one.pid,
        memory_bytes=one.memory_bytes + other.memory_bytes,
        sm=one.sm + other.sm,
        encoder=one.encoder + other.encoder,
        decoder=one.decoder + other.decoder,
        is_graphics=one.is_graphics,
        encodes=one.encodes or other.encodes,
        captures=one.captures or other.captures,
    )
