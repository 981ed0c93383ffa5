"""When to call the owner. Pure: readings in, alerts out, with hysteresis so that none flaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

REMIND_MS = 24 * 3600 * 1000
"""What goes on is said again after so long, and no sooner."""

CLEAR_PERCENT = 80
"""A level that was too high is over once it is below this share of its limit; one that was too
low, once the limit is below this share of it."""

Severity = Literal["warning", "critical"]
State = Literal["raised", "again", "cleared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One thing to watch, at one moment.

    Attributes:
        name: A stable word, such as ``gas_low``.
        severity: ``critical`` when money or the node is being lost now.
        level: Measured; None while it cannot be measured, which changes nothing.
        limit: At this level it is too much.
        is_low_bad: It is too little that is bad, not too much.
        hold_s: It has to be bad for so long first.
        text: For a person: what is so, and what to do.
    """

    name: str
    severity: Severity
    level: int | None
    limit: int
    is_low_bad: bool = False
    hold_s: int = 0
    text: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether the limit is reached."""
        assert self.level is not None
        return self.level <= self.limit if self.is_low_bad else self.level >= self.limit

    @property
    def is_good(self) -> bool:
        """Whether it is clearly on the right side; between bad and good nothing changes."""
        assert self.level is not None
        low, high = sorted((self.level, self.limit))
        return not self.is_bad and low * 100 <= high * CLEAR_PERCENT


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of one reading.

    Attributes:
        bad_since_ms: When it became bad, Unix time.
        said_at_ms: When the owner was last told; None while it is not certain yet.
    """

    bad_since_ms: int
    said_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What the owner hears.

    Attributes:
        name: Of the reading.
        severity: Of the reading.
        state: ``raised``, ``again`` after a day, or ``cleared``.
        text: Of the reading.
        since_ms: When it became bad, Unix time.
    """

    name: str
    severity: Severity
    state: State
    text: str
    since_ms: int


Memory = Mapping[str, Watched]


def judge(
    memory: Memory, readings: Sequence[Reading], now_ms: int
) -> tuple[dict[str, Watched], list[Alert]]:
    """What to remember, and what to say now.

    Args:
        memory: From the last time; empty at first.
        readings: All of them; one that is left out is forgotten without a word.
        now_ms: Unix time.
    """
    after: dict[str, Watched] = {}
    alerts: list[Alert] = []
    for reading in readings:
        watched = memory.get(reading.name)
        if reading.level is None:
            if watched is not None:
                after[reading.name] = watched
            continue
        if watched is not None and reading.is_good:
            if watched.said_at_ms is not None:
                alerts.append(_alert(reading, "cleared", watched.bad_since_ms))
            continue
        if watched is None and not reading.is_bad:
            continue
        watched = watched or Watched(now_ms)
        if watched.said_at_ms is None and not reading.is_bad:
            # It was bad for less than it takes, and is no more.
            continue
        state = _due(reading, watched, now_ms)
        if state is not None:
            watched = replace(watched, said_at_ms=now_ms)
            alerts.append(_alert(reading, state, watched.bad_since_ms))
        after[reading.name] = watched
    return after, alerts


def raised(memory: Memory) -> list[str]:
    """Names of what the owner was told and is not over."""
    return sorted(name for name, watched in memory.items() if watched.said_at_ms is not None)


def _due(reading: Reading, watched: Watched, now_ms: int) -> State | None:
    if watched.said_at_ms is not None:
        return "again" if now_ms - watched.said_at_ms >= REMIND_MS else None
    return "raised" if now_ms - watched.bad_since_ms >= reading.hold_s * 1000 else None


def _alert(reading: Reading, state: State, since_ms: int) -> Alert:
    return Alert(
        name=reading.name,
        severity=reading.severity,
        state=state,
        text=reading.text,
        since_ms=since_ms,
    )
