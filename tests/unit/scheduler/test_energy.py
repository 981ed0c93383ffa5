"""Whose energy it was, in whole millijoules that add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen_scheduler.energy import Interval, attribute, divide

JOBS = [bytes([n]) * 32 for n in range(6)]

intervals = st.builds(
    Interval,
    energy_mj=st.integers(0, 10**9),
    duration_ms=st.integers(1, 3_600_000),
    idle_mw=st.integers(0, 700_000),
    foreign_percent=st.integers(0, 400),
    own_percent=st.integers(0, 400),
    job_to_weight=st.dictionaries(st.sampled_from(JOBS), st.integers(0, 10**6)),
)


@given(intervals)
def test_the_parts_add_up_to_the_counter_exactly(interval: Interval) -> None:
    shares = attribute(interval)
    assert shares.total_mj == interval.energy_mj
    assert min(shares.idle_mj, shares.foreign_mj, *shares.job_to_mj.values(), 0) == 0
    assert shares.job_to_mj.keys() == interval.job_to_weight.keys()


@given(intervals)
def test_whoever_did_nothing_is_charged_nothing(interval: Interval) -> None:
    shares = attribute(interval)
    if interval.foreign_percent == 0:
        assert shares.foreign_mj == 0
    for job, weight in interval.job_to_weight.items():
        assert weight or shares.job_to_mj[job] == 0


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1).filter(any))
def test_a_share_differs_from_the_exact_one_by_less_than_one(amount: int, parts: list[int]) -> None:
    shares = divide(amount, parts)
    assert sum(shares) == amount
    for share, part in zip(shares, parts, strict=True):
        # In whole numbers: |share - amount * part / total| < 1.
        assert abs(share * sum(parts) - amount * part) < sum(parts)


def test_idling_comes_off_before_work_is_divided() -> None:
    """10 J in a second, 4 of them for being on; the owner kept it as busy as we did."""
    shares = attribute(
        Interval(
            energy_mj=10_000,
            duration_ms=1000,
            idle_mw=4000,
            foreign_percent=45,
            own_percent=45,
            job_to_weight={JOBS[0]: 2, JOBS[1]: 1, JOBS[2]: 0},
        )
    )
    assert (shares.idle_mj, shares.foreign_mj) == (4000, 3000)
    assert shares.job_to_mj == {JOBS[0]: 2000, JOBS[1]: 1000, JOBS[2]: 0}


def test_while_nobody_works_all_of_it_is_idle() -> None:
    shares = attribute(
        Interval(energy_mj=9000, duration_ms=1000, idle_mw=4000, job_to_weight={JOBS[0]: 0})
    )
    assert (shares.idle_mj, shares.foreign_mj, shares.job_to_mj) == (9000, 0, {JOBS[0]: 0})


def test_less_than_idling_is_idle() -> None:
    """A card that slept for a part of the interval drew less than it does when it is on."""
    shares = attribute(
        Interval(energy_mj=1000, duration_ms=1000, idle_mw=4000, job_to_weight={JOBS[0]: 1})
    )
    assert (shares.idle_mj, shares.job_to_mj) == (1000, {JOBS[0]: 0})


@pytest.mark.parametrize("amount", [0, 1, 2, 7])
def test_what_does_not_divide_goes_to_the_first_of_equals(amount: int) -> None:
    shares = divide(amount, [1, 1, 1])
    assert sum(shares) == amount
    assert shares == sorted(shares, reverse=True)
