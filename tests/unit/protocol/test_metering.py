"""What units cost; every rounding is up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.oracle import price
from tests.unit.protocol.build import order

from rowen.protocol.errors import PeerError
from rowen.protocol.metering import Reading, cost, output_units_affordable

PRICES = st.integers(0, 2**96 - 1) | st.integers(0, 3_000_000)
UNITS = st.integers(0, 2**32 - 1) | st.integers(0, 500)


@pytest.mark.parametrize(
    ("price_output", "units", "expected"),
    [(1, 0, 0), (1, 1, 1), (1, 999_999, 1), (1, 1_000_000, 1), (1, 1_000_001, 2), (10**6, 3, 3)],
)
def test_a_part_of_a_token_unit_is_a_whole_one(
    price_output: int, units: int, expected: int
) -> None:
    """Round up: a job shorter than the price's resolution must not be free."""
    assert cost(order(price_output=price_output), Reading(0, 0, units)) == expected


def test_input_cached_and_output_are_rounded_together() -> None:
    """Once per reading: three thirds are one, not three."""
    thirds = order(price_input=333_333, price_cached=333_333, price_output=333_333)
    assert cost(thirds, Reading(2, 1, 1)) == 1


def test_more_cached_than_input_units_are_refused() -> None:
    with pytest.raises(PeerError, match="cached"):
        cost(order(), Reading(3, 4, 0))


@given(st.tuples(PRICES, PRICES, PRICES, PRICES), UNITS, UNITS, UNITS)
def test_cost_is_the_exact_price_rounded_up(
    prices: tuple[int, int, int, int], input_units: int, cached_units: int, output_units: int
) -> None:
    names = ("price_input", "price_cached", "price_output", "price_request")
    ordered = order(**dict(zip(names, prices, strict=True)))
    cached_units = min(cached_units, input_units)
    reading = Reading(input_units, cached_units, output_units)
    assert cost(ordered, reading) == price(ordered, *reading)


@given(
    st.tuples(PRICES, PRICES, PRICES, PRICES),
    st.integers(0, 2**96 - 1) | st.integers(0, 5_000),
    st.integers(0, 2**32 - 1) | st.integers(0, 300),
    UNITS,
)
def test_what_is_affordable_is_the_most_that_stays_within_the_maximum(
    prices: tuple[int, int, int, int], amount_max: int, output_units_max: int, input_units: int
) -> None:
    """P3: the cap holds however much of the input turns out to be cached."""
    names = ("price_input", "price_cached", "price_output", "price_request")
    ordered = order(
        **dict(zip(names, prices, strict=True)),
        amount_max=amount_max,
        output_units_max=output_units_max,
    )
    units = output_units_affordable(ordered, input_units)
    worst = max(price(ordered, input_units, cached, units) for cached in (0, input_units))
    assert 0 <= units <= output_units_max
    assert units == 0 or worst <= amount_max
    if units < output_units_max:
        one_more = max(price(ordered, input_units, c, units + 1) for c in (0, input_units))
        assert one_more > amount_max
