"""What units cost. Every rounding is up and happens once per reading."""

from __future__ import annotations

from typing import NamedTuple

from rowen.protocol.errors import PeerError
from rowen.protocol.statements import Order

PRICE_UNITS = 1_000_000


class Reading(NamedTuple):
    """Units since a job began.

    Attributes:
        input_units: Prompt tokens, cached ones included.
        cached_units: Of these, from the engine's cache.
        output_units: Answer tokens delivered.
    """

    input_units: int
    cached_units: int
    output_units: int


NOTHING = Reading(0, 0, 0)


def cost(order: Order, reading: Reading) -> int:
    """Price of a job at this reading, in token units, rounded up.

    Raises:
        PeerError: More cached than input units.
    """
    if reading.cached_units > reading.input_units:
        raise PeerError(
            f"{reading.cached_units} cached units exceed {reading.input_units} input units"
        )
    units_price = (
        (reading.input_units - reading.cached_units) * order.price_input
        + reading.cached_units * order.price_cached
        + reading.output_units * order.price_output
    )
    # Round up: a job shorter than the price's resolution must not be free.
    return order.price_request + -(-units_price // PRICE_UNITS)


def output_units_affordable(order: Order, input_units: int) -> int:
    """Most output units whose cost stays within ``amount_max``, were no input cached.

    Also at most ``output_units_max``; 0 when the input alone exceeds the maximum.
    """
    spare = (order.amount_max - order.price_request) * PRICE_UNITS
    spare -= input_units * max(order.price_input, order.price_cached)
    if spare < 0:
        return 0
    if order.price_output == 0:
        return order.output_units_max
    return min(order.output_units_max, spare // order.price_output)
