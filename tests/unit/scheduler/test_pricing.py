"""What a token must cost, and does: by table and for all numbers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen_scheduler.hours import WEEK_MINUTES
from rowen_scheduler.pricing import (
    Costs,
    Floor,
    Pin,
    PricePlan,
    Prices,
    Shortfall,
    Span,
    Standing,
    floor_of,
    honoured,
    in_tokens,
    lowest_percent,
    parse_bands,
    percent_at,
    shortfalls,
    stated_mj,
)

SECOND_US = 1_000_000
DOLLAR = 1_000_000
HOUR, DAY = 60, 24 * 60
BASE = Prices(input=50_000, cached=20_000, output=200_000, request=7)
# 100 tokens in 2 s with 300 J: 3 J and 20 ms a token.
SPAN = Span(units=100, elapsed_us=2 * SECOND_US, energy_mj=300_000)


@pytest.mark.parametrize(
    ("span", "costs", "expected"),
    [
        pytest.param(SPAN, Costs(), Floor(energy=0, wear=0, price=0), id="nothing costs anything"),
        # 3 J × 1 M = 3 MJ = 0.8333 kWh at $0.30.
        pytest.param(
            SPAN,
            Costs(kwh=300_000),
            Floor(energy=250_000, wear=0, price=250_000),
            id="electricity alone",
        ),
        # 20,000 s = 5.5556 h at $0.09.
        pytest.param(
            SPAN,
            Costs(wear_hour=90_000),
            Floor(energy=0, wear=500_000, price=500_000),
            id="wear alone",
        ),
        pytest.param(
            SPAN,
            Costs(kwh=300_000, wear_hour=90_000, margin_percent=20),
            Floor(energy=250_000, wear=500_000, price=900_000),
            id="all, and a margin on both",
        ),
        pytest.param(
            Span(units=100, elapsed_us=2 * SECOND_US),
            Costs(kwh=300_000, wear_hour=90_000),
            Floor(energy=None, wear=500_000, price=500_000),
            id="no energy was measured, and none is made up",
        ),
        pytest.param(
            Span(units=3, elapsed_us=1, energy_mj=1),
            Costs(kwh=1, wear_hour=1),
            Floor(energy=1, wear=1, price=1),
            id="rounded up once, not by parts",
        ),
    ],
)
def test_a_floor_is_energy_and_wear_and_margin(span: Span, costs: Costs, expected: Floor) -> None:
    assert floor_of(span, costs) == expected


def test_a_span_in_which_nothing_was_done_has_no_floor() -> None:
    with pytest.raises(ValueError, match="without units"):
        floor_of(Span(units=0, elapsed_us=1), Costs())


def test_watts_that_an_owner_states_become_joules() -> None:
    """Rounded up: 1 W for 1 µs is a microjoule, and counts as a millijoule."""
    assert stated_mj(350, 2 * SECOND_US) == 700_000
    assert stated_mj(1, 1) == 1
    assert stated_mj(0, SECOND_US) == 0


AMOUNT = st.integers(0, 10**9)


@given(
    st.integers(1, 10**6), st.integers(1, 10**10), st.integers(0, 10**10), AMOUNT, AMOUNT,
    st.integers(0, 500),
)  # fmt: skip
def test_a_seller_at_the_floor_never_pays_to_sell(
    units: int, elapsed_us: int, energy_mj: int, kwh: int, wear: int, margin: int
) -> None:
    """Exactly: the price of the measured work covers its electricity and wear, margin included."""
    span = Span(units=units, elapsed_us=elapsed_us, energy_mj=energy_mj)
    floor = floor_of(span, Costs(kwh=kwh, wear_hour=wear, margin_percent=margin))
    earned = Fraction(floor.price * units, 1_000_000)
    cost = Fraction(energy_mj * kwh + elapsed_us * wear, 3_600_000_000)
    assert earned >= cost * Fraction(100 + margin, 100)
    # And it is the least such price.
    least = Fraction((floor.price - 1) * units, 1_000_000)
    assert floor.price == 0 or least < cost * Fraction(100 + margin, 100)


def test_a_price_below_its_floor_is_named() -> None:
    assert shortfalls(BASE, 50_000, 200_000) == []
    assert shortfalls(BASE, 50_001, 300_000) == [
        Shortfall("input", 50_000, 50_001),
        Shortfall("output", 200_000, 300_000),
    ]


NIGHT_AND_WEEKEND = parse_bands(("22:00-06:00 70%", "sat-sun 00:00-24:00 85 %"))


@pytest.mark.parametrize(
    ("minute", "expected"),
    [
        (0, 70),
        (6 * HOUR - 1, 70),
        (6 * HOUR, 100),
        (22 * HOUR - 1, 100),
        (22 * HOUR, 70),
        (5 * DAY + 12 * HOUR, 85),
        (5 * DAY + 23 * HOUR, 70),
        (WEEK_MINUTES - 1, 70),
    ],
)
def test_hours_have_prices_and_the_first_band_that_fits_decides(minute: int, expected: int) -> None:
    assert percent_at(NIGHT_AND_WEEKEND, minute) == expected


def test_hours_may_be_dearer_and_no_bands_change_nothing() -> None:
    assert percent_at((), 5) == 100
    assert lowest_percent(()) == 100
    assert lowest_percent(NIGHT_AND_WEEKEND) == 70
    (evening,) = parse_bands(("17:00-21:00 150%",))
    assert percent_at((evening,), 18 * HOUR) == 150
    assert lowest_percent((evening,)) == 100


@pytest.mark.parametrize(
    "text", ["", "22:00-06:00", "70%", "22:00-06:00 0%", "25:00-26:00 70%", "22-06 70%", "x 1001%"]
)
def test_a_band_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"%|there is no|no window|no band"):
        parse_bands((text,))


def test_dollars_become_tokens_at_the_owners_rate() -> None:
    """Rounded up; one token to a dollar changes nothing."""
    assert in_tokens(BASE, Pin(DOLLAR)) == BASE
    assert in_tokens(BASE, Pin(2 * DOLLAR)) == Prices(
        input=25_000, cached=10_000, output=100_000, request=4
    )
    assert in_tokens(BASE, Pin(999_700)).output == 200_061


def test_a_rate_that_has_expired_prices_nothing() -> None:
    """A guess at what a token is worth would be somebody's loss."""
    plan = PricePlan(base=BASE, bands=NIGHT_AND_WEEKEND, pin=Pin(DOLLAR, until_ms=1_000))
    at_night = plan.at(0, 999)
    assert at_night == Prices(input=35_000, cached=14_000, output=140_000, request=5)
    assert plan.lowest() == at_night
    assert plan.at(0, 1_000) is None


CHEAP = Prices(input=1, cached=1, output=9, request=0)
DEAR = Prices(input=5, cached=1, output=2, request=3)


@pytest.mark.parametrize(
    ("now_ms", "expected", "left"),
    [
        (0, Prices(input=1, cached=1, output=2, request=0), 2),
        (99, Prices(input=1, cached=1, output=2, request=0), 2),
        (100, DEAR, 1),
        (200, None, 0),
    ],
)
def test_a_signed_offer_stands_until_it_expires(
    now_ms: int, expected: Prices | None, left: int
) -> None:
    """An order is judged by what was promised: a price that rose meanwhile refuses nobody."""
    standing = [Standing(CHEAP, 100), Standing(DEAR, 200)]
    least, kept = honoured(standing, now_ms)
    assert least == expected
    assert len(kept) == left


def test_an_order_on_its_way_when_the_offer_expires_is_still_honoured() -> None:
    assert honoured([Standing(CHEAP, 100)], 109, grace_ms=10)[0] == CHEAP
    assert honoured([Standing(CHEAP, 100)], 110, grace_ms=10) == (None, ())
