"""Who runs now, who waits, and who is told to come again: one line before each engine.

A line is a value; ``arrive`` and ``leave`` give the next one. Places go to the client that has
the fewest, so that many jobs of one cannot starve the only job of another. Everything has a
bound, and whoever is beyond it is told when to ask again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

RETRY_MS_MIN = 500
RETRY_MS_MAX = 60_000
SERVED_MAX = 256
"""Clients whose turn is remembered; who was served before all of these counts as new."""
# Weight of the newest job in the mean time a job takes: a few jobs tell, one does not.
_NEWEST_SHARE = 4


class Full(StrEnum):
    """Which bound a job would break."""

    JOBS = "jobs"
    MEMORY = "memory"
    LINE = "line"
    SHARE = "share"


class Entry(NamedTuple):
    """A job that asks for a place.

    Attributes:
        job: Its id.
        client: Who pays; places are shared among these.
        size_bytes: Memory its input takes for as long as it is here.
    """

    job: bytes
    client: bytes
    size_bytes: int


class Running(NamedTuple):
    """A job that has a place."""

    entry: Entry
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one line, and of all lines of a node together.

    Attributes:
        places: Jobs the engine serves at the same time.
        waiting_max: Jobs that wait for a place.
        waiting_per_client_max: Of these, one client's.
        jobs_max: Jobs running or waiting in the whole node.
        bytes_max: Their inputs together.
    """

    places: int
    waiting_max: int
    waiting_per_client_max: int
    jobs_max: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class Load:
    """What all lines of a node hold together."""

    jobs: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """Who runs on an engine and who waits for it.

    Attributes:
        running: By job id.
        waiting: First come first.
        served: Clients in the order of their newest start, bounded.
        service_ms: How long a job takes, a moving mean; 0 before the first has ended.
    """

    running: Mapping[bytes, Running] = field(default_factory=dict)
    waiting: tuple[Entry, ...] = ()
    served: tuple[bytes, ...] = ()
    service_ms: int = 0


@dataclass(frozen=True, slots=True)
class Turned:
    """No place, not even to wait.

    Attributes:
        full: The bound.
        count: What there is.
        most: What there may be.
        retry_ms: When asking again may help.
    """

    full: Full
    count: int
    most: int
    retry_ms: int


Verdict = bool | Turned
"""True: run now. False: wait."""


def arrive(
    line: Line, entry: Entry, limits: Limits, load: Load, now_ms: int
) -> tuple[Line, Verdict]:
    """Takes a job in, if there is room.

    Args:
        line: Before it.
        entry: The job.
        limits: See ``Limits``.
        load: Of the whole node, without this job.
        now_ms: Any clock that does not go back.
    """
    turned = _beyond(line, entry, limits, load)
    if turned is not None:
        return line, turned
    if len(line.running) < limits.places and not line.waiting:
        return _start(line, entry, now_ms), True
    return replace(line, waiting=(*line.waiting, entry)), False


def leave(line: Line, job: bytes, limits: Limits, now_ms: int) -> tuple[Line, list[bytes]]:
    """Lets a job go, whether it ran or waited, and fills the place it had.

    Returns:
        The line after it, and the jobs that run from now on.
    """
    ran = line.running.get(job)
    if ran is None:
        waiting = tuple(entry for entry in line.waiting if entry.job != job)
        return replace(line, waiting=waiting), []
    running = {key: value for key, value in line.running.items() if key != job}
    took_ms = max(0, now_ms - ran.since_ms)
    mean_ms = line.service_ms + (took_ms - line.service_ms) // _NEWEST_SHARE
    line = replace(line, running=running, service_ms=mean_ms if line.service_ms else took_ms)
    started: list[bytes] = []
    while line.waiting and len(line.running) < limits.places:
        entry = _next(line)
        rest = tuple(other for other in line.waiting if other is not entry)
        line = _start(replace(line, waiting=rest), entry, now_ms)
        started.append(entry.job)
    return line, started


def _beyond(line: Line, entry: Entry, limits: Limits, load: Load) -> Turned | None:
    size_bytes = load.size_bytes + entry.size_bytes
    waiting = len(line.waiting)
    # A free place is taken at once, so these bound those who wait.
    must_wait = waiting > 0 or len(line.running) >= limits.places
    own = sum(other.client == entry.client for other in line.waiting)
    bounds = (
        (Full.JOBS, load.jobs + 1, limits.jobs_max),
        (Full.MEMORY, size_bytes, limits.bytes_max),
        (Full.LINE, waiting + must_wait, limits.waiting_max),
        (Full.SHARE, own + must_wait, limits.waiting_per_client_max),
    )
    for full, count, most in bounds:
        if count > most:
            return Turned(full, count, most, _retry_ms(line, limits))
    return None


def _retry_ms(line: Line, limits: Limits) -> int:
    """When one of those who wait now is likely to have found a place."""
    expected_ms = line.service_ms * (len(line.waiting) + 1) // max(1, limits.places)
    return min(RETRY_MS_MAX, max(RETRY_MS_MIN, expected_ms))


def _next(line: Line) -> Entry:
    """Of the clients with the fewest places, the one that was served longest ago."""
    places = Counter(running.entry.client for running in line.running.values())
    turns = {client: turn for turn, client in enumerate(line.served)}
    # min() keeps the first of equals: of one client, the job that came first.
    return min(line.waiting, key=lambda e: (places[e.client], turns.get(e.client, -1)))


def _start(line: Line, entry: Entry, now_ms: int) -> Line:
    others = tuple(client for client in line.served if client != entry.client)
    return replace(
        line,
        running={**line.running, entry.job: Running(entry, now_ms)},
        served=(*others[1 - SERVED_MAX :], entry.client),
    )
