"""The clock on the owner's wall: where an instant falls in the owner's day and week."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rowen.protocol.errors import UserError

YEAR_MIN, YEAR_MAX = 1970, 9000


def zone_of(name: str) -> tzinfo:
    """A time zone by its name in the IANA database, such as ``Europe/Berlin``, or ``UTC``.

    Raises:
        UserError: There is none of that name on this machine.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UserError(
            f"[provider] timezone {name!r} is not known here: write it as 'Europe/Berlin' or 'UTC',"
            " and install the system's tzdata package if it is missing"
        ) from error


def minute_of_week(at_ms: int, zone: tzinfo) -> int:
    """Minutes since Monday 00:00 as the wall's clock shows them, 0 to 10,079."""
    local = datetime.fromtimestamp(at_ms / 1000, zone)
    return (local.weekday() * 24 + local.hour) * 60 + local.minute


def day_of(at_ms: int, zone: tzinfo) -> date:
    """The date on the wall."""
    return datetime.fromtimestamp(at_ms / 1000, zone).date()


def day_starts_ms(day: date, zone: tzinfo) -> int:
    """When that day begins there, Unix milliseconds."""
    return round(datetime.combine(day, time.min, zone).timestamp() * 1000)


def parse_day(text: str) -> date:
    """A date such as ``2026-11-22``.

    Raises:
        UserError: It is none.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{text!r} is not a date such as 2026-11-22") from error
    # Calendars end, and a zone's clock may be a day beyond either end.
    if not YEAR_MIN <= day.year <= YEAR_MAX:
        raise UserError(f"{text} is not in the years {YEAR_MIN} to {YEAR_MAX}")
    return day


def day_after(day: date) -> date:
    """The next one."""
    return day + timedelta(days=1)
