"""Days and hours as the owner's wall shows them, through changes of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from rowen.protocol.errors import UserError
from rowen.provider.wall import day_after, day_of, day_starts_ms, minute_of_week, parse_day, zone_of

BERLIN = zone_of("Europe/Berlin")
HOUR_MS = 3_600_000


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        # Sunday 2026-10-25: 03:00 summer time is 02:00 again.
        ("2026-10-25T00:30", (6 * 24 + 2) * 60 + 30),
        ("2026-10-25T01:30", (6 * 24 + 2) * 60 + 30),
        ("2026-10-25T02:30", (6 * 24 + 3) * 60 + 30),
        # Sunday 2026-03-29: 02:00 becomes 03:00.
        ("2026-03-29T00:59", (6 * 24 + 1) * 60 + 59),
        ("2026-03-29T01:00", (6 * 24 + 3) * 60),
        ("2026-11-22T23:00", 0),
    ],
)
def test_an_hour_that_comes_twice_counts_twice_and_one_left_out_never(
    instant: str, expected: int
) -> None:
    assert minute_of_week(at(instant), BERLIN) == expected


def test_a_day_may_have_23_or_25_hours() -> None:
    """It starts and ends when the wall says so, and no instant is in two of them."""
    for text, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-22", 24)):
        day = parse_day(text)
        start, end = day_starts_ms(day, BERLIN), day_starts_ms(day_after(day), BERLIN)
        assert end - start == hours * HOUR_MS
        assert day_of(start, BERLIN) == day_of(end - 1, BERLIN) == day
        assert day_of(end, BERLIN) == day_after(day)


def test_the_same_instant_has_another_date_elsewhere() -> None:
    instant = at("2026-11-22T23:30")
    assert day_of(instant, zone_of("UTC")) == date(2026, 11, 22)
    assert day_of(instant, BERLIN) == date(2026, 11, 23)


@pytest.mark.parametrize("name", ["Berlin", "Mars/Olympus", "../etc/passwd", ""])
def test_a_zone_that_is_none_is_said_with_what_to_write(name: str) -> None:
    with pytest.raises(UserError, match="Europe/Berlin"):
        zone_of(name)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", ""])
def test_a_date_that_is_none_is_said(text: str) -> None:
    with pytest.raises(UserError, match="2026-11-22"):
        parse_day(text)
