"""Whose a GPU is now: one lease, as a pure function from (lease, event) to (lease, effects).

A GPU is its OWNER's until nobody of theirs has worked on it for a while (QUIET); then it is LEASED
to the market. The first look that shows the owner's work, or that shows nothing at all, ends the
lease: PREEMPTING lasts until the jobs have ended and the memory is free. ``_TABLE`` decides every
(state, event) pair.

What is seen on a GPU is judged elsewhere (``rowen.gpu.judging``); here it is one of three events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class LeaseState(StrEnum):
    """Whose the GPU is."""

    OWNER = "owner"
    QUIET = "quiet"
    LEASED = "leased"
    PREEMPTING = "preempting"


class Why(StrEnum):
    """Why the GPU is not leased. Stable: programs branch on these words."""

    TRANSCODE = "transcode"
    CAPTURE = "capture"
    COMPUTE = "compute"
    MEMORY = "memory"
    BLIND = "blind"
    LOST = "lost"
    PAUSED = "paused"
    HOURS = "hours"
    STARTING = "starting"


# --- events


@dataclass(frozen=True, slots=True)
class OwnerWorks:
    """A look shows work that is not ours.

    Attributes:
        why: ``TRANSCODE``, ``CAPTURE`` or ``COMPUTE``.
        detail: What was seen.
    """

    why: Why
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Withheld:
    """Nobody is seen to work, and yet nothing may be leased.

    Attributes:
        why: ``MEMORY``, ``BLIND``, ``LOST``, ``PAUSED`` or ``HOURS``.
        detail: What was seen.
    """

    why: Why
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Clear:
    """A look shows nobody's work but ours."""


@dataclass(frozen=True, slots=True)
class Released:
    """Our jobs have ended, and the GPU's memory is free of them."""


Event = OwnerWorks | Withheld | Clear | Released
EVENTS: tuple[type[Event], ...] = (OwnerWorks, Withheld, Clear, Released)


# --- effects


@dataclass(frozen=True, slots=True)
class Grant:
    """Take jobs."""


@dataclass(frozen=True, slots=True)
class Preempt:
    """Take no more jobs, bill and end those that run, release the memory; then ``Released``."""

    why: Why


@dataclass(frozen=True, slots=True)
class Alarm:
    """Leaving takes longer than it may."""


Effect = Grant | Preempt | Alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRules:
    """How patient a lease is.

    Attributes:
        hold_s: Quiet that makes a GPU free. Longer than a gap between two segments of video.
        look_gap_s_max: Quiet counts only while looks follow each other so closely.
        release_s_max: PREEMPTING should not last longer.
    """

    hold_s: float = 60.0
    look_gap_s_max: float = 5.0
    release_s_max: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One GPU's lease. Times are of one monotonic clock, in seconds.

    Attributes:
        state: Whose the GPU is.
        why: Why it is not leased, or was not until now.
        detail: What was seen.
        since_s: When this state began; QUIET begins anew when looks were missed.
        looked_s: The last look.
        is_overdue: Whether PREEMPTING lasts longer than it should.
    """

    state: LeaseState = LeaseState.OWNER
    why: Why = Why.STARTING
    detail: str = ""
    since_s: float = 0.0
    looked_s: float = 0.0
    is_overdue: bool = False


Outcome = tuple[Lease, list[Effect]]


def step(lease: Lease, event: Event, now_s: float, rules: LeaseRules) -> Outcome:
    """Applies one event."""
    handler: _Handler = _TABLE[lease.state, type(event)]
    after, effects = handler(lease, event, now_s, rules)
    if not isinstance(event, Released):
        after = replace(after, looked_s=now_s)
    return after, effects


def wait_s(lease: Lease, now_s: float, rules: LeaseRules) -> float:
    """How long it takes at least until the GPU is leased, if its owner stays away."""
    if lease.state is LeaseState.LEASED:
        return 0.0
    if lease.state is LeaseState.QUIET:
        return max(0.0, lease.since_s + rules.hold_s - now_s)
    return rules.hold_s


def _to_owner(lease: Lease, event: OwnerWorks | Withheld, now_s: float, _: LeaseRules) -> Outcome:
    return Lease(state=LeaseState.OWNER, why=event.why, detail=event.detail, since_s=now_s), []


def _still_owner(
    lease: Lease, event: OwnerWorks | Withheld, _now_s: float, _: LeaseRules
) -> Outcome:
    return replace(lease, why=event.why, detail=event.detail), []


def _to_quiet(lease: Lease, _event: Clear, now_s: float, _: LeaseRules) -> Outcome:
    return replace(lease, state=LeaseState.QUIET, since_s=now_s), []


def _on_quiet(lease: Lease, _event: Clear, now_s: float, rules: LeaseRules) -> Outcome:
    if now_s - lease.looked_s > rules.look_gap_s_max:
        # Nobody looked, so nobody knows.
        return replace(lease, since_s=now_s), []
    if now_s - lease.since_s < rules.hold_s:
        return lease, []
    return replace(lease, state=LeaseState.LEASED, since_s=now_s), [Grant()]


def _to_preempting(
    _lease: Lease, event: OwnerWorks | Withheld, now_s: float, _: LeaseRules
) -> Outcome:
    after = Lease(state=LeaseState.PREEMPTING, why=event.why, detail=event.detail, since_s=now_s)
    return after, [Preempt(event.why)]


def _still_preempting(lease: Lease, _event: Event, now_s: float, rules: LeaseRules) -> Outcome:
    # Also when the owner has gone again: an engine that is half out serves nobody.
    if lease.is_overdue or now_s - lease.since_s < rules.release_s_max:
        return lease, []
    return replace(lease, is_overdue=True), [Alarm()]


def _released(lease: Lease, _event: Released, now_s: float, _: LeaseRules) -> Outcome:
    return replace(lease, state=LeaseState.OWNER, since_s=now_s, is_overdue=False), []


def _same(lease: Lease, _event: Event, _now_s: float, _: LeaseRules) -> Outcome:
    return lease, []


_Handler = Callable[[Lease, Any, float, LeaseRules], Outcome]

_TABLE: dict[tuple[LeaseState, type[Event]], _Handler] = {
    (LeaseState.OWNER, OwnerWorks): _still_owner,
    (LeaseState.OWNER, Withheld): _still_owner,
    (LeaseState.OWNER, Clear): _to_quiet,
    (LeaseState.OWNER, Released): _same,
    (LeaseState.QUIET, OwnerWorks): _to_owner,
    (LeaseState.QUIET, Withheld): _to_owner,
    (LeaseState.QUIET, Clear): _on_quiet,
    (LeaseState.QUIET, Released): _same,
    (LeaseState.LEASED, OwnerWorks): _to_preempting,
    (LeaseState.LEASED, Withheld): _to_preempting,
    (LeaseState.LEASED, Clear): _same,
    (LeaseState.LEASED, Released): _same,
    (LeaseState.PREEMPTING, OwnerWorks): _still_preempting,
    (LeaseState.PREEMPTING, Withheld): _still_preempting,
    (LeaseState.PREEMPTING, Clear): _still_preempting,
    (LeaseState.PREEMPTING, Released): _released,
}
