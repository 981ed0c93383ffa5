"""The hours in which an owner lends a GPU, by the clock on the wall.

The wall decides, as it does for the owner. When clocks go back, the hour that comes twice counts
both times; when they go forward, the hour that is left out is left out here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES

_WINDOW = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?"
    r"(?P<begin>\d{1,2}:\d{2})-(?P<end>\d{1,2}:\d{2})"
)


@dataclass(frozen=True, slots=True)
class Hours:
    """When a GPU may be leased.

    Attributes:
        windows: Minutes of the week, from Monday 00:00: begin and end, end excluded. One that
            begins late on Sunday ends after ``WEEK_MINUTES``. None at all means always.
    """

    windows: tuple[tuple[int, int], ...] = ()

    def is_open(self, minute: int) -> bool:
        """Whether this minute of the week (0 is Monday 00:00) is in a window."""
        if not self.windows:
            return True
        return any(
            begin <= minute < end or begin <= minute + WEEK_MINUTES < end
            for begin, end in self.windows
        )

    def minutes_until_open(self, minute: int) -> int:
        """How long until a window begins, 0 inside of one; a change of the clocks not counted."""
        if self.is_open(minute):
            return 0
        return min((begin - minute) % WEEK_MINUTES for begin, _ in self.windows)


def parse_hours(texts: tuple[str, ...]) -> Hours:
    """Reads windows such as ``22:00-07:00``, ``mon-fri 18:00-08:00``, ``sun 00:00-24:00``.

    A window that ends at or before its begin ends on the next day. A range of days may go round
    the end of the week (``sat-mon``).

    Raises:
        ValueError: A text is no window; the message shows how one looks.
    """
    found: list[tuple[int, int]] = []
    for text in texts:
        told = _WINDOW.fullmatch(text.strip().lower())
        if told is None:
            raise ValueError(f"{text!r} is no window: write it as 'mon-fri 18:00-08:00'")
        begin, end = _minute(told["begin"], text), _minute(told["end"], text)
        if begin == DAY_MINUTES:
            raise ValueError(f"{text!r}: a window begins at 23:59 at the latest")
        if end <= begin:
            end += DAY_MINUTES
        for day in _days(told["first"], told["last"], text):
            found.append((day * DAY_MINUTES + begin, day * DAY_MINUTES + end))
    return Hours(tuple(sorted(found)))


def _minute(clock: str, text: str) -> int:
    hour, minute = map(int, clock.split(":"))
    if minute > 59 or hour * 60 + minute > DAY_MINUTES:
        raise ValueError(f"{text!r}: there is no {clock}")
    return hour * 60 + minute


def _days(first: str | None, last: str | None, text: str) -> list[int]:
    if first is None:
        return list(range(7))
    for day in (first, last):
        if day is not None and day not in DAYS:
            raise ValueError(f"{text!r}: there is no {day!r}; days are {', '.join(DAYS)}")
    begin = DAYS.index(first)
    count = (DAYS.index(last or first) - begin) % 7 + 1
    return [(begin + offset) % 7 for offset in range(count)]
