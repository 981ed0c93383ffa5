"""Who runs, who waits, who is turned away; threats 49 and 50."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen_scheduler.admission import (
    RETRY_MS_MAX,
    RETRY_MS_MIN,
    SERVED_MAX,
    Entry,
    Full,
    Limits,
    Line,
    Load,
    Turned,
    arrive,
    leave,
)

LIMITS = Limits(places=2, waiting_max=3, waiting_per_client_max=2, jobs_max=99, bytes_max=1_000_000)


def entry(number: int, client: str = "a", size_bytes: int = 10) -> Entry:
    return Entry(number.to_bytes(4, "big"), client.encode(), size_bytes)


class House:
    """A line with the bookkeeping that its shell does."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.line = Line()
        self.load = Load()
        self.sizes: dict[bytes, int] = {}
        self.now_ms = 0

    def arrive(self, job: Entry) -> bool | Turned:
        self.line, verdict = arrive(self.line, job, self.limits, self.load, self.now_ms)
        if not isinstance(verdict, Turned):
            self.sizes[job.job] = job.size_bytes
            self._count()
        return verdict

    def leave(self, job: Entry) -> list[int]:
        self.line, started = leave(self.line, job.job, self.limits, self.now_ms)
        del self.sizes[job.job]
        self._count()
        return [int.from_bytes(job, "big") for job in started]

    def _count(self) -> None:
        self.load = Load(len(self.sizes), sum(self.sizes.values()))


def test_a_free_place_is_taken_at_once_and_the_rest_wait_in_turn() -> None:
    house = House()
    assert [house.arrive(entry(number, str(number))) for number in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert house.leave(entry(1)) == [2]
    assert house.leave(entry(0)) == [3]


def test_a_client_with_many_jobs_does_not_starve_one_with_few() -> None:
    """Of those who wait, the one with the fewest places goes first, though it came last."""
    house = House(replace(LIMITS, waiting_per_client_max=3))
    for number in range(4):
        house.arrive(entry(number, "many"))
    assert house.arrive(entry(9, "few")) is False
    assert house.leave(entry(0)) == [9]


def test_clients_take_turns_at_a_single_place() -> None:
    """Also those that come back at once after each job: leaving the line does not jump it."""
    house = House(replace(LIMITS, places=1, waiting_max=9))
    house.arrive(entry(0, "a"))
    turns = []
    for number, client in enumerate("aabc", 1):
        house.arrive(entry(number, client))
    clients = dict(enumerate("aaabc"))
    running = 0
    for number in range(5, 11):
        (started,) = house.leave(entry(running))
        turns.append(clients[started])
        # Whoever was served is back in the line before the next place comes free.
        clients[number] = clients[started]
        house.arrive(entry(number, clients[started]))
        running = started
    assert turns == ["b", "c", "a", "b", "c", "a"]


def test_turns_are_remembered_of_so_many_clients() -> None:
    house = House(replace(LIMITS, places=10**6, jobs_max=10**6))
    for number in range(2 * SERVED_MAX):
        house.arrive(entry(number, str(number)))
    assert len(house.line.served) == SERVED_MAX


@pytest.mark.parametrize(
    ("limits", "job", "full"),
    [
        (replace(LIMITS, jobs_max=3), entry(9, "z"), Full.JOBS),
        (LIMITS, entry(9, "z", 999_980), Full.MEMORY),
        (replace(LIMITS, waiting_max=1), entry(9, "z"), Full.LINE),
        (replace(LIMITS, waiting_per_client_max=1), entry(9, "c"), Full.SHARE),
    ],
)
def test_beyond_a_bound_a_job_is_told_which_and_when_to_ask_again(
    limits: Limits, job: Entry, full: Full
) -> None:
    house = House(limits)
    for number, client in enumerate("abc"):
        house.arrive(entry(number, client))
    before = house.line
    turned = house.arrive(job)
    assert isinstance(turned, Turned)
    assert turned.full is full
    assert turned.count == turned.most + 1 or full is Full.MEMORY
    assert RETRY_MS_MIN <= turned.retry_ms <= RETRY_MS_MAX
    assert house.line == before


def test_the_time_to_ask_again_follows_from_how_long_jobs_take() -> None:
    house = House(replace(LIMITS, places=1, waiting_max=1))
    house.arrive(entry(0))
    house.now_ms = 8_000
    house.leave(entry(0))
    house.arrive(entry(1))
    house.arrive(entry(2))
    turned = house.arrive(entry(3))
    assert isinstance(turned, Turned)
    assert turned.retry_ms == 16_000


def test_whoever_gives_up_waiting_leaves_no_gap() -> None:
    house = House()
    for number in range(4):
        house.arrive(entry(number, str(number)))
    assert house.leave(entry(2)) == []
    assert house.leave(entry(0)) == [3]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 30), st.sampled_from("abc"), st.integers(0, 400)),
        max_size=60,
    )
)
def test_no_bound_is_ever_passed_and_no_place_stays_empty(
    moves: list[tuple[bool, int, str, int]],
) -> None:
    """Whatever comes and goes in whatever order."""
    limits = replace(LIMITS, jobs_max=4, bytes_max=900)
    house = House(limits)
    here: dict[int, Entry] = {}
    for is_arrival, number, client, size_bytes in moves:
        house.now_ms += 10
        if is_arrival and number not in here:
            job = entry(number, client, size_bytes)
            if not isinstance(house.arrive(job), Turned):
                here[number] = job
        elif not is_arrival and number in here:
            house.leave(here.pop(number))
        line = house.line
        assert {*line.running, *(e.job for e in line.waiting)} == {e.job for e in here.values()}
        assert len(line.running) == min(limits.places, len(here))
        assert len(line.waiting) <= limits.waiting_max
        assert len(here) <= limits.jobs_max
        assert sum(e.size_bytes for e in here.values()) <= limits.bytes_max
        shares = Counter(e.client for e in line.waiting)
        assert max(shares.values(), default=0) <= limits.waiting_per_client_max
