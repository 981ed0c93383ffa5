"""The owner's rules, as they are written and as they are read."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from rowen.config import GpuConfig
from rowen.gpu.judging import MIB
from rowen.protocol.errors import UserError
from rowen.provider.policy import policy_of, wall_clock
from rowen_scheduler.hours import DAY_MINUTES, DAYS

SUNDAY = DAYS.index("sun") * DAY_MINUTES


def test_a_gpu_without_rules_of_its_own_has_the_general_ones() -> None:
    config = GpuConfig(reserve_mib=4096, vram_max_mib=20_000, hours=("22:00-07:00",))
    policy = policy_of(config, "GPU-1")
    assert policy.limits.reserve_bytes == 4096 * MIB
    assert policy.limits.own_bytes_max == 20_000 * MIB
    assert policy.hours.is_open(23 * 60)
    assert not policy.hours.is_open(12 * 60)
    assert policy_of(GpuConfig(), "GPU-1").limits.own_bytes_max is None


def test_what_is_said_of_one_gpu_is_not_said_of_the_others() -> None:
    config = GpuConfig(
        reserve_mib=1,
        overrides=(
            'GPU-1a reserve_mib=8192 hours="mon-fri 18:00-08:00, sat 00:00-24:00"',
            "GPU-1a ignore=Xorg,gnome-shell",
        ),
    )
    special, other = policy_of(config, "GPU-1a2b-3c"), policy_of(config, "GPU-2")
    assert special.limits.reserve_bytes == 8192 * MIB
    assert len(special.hours.windows) == 6
    assert special.ignore == ("Xorg", "gnome-shell")
    assert (other.limits.reserve_bytes, other.ignore) == (MIB, ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GPU-1",
        "GPU-1 reserve_mib",
        "GPU-1 reserve_mib=much",
        "GPU-1 hold_s=5",
        'GPU-1 hours="22:00-07:00',
    ],
)
def test_an_override_that_cannot_be_read_says_how_one_is_written(text: str) -> None:
    with pytest.raises(UserError, match=r"\[gpu\] overrides"):
        policy_of(GpuConfig(overrides=(text,)), "GPU-1")


def test_hours_that_cannot_be_read_are_named() -> None:
    with pytest.raises(UserError, match=r"\[gpu\] hours: 'at night'"):
        policy_of(GpuConfig(hours=("at night",)), "GPU-1")


def test_a_limit_of_nothing_is_not_taken_for_always() -> None:
    """0 % would see the owner at work on a card that is switched on."""
    limits = policy_of(GpuConfig(sm_percent=0, codec_percent=0), "GPU-1").limits
    assert (limits.sm_percent, limits.codec_percent) == (1, 1)


def minute_at(moment: datetime, timezone: str) -> int:
    return wall_clock(timezone, moment.timestamp)()


def test_the_hour_that_comes_twice_comes_twice() -> None:
    """Berlin, 25 October 2026: 02:30 is twice on the wall, and in the window both times."""
    zone = "Europe/Berlin"
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert minute_at(first, zone) == minute_at(second, zone) == SUNDAY + 2 * 60 + 30


def test_the_hour_that_is_left_out_is_left_out() -> None:
    """Berlin, 29 March 2026: after 01:59 comes 03:00."""
    zone = "Europe/Berlin"
    before = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)
    after = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert minute_at(before, zone) == SUNDAY + 1 * 60 + 59
    assert minute_at(after, zone) == SUNDAY + 3 * 60


def test_a_night_with_a_change_of_clocks_begins_and_ends_by_the_wall() -> None:
    """22:00 to 07:00 is ten hours long when clocks go back, and eight when they go forward."""
    hours = policy_of(GpuConfig(hours=("22:00-07:00",)), "GPU-1").hours
    zone = ZoneInfo("Europe/Berlin")
    for day, length in (((2026, 10, 24), 10), ((2026, 3, 28), 8), ((2026, 6, 1), 9)):
        begin = datetime(*day, 22, 0, tzinfo=zone).timestamp()
        minutes = 0
        while hours.is_open(wall_clock("Europe/Berlin", lambda: begin + minutes * 60)()):  # noqa: B023 - called at once
            minutes += 1
        assert minutes == length * 60


def test_a_time_zone_that_nobody_knows_is_named() -> None:
    for text in ("Berlin", "Europe/Atlantis", "../etc/passwd"):
        with pytest.raises(UserError, match="timezone"):
            wall_clock(text, lambda: 0.0)
