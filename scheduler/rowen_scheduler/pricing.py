"""What a unit must cost and does cost: floors from measurements, hours, and rates of exchange.

Exact throughout. Money is whole token units, prices are per million units, and where a price does
not come out whole it is rounded up, for the owner who bears the cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from rowen_scheduler.hours import Hours, parse_hours

PRICE_UNITS = 1_000_000
KWH_MJ = 3_600_000_000
HOUR_US = 3_600_000_000
TOKEN_UNITS = 1_000_000
"""Token units of one token."""
PERCENT_MAX = 1_000

_BAND = re.compile(r"(?P<hours>.+?)\s+(?P<percent>\d{1,4})\s*%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of one variant in the token's smallest unit.

    Attributes:
        input: Per million input units.
        cached: Per million input units served from the engine's cache.
        output: Per million output units.
        request: For each job.
    """

    input: int
    cached: int
    output: int
    request: int = 0

    def each(self, change: Fraction) -> Prices:
        """All of them times a factor, rounded up."""
        return Prices(
            input=ceil(self.input * change),
            cached=ceil(self.cached * change),
            output=ceil(self.output * change),
            request=ceil(self.request * change),
        )


# --- what a unit costs its owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a machine did in a measured time.

    Attributes:
        units: Tokens read, or tokens written.
        elapsed_us: Microseconds it took, all jobs of the time together.
        energy_mj: Millijoules it took; None when nothing measured them.
    """

    units: int
    elapsed_us: int
    energy_mj: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What an owner pays.

    Attributes:
        kwh: For a kilowatt-hour, token units.
        wear_hour: For an hour at work: the machine's price over the hours it will last.
        margin_percent: On top of both.
    """

    kwh: int = 0
    wear_hour: int = 0
    margin_percent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What a million units must cost, by its parts; each rounded up.

    Attributes:
        energy: The tariff's part; None when no energy was measured.
        wear: The machine's part.
        price: The least price: both together, margin added, rounded up once.
    """

    energy: int | None
    wear: int
    price: int


def floor_of(span: Span, costs: Costs) -> Floor:
    """J/token × tariff + amortisation + margin, for a million units.

    Raises:
        ValueError: Nothing was done in the span.
    """
    if span.units <= 0:
        raise ValueError("a span without units has no cost per unit")
    million = Fraction(PRICE_UNITS, span.units)
    wear = Fraction(span.elapsed_us * costs.wear_hour, HOUR_US) * million
    energy = Fraction((span.energy_mj or 0) * costs.kwh, KWH_MJ) * million
    price = (energy + wear) * Fraction(100 + costs.margin_percent, 100)
    return Floor(
        energy=None if span.energy_mj is None else ceil(energy),
        wear=ceil(wear),
        price=ceil(price),
    )


def stated_mj(watts: int, elapsed_us: int) -> int:
    """Energy of a machine that draws what its owner says, millijoules, rounded up."""
    return -(-watts * elapsed_us // 1000)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A price that does not cover its cost; both per million units."""

    what: str
    price: int
    floor: int


def shortfalls(prices: Prices, input_floor: int, output_floor: int) -> list[Shortfall]:
    """Every price that is below its floor."""
    pairs = (("input", prices.input, input_floor), ("output", prices.output, output_floor))
    return [Shortfall(what, price, least) for what, price, least in pairs if price < least]


# --- prices by the hour


@dataclass(frozen=True, slots=True)
class Band:
    """Hours with prices of their own.

    Attributes:
        hours: By the clock on the owner's wall; see ``hours.Hours`` for when clocks change.
        percent: Of the prices of all other hours.
    """

    hours: Hours
    percent: int


def parse_bands(texts: Iterable[str]) -> tuple[Band, ...]:
    """Reads bands such as ``22:00-06:00 70%`` or ``sat-sun 00:00-24:00 85%``.

    Raises:
        ValueError: A text is no band; the message shows how one looks.
    """
    bands = []
    for text in texts:
        told = _BAND.fullmatch(text.strip())
        if told is None:
            raise ValueError(f"{text!r} is no band of hours: write it as 'mon-fri 22:00-06:00 70%'")
        percent = int(told["percent"])
        if not 1 <= percent <= PERCENT_MAX:
            raise ValueError(f"{text!r}: {percent} % is not between 1 and {PERCENT_MAX}")
        bands.append(Band(parse_hours((told["hours"],)), percent))
    return tuple(bands)


def percent_at(bands: Sequence[Band], minute: int) -> int:
    """What applies in a minute of the week, 0 being Monday 00:00; of two bands the first."""
    return next((band.percent for band in bands if band.hours.is_open(minute)), 100)


def lowest_percent(bands: Sequence[Band]) -> int:
    """The least that may ever apply; whether 100 % does is not looked into."""
    return min((100, *(band.percent for band in bands)))


# --- dollars and tokens


@dataclass(frozen=True, slots=True)
class Pin:
    """A rate at which prices in dollars become token units, for as long as the owner trusts it.

    Attributes:
        token_usd: Millionths of a dollar that one token is worth.
        until_ms: From then on it says nothing. Unix milliseconds; None for ever.
    """

    token_usd: int
    until_ms: int | None = None

    def is_good(self, now_ms: int) -> bool:
        """Whether it still says what a token is worth."""
        return self.until_ms is None or now_ms < self.until_ms


def in_tokens(usd: Prices, pin: Pin) -> Prices:
    """Prices in millionths of a dollar as token units, rounded up."""
    return usd.each(Fraction(TOKEN_UNITS, pin.token_usd))


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePlan:
    """All that decides what a variant costs at a moment.

    Attributes:
        base: In millionths of a dollar.
        bands: Prices by the hour.
        pin: Rate of exchange.
    """

    base: Prices
    bands: tuple[Band, ...] = ()
    pin: Pin = Pin(TOKEN_UNITS)

    def at(self, minute: int, now_ms: int) -> Prices | None:
        """Token units at a minute of the owner's week; None when the rate is no longer good."""
        if not self.pin.is_good(now_ms):
            return None
        usd = self.base.each(Fraction(percent_at(self.bands, minute), 100))
        return in_tokens(usd, self.pin)

    def lowest(self) -> Prices:
        """Millionths of a dollar in the cheapest hour there may be."""
        return self.base.each(Fraction(lowest_percent(self.bands), 100))


@dataclass(frozen=True, slots=True)
class Standing:
    """An offer that was signed and has not expired: its prices hold.

    Attributes:
        prices: As signed.
        expires_at_ms: Unix milliseconds.
    """

    prices: Prices
    expires_at_ms: int


def honoured(
    standing: Sequence[Standing], now_ms: int, grace_ms: int = 0
) -> tuple[Prices | None, tuple[Standing, ...]]:
    """The least an order must pay, and the offers that stand.

    A price that rises does not break offers given before: an order may pay what any of them
    says, each price by itself, until the last of them expires.

    Args:
        standing: Offers that were signed.
        now_ms: Unix time.
        grace_ms: For orders on their way, and clocks that differ.

    Returns:
        None when nothing stands any more, and what is left of ``standing``.
    """
    left = tuple(one for one in standing if one.expires_at_ms + grace_ms > now_ms)
    if not left:
        return None, ()
    prices = [one.prices for one in left]
    least = Prices(
        input=min(one.input for one in prices),
        cached=min(one.cached for one in prices),
        output=min(one.output for one in prices),
        request=min(one.request for one in prices),
    )
    return least, left
