"""Selling at a loss is refused before it happens, unless the owner means it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.unit.provider.test_measurement import MEASURED, run

from rowen.config import Config, Usd
from rowen.home import Home
from rowen.protocol.errors import UserError
from rowen.provider.floors import costs_of, known, require_prices
from rowen.provider.measurement import keep
from rowen.provider.stock import Ware
from rowen.testing.engine import ScriptedEngine
from rowen_scheduler.pricing import Prices

# With $0.30 a kWh and $0.09 an hour a token written costs $0.375 a million, a token read a tenth.
COSTS = {"electricity_kwh": Usd(units=300_000), "wear_hour": Usd(units=90_000)}
AT_FLOOR = Prices(input=37_500, cached=0, output=375_000)


def settings(*hours: str, below_floor: bool = False, **costs: object) -> Config:
    config = Config()
    return replace(
        config,
        provider=replace(config.provider, price_hours=hours, below_floor=below_floor),
        costs=replace(config.costs, **(COSTS | costs)),  # type: ignore[arg-type]  # as named
    )


def ware(prices: Prices = AT_FLOOR) -> Ware:
    return Ware(engine=ScriptedEngine(), prices=prices)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path)
    measured = msgspec.structs.replace(MEASURED, variant="0x" + ware().variant().id.hex())
    keep(found.measurements, measured)
    return found


def test_a_price_at_the_floor_is_sold_and_one_below_it_is_not(home: Home) -> None:
    """The message says which price, by how much, and what to do."""
    require_prices(home, settings(), [ware()])
    with pytest.raises(UserError) as caught:
        require_prices(home, settings(), [ware(replace(AT_FLOOR, output=374_999))])
    said = str(caught.value)
    assert "price_output $0.374999 is below the $0.375" in said
    assert "price_input" not in said
    assert "rowen bench" in said
    assert "below_floor" in said


def test_the_cheapest_hour_counts(home: Home) -> None:
    """A discount at night must not sell below cost either."""
    require_prices(home, settings("22:00-06:00 200%"), [ware()])
    with pytest.raises(UserError, match="price_input"):
        require_prices(home, settings("22:00-06:00 99%"), [ware()])
    with pytest.raises(UserError, match="price_hours"):
        require_prices(home, settings("nights 70%"), [ware()])


def test_an_owner_who_means_it_may_sell_at_a_loss_and_the_log_says_so(home: Home) -> None:
    cheap = ware(replace(AT_FLOOR, input=1))
    with capture_logs() as said:
        require_prices(home, settings(below_floor=True), [cheap])
    assert [entry["event"] for entry in said] == ["selling below cost"]


def test_a_dearer_kilowatt_hour_lifts_the_floor_without_measuring_again(home: Home) -> None:
    with pytest.raises(UserError, match="below"):
        require_prices(home, settings(electricity_kwh=Usd(units=310_000)), [ware()])
    with pytest.raises(UserError, match="below"):
        require_prices(home, settings(margin_percent=1), [ware()])
    with pytest.raises(UserError, match="margin_percent"):
        costs_of(settings(margin_percent=1_001))


def test_what_was_never_measured_has_no_floor_and_says_so(tmp_path: Path) -> None:
    with capture_logs() as said:
        require_prices(Home(tmp_path), settings(), [ware(Prices(input=0, cached=0, output=0))])
    assert [entry["event"] for entry in said] == ["no price floor"]


def test_stated_watts_count_only_where_nothing_was_measured(home: Home) -> None:
    """A meter is believed before its owner."""
    key = ware().variant().id
    with_watts = settings(watts=150)
    assert known(home, with_watts, key) == known(home, settings(), key)
    blind = msgspec.structs.replace(
        MEASURED, variant="0x" + key.hex(), runs=(run(1, 1, None),), energy_source="none"
    )
    keep(home.measurements, blind)
    told = known(home, with_watts, key)
    assert told is not None
    assert (told.energy_source, told.runs) == ("stated", (run(1, 1, 300_000),))
    assert known(home, settings(), key) == blind
