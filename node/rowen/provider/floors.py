"""Holds an owner's prices against what selling costs: before anything is sold, not after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import structlog

from rowen.config import Config
from rowen.home import Home
from rowen.protocol.amounts import format_usd
from rowen.protocol.errors import UserError
from rowen.provider.measurement import (
    Measurement,
    check_prices,
    floors_of,
    recall,
    recall_all,
    with_stated_watts,
)
from rowen.provider.stock import Ware
from rowen_scheduler.market import Variant
from rowen_scheduler.pricing import Costs, Prices, lowest_percent, parse_bands, shortfalls

log = structlog.get_logger("rowen.provider")

MARGIN_PERCENT_MAX = 1_000


def costs_of(config: Config) -> Costs:
    """What selling costs this owner.

    Raises:
        UserError: The margin is out of bounds.
    """
    costs = config.costs
    if costs.margin_percent > MARGIN_PERCENT_MAX:
        raise UserError(
            f"[costs] margin_percent is {costs.margin_percent}: at most {MARGIN_PERCENT_MAX}"
        )
    return Costs(
        kwh=costs.electricity_kwh.units,
        wear_hour=costs.wear_hour.units,
        margin_percent=costs.margin_percent,
    )


def known(home: Home, config: Config, variant: bytes) -> Measurement | None:
    """What is known of a variant's cost, with the owner's word for watts that nothing measured.

    Raises:
        UserError: The record of it is damaged.
    """
    measurement = recall(home.measurements, variant)
    return None if measurement is None else _with_watts(measurement, config)


def require_prices(home: Home, config: Config, wares: Sequence[Ware]) -> None:
    """Refuses to sell below cost, unless the owner wants to.

    A variant that was never measured has no floor, and the log says so.

    Raises:
        UserError: In its cheapest hour a price is below the floor; the message says what to do.
    """
    costs = costs_of(config)
    variants = [_cheapest(ware, config) for ware in wares]
    measured = {one.id: known(home, config, one.id) for one in variants}
    found = {key: one for key, one in measured.items() if one is not None}
    for variant in variants:
        if variant.id not in found:
            log.info("no price floor", model=variant.model, why="not measured: run rowen bench")
    below = check_prices(variants, found, costs)
    if not below:
        return
    told = "; ".join(
        f"{variant.model}:{variant.precision} price_{one.what} {format_usd(one.price)} is below "
        f"the {format_usd(one.floor)} that a million tokens cost"
        for variant, one in below
    )
    if not config.provider.below_floor:
        raise UserError(
            f"{told}. Raise the price (`rowen bench` proposes one), correct [costs], or sell at a "
            "loss on purpose with [provider] below_floor = true"
        )
    log.warning("selling below cost", prices=told)


def below_cost(home: Home, config: Config, model: str, precision: str, prices: Prices) -> list[str]:
    """What a measurement in this home says of prices, without an engine to ask which build it is.

    Raises:
        UserError: A record or a setting is damaged.
    """
    found = []
    lowest = _lowest(prices, config)
    for measurement in recall_all(home.measurements):
        if (measurement.model, measurement.precision) == (model, precision):
            told = _with_watts(measurement, config)
            floors = floors_of(told, costs_of(config))
            found += [
                f"price_{one.what} {format_usd(one.price)} is below the {format_usd(one.floor)} "
                "that a million tokens cost"
                for one in shortfalls(lowest, floors.input, floors.output)
            ]
    return found


def _lowest(prices: Prices, config: Config) -> Prices:
    try:
        percent = lowest_percent(parse_bands(config.provider.price_hours))
    except ValueError as error:
        raise UserError(f"[provider] price_hours: {error}") from error
    return prices.each(Fraction(percent, 100))


def _with_watts(measurement: Measurement, config: Config) -> Measurement:
    if measurement.energy_source != "none" or not config.costs.watts:
        return measurement
    return with_stated_watts(measurement, config.costs.watts)


def _cheapest(ware: Ware, config: Config) -> Variant:
    """As offered in the cheapest hour, in dollars: costs are in dollars, too."""
    return replace(ware, prices=_lowest(ware.prices, config)).variant()
