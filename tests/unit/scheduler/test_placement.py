"""The lease's table: one line for each (state, event), with what it leads to."""

from dataclasses import replace
from pathlib import Path

import pytest

from rowen_scheduler import placement
from rowen_scheduler.placement import (
    EVENTS,
    Alarm,
    Clear,
    Event,
    Grant,
    Lease,
    LeaseRules,
    LeaseState,
    OwnerWorks,
    Preempt,
    Released,
    Why,
    Withheld,
    step,
    wait_s,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "gpus.md"
RULES = LeaseRules(hold_s=60, look_gap_s_max=5, release_s_max=4)
NOW_S = 1000.0

OWNER, QUIET, LEASED, PREEMPTING = LeaseState

WORKS = OwnerWorks(Why.TRANSCODE, "seen")
HELD = Withheld(Why.PAUSED, "told")


def lease(state: LeaseState, *, for_s: float = 1.0, looked_s_ago: float = 1.0) -> Lease:
    return Lease(state=state, why=Why.COMPUTE, since_s=NOW_S - for_s, looked_s=NOW_S - looked_s_ago)


# What the page about GPUs prints: what it says in words is decided by the tests below.
TABLE: dict[tuple[LeaseState, type[Event]], str] = {
    (OWNER, OwnerWorks): "stays, with the new reason",
    (OWNER, Withheld): "stays, with the new reason",
    (OWNER, Clear): "→ QUIET",
    (OWNER, Released): "ignored",
    (QUIET, OwnerWorks): "→ OWNER",
    (QUIET, Withheld): "→ OWNER",
    (QUIET, Clear): "→ LEASED: take jobs, after `hold_s` of it; begins anew if looks were missed",
    (QUIET, Released): "ignored",
    (LEASED, OwnerWorks): "→ PREEMPTING: end jobs, release memory",
    (LEASED, Withheld): "→ PREEMPTING: end jobs, release memory",
    (LEASED, Clear): "stays",
    (LEASED, Released): "ignored",
    (PREEMPTING, OwnerWorks): "stays; alarm after `release_s_max`",
    (PREEMPTING, Withheld): "stays; alarm after `release_s_max`",
    (PREEMPTING, Clear): "stays; alarm after `release_s_max`",
    (PREEMPTING, Released): "→ OWNER",
}

EXAMPLES: dict[type[Event], Event] = {
    OwnerWorks: WORKS,
    Withheld: HELD,
    Clear: Clear(),
    Released: Released(),
}


def printed() -> str:
    """The table as the page shows it."""
    head = ["event", *(f"**{state.name}**" for state in LeaseState)]
    rows = [[kind.__name__, *(TABLE[state, kind] for state in LeaseState)] for kind in EVENTS]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def test_every_pair_is_decided() -> None:
    pairs = {(state, kind) for state in LeaseState for kind in EVENTS}
    assert set(placement._TABLE) == set(TABLE) == pairs


def test_the_page_prints_it() -> None:
    assert printed() in DOCUMENT.read_text()


@pytest.mark.parametrize(("state", "kind"), TABLE)
def test_a_pair_leads_where_the_table_says(state: LeaseState, kind: type[Event]) -> None:
    """After so long that whatever waits is over."""
    before = lease(state, for_s=61)
    after, effects = step(before, EXAMPLES[kind], NOW_S, RULES)
    told, _, does = TABLE[state, kind].partition(": ")
    if told.startswith("→"):
        assert after.state.name == told.removeprefix("→ ")
        assert after.since_s == NOW_S
        names = {"take jobs": Grant, "end jobs": Preempt}
        assert [type(e) for e in effects] == [names[n] for n in names if does.startswith(n)]
    else:
        assert after.state is state
        assert after.since_s == before.since_s
        assert effects == ([Alarm()] if "alarm" in told else [])
    if isinstance(EXAMPLES[kind], OwnerWorks | Withheld) and state is not PREEMPTING:
        assert after.why is EXAMPLES[kind].why
        assert after.detail


@pytest.mark.parametrize(("state", "kind"), TABLE)
def test_only_a_look_is_a_look(state: LeaseState, kind: type[Event]) -> None:
    after, _ = step(lease(state), EXAMPLES[kind], NOW_S, RULES)
    assert after.looked_s == (NOW_S - 1 if kind is Released else NOW_S)


def test_quiet_is_held_before_it_is_a_lease() -> None:
    for for_s, state in ((0.0, QUIET), (59.9, QUIET), (60.0, LEASED)):
        after, effects = step(lease(QUIET, for_s=for_s), Clear(), NOW_S, RULES)
        assert after.state is state
        assert effects == ([Grant()] if state is LEASED else [])


def test_quiet_that_nobody_saw_does_not_count() -> None:
    """A node that slept for an hour knows nothing of that hour."""
    after, effects = step(lease(QUIET, for_s=3600, looked_s_ago=5.1), Clear(), NOW_S, RULES)
    assert (after.state, after.since_s, effects) == (QUIET, NOW_S, [])


def test_a_gap_of_three_seconds_between_segments_does_not_free_it() -> None:
    now = Lease()
    for second in range(300):
        event: Event = Clear() if second % 10 >= 7 else WORKS
        now, effects = step(now, event, float(second), RULES)
        assert not effects
        assert now.state in (OWNER, QUIET)


def test_engines_that_do_not_leave_raise_one_alarm() -> None:
    now, effects = step(lease(LEASED), WORKS, NOW_S, RULES)
    assert effects == [Preempt(Why.TRANSCODE)]
    told = []
    for second in range(1, 10):
        now, effects = step(now, Clear(), NOW_S + second, RULES)
        told.append(effects)
    assert told == [[], [], [], [Alarm()], [], [], [], [], []]
    now, _ = step(now, Released(), NOW_S + 10, RULES)
    assert (now.state, now.is_overdue, now.why) == (OWNER, False, Why.TRANSCODE)


def test_a_new_lease_is_its_owners() -> None:
    """A node that was just started has seen nothing yet."""
    assert (Lease().state, Lease().why) == (OWNER, Why.STARTING)


def test_it_says_how_long_a_client_should_wait() -> None:
    assert wait_s(lease(OWNER), NOW_S, RULES) == 60
    assert wait_s(lease(QUIET, for_s=45), NOW_S, RULES) == 15
    assert wait_s(lease(LEASED), NOW_S, RULES) == 0
    assert wait_s(replace(lease(PREEMPTING), is_overdue=True), NOW_S, RULES) == 60
