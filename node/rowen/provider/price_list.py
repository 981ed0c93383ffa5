"""What each variant costs now, and which offers given before still stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from rowen.protocol.amounts import format_usd
from rowen.protocol.errors import UserError
from rowen.provider.stock import Shelf, Stock
from rowen.provider.wall import day_after, day_starts_ms, minute_of_week, parse_day, zone_of
from rowen_scheduler.market import Variant
from rowen_scheduler.pricing import (
    Band,
    Pin,
    PricePlan,
    Prices,
    Standing,
    honoured,
    parse_bands,
)

log = structlog.get_logger("rowen.provider")

GRACE_MS = 60_000
"""An offer is honoured a little longer than it stands: orders travel, and clocks differ."""

Plan = Callable[[Prices, int], Prices | None]
"""Prices as configured, and Unix milliseconds, to prices at that time; None for not sold."""


def fixed(prices: Prices, _now_ms: int) -> Prices | None:
    """The plan of a node whose prices never change."""
    return prices


class PriceList:
    """Prices of a stock's variants through the hours.

    A price that changes is signed anew and shown on the shelf. Jobs keep the price of their
    order, and orders the price of any offer that still stands.
    """

    def __init__(self, stock: Stock, plan: Plan = fixed) -> None:
        """Prices nothing yet."""
        self._stock = stock
        self._plan = plan
        self._variant_to_standing: dict[bytes, tuple[Standing, ...]] = {}

    def now(self, now_ms: int) -> tuple[Variant, ...]:
        """What is offered now, at its present prices."""
        shelves = list(self._stock.shelves.values())
        return tuple(shelf.variant for shelf in shelves if self._reprice(shelf, now_ms) is not None)

    def signed(self, variants: Sequence[Variant], expires_at_ms: int) -> None:
        """Takes note of an offer that was signed."""
        for variant in variants:
            standing = self._variant_to_standing.get(variant.id, ())
            same = Standing(_prices_of(variant), expires_at_ms)
            # An offer at the same prices that ends earlier says nothing more.
            kept = tuple(one for one in standing if one.prices != same.prices)
            self._variant_to_standing[variant.id] = (*kept, same)

    def least(self, now_ms: int) -> dict[bytes, Variant]:
        """What an order must pay at least, by variant."""
        found: dict[bytes, Variant] = {}
        for key, shelf in self._stock.shelves.items():
            prices, standing = honoured(self._variant_to_standing.get(key, ()), now_ms, GRACE_MS)
            self._variant_to_standing[key] = standing
            present = self._reprice(shelf, now_ms)
            if present is not None:
                present_too = (*standing, Standing(present, now_ms + 1))
                prices, _ = honoured(present_too, now_ms, GRACE_MS)
            if prices is not None:
                found[key] = _priced(shelf.variant, prices)
        return found

    def _reprice(self, shelf: Shelf, now_ms: int) -> Prices | None:
        prices = self._plan(shelf.ware.prices, now_ms)
        if prices is not None and prices != _prices_of(shelf.variant):
            shelf.variant = _priced(shelf.variant, prices)
            log.info(
                "price in force",
                model=shelf.variant.model,
                input=prices.input,
                output=prices.output,
            )
        return prices


def plan_of(bands: Sequence[str], timezone: str, token_usd: int, until: str, now_ms: int) -> Plan:
    """The plan that an owner's settings make.

    Args:
        bands: Hours with prices of their own; see ``pricing.parse_bands``.
        timezone: Of the clock that says which hour it is.
        token_usd: Millionths of a dollar that a token is worth.
        until: Last day on which that holds, such as ``2026-12-31``; empty for ever.
        now_ms: Unix time.

    Raises:
        UserError: One of them is malformed, or the rate holds no more.
    """
    zone = zone_of(timezone)
    try:
        parsed: tuple[Band, ...] = parse_bands(bands)
    except ValueError as error:
        raise UserError(f"[provider] price_hours: {error}") from error
    if not token_usd:
        raise UserError("[provider] token_usd is 0: say what one token is worth, such as 0.9998")
    until_ms = day_starts_ms(day_after(parse_day(until)), zone) if until else None
    pin = Pin(token_usd, until_ms)
    if not pin.is_good(now_ms):
        raise UserError(
            f"[provider] token_usd {format_usd(token_usd)} held until {until}: look up what a token"
            " is worth and set token_usd and token_usd_until anew"
        )

    def plan(prices: Prices, at_ms: int) -> Prices | None:
        at = PricePlan(base=prices, bands=parsed, pin=pin)
        return at.at(minute_of_week(at_ms, zone), at_ms)

    return plan


def _prices_of(variant: Variant) -> Prices:
    return Prices(
        input=variant.price_input,
        cached=variant.price_cached,
        output=variant.price_output,
        request=variant.price_request,
    )


def _priced(variant: Variant, prices: Prices) -> Variant:
    return replace(
        variant,
        price_input=prices.input,
        price_cached=prices.cached,
        price_output=prices.output,
        price_request=prices.request,
    )
