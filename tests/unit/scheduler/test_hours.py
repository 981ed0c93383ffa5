"""An owner's hours, by the clock on the wall."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen_scheduler.hours import DAY_MINUTES, DAYS, WEEK_MINUTES, Hours, parse_hours


def at(day: str, clock: str) -> int:
    hour, minute = map(int, clock.split(":"))
    return DAYS.index(day) * DAY_MINUTES + hour * 60 + minute


@pytest.mark.parametrize(
    ("text", "open_at", "closed_at"),
    [
        ("08:00-18:00", [("wed", "08:00"), ("sun", "17:59")], [("wed", "18:00")]),
        ("22:00-07:00", [("mon", "23:00"), ("tue", "06:59")], [("tue", "07:00")]),
        ("mon-fri 18:00-08:00", [("fri", "18:00"), ("sat", "07:59")], [("sat", "18:00")]),
        ("sun 20:00-10:00", [("sun", "20:00"), ("mon", "09:59")], [("mon", "10:00")]),
        ("sat-mon 01:00-02:00", [("sat", "01:00"), ("mon", "01:59")], [("tue", "01:00")]),
        ("wed 00:00-24:00", [("wed", "00:00"), ("wed", "23:59")], [("thu", "00:00")]),
        ("thu 9:30-9:30", [("thu", "09:30"), ("fri", "09:29")], [("fri", "09:30")]),
    ],
)
def test_a_window_is_open_from_its_begin_to_its_end(
    text: str, open_at: list[tuple[str, str]], closed_at: list[tuple[str, str]]
) -> None:
    hours = parse_hours((text,))
    assert all(hours.is_open(at(*when)) for when in open_at)
    assert not any(hours.is_open(at(*when)) for when in closed_at)


def test_no_window_is_always() -> None:
    assert all(Hours().is_open(minute) for minute in range(WEEK_MINUTES))


@pytest.mark.parametrize(
    "text", ["", "8-18", "mon", "moo 08:00-18:00", "08:60-09:00", "25:00-26:00", "24:00-08:00"]
)
def test_what_is_no_window_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"window|there is no"):
        parse_hours((text,))


minutes = st.integers(0, WEEK_MINUTES - 1)


@given(st.lists(st.tuples(minutes, st.integers(1, DAY_MINUTES)), min_size=1, max_size=4), minutes)
def test_the_wait_ends_when_a_window_opens(spans: list[tuple[int, int]], minute: int) -> None:
    """Minute by minute, against what is computed."""
    hours = Hours(tuple((begin, begin + length) for begin, length in spans))
    wait = hours.minutes_until_open(minute)
    assert hours.is_open((minute + wait) % WEEK_MINUTES)
    assert not any(hours.is_open((minute + n) % WEEK_MINUTES) for n in range(wait))
