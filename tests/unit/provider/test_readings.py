"""Each alert is raised by its own cause, and by no other."""

from dataclasses import replace
from typing import Any

import pytest

from rowen.config import Usd, WatchConfig
from rowen.provider.alerts import Reading
from rowen.provider.observing import Money, Observed, Part
from rowen.provider.readings import ALERTS, CLAIM_GAS, MEGABYTE, Surroundings, readings_of

NOW_S = 1_700_000_000
LIMITS = WatchConfig(value_at_risk=Usd(units=5_000_000))


def well(**changes: Any) -> Surroundings:
    """A node with nothing wrong."""
    part = Part(why="", well_at_s=0.0, looked=True)
    money = Money(
        gas_wei=10**18,
        gas_price_wei=10**9,
        credit=0,
        unclaimed=0,
        oldest_unclaimed_s=0,
        leaving=0,
        leaving_at_s=0,
    )
    seen = Observed(
        chain=part,
        engine=part,
        disk=part,
        block=7,
        block_at_s=NOW_S,
        money=money,
        disk_free_bytes=10**11,
    )
    around = Surroundings(seen=seen, at_risk=0, gpus_lost=0, now_ms=NOW_S * 1000, now_s=5_000.0)
    for name, value in changes.items():
        if hasattr(around, name):
            around = replace(around, **{name: value})
        elif hasattr(seen, name):
            around = replace(around, seen=replace(around.seen, **{name: value}))
        else:
            assert around.seen.money is not None
            money = replace(around.seen.money, **{name: value})
            around = replace(around, seen=replace(around.seen, money=money))
    return around


def bad(readings: list[Reading]) -> list[str]:
    return [r.name for r in readings if r.level is not None and r.is_bad]


def test_nothing_is_raised_while_nothing_is_wrong() -> None:
    readings = readings_of(well(), LIMITS)
    assert bad(readings) == []
    assert tuple(r.name for r in readings) == ALERTS


ILL = Part(why="it does not answer", well_at_s=None, looked=True)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("unclaimed_old", {"oldest_unclaimed_s": 86_400}),
        ("value_at_risk", {"at_risk": 5_000_000}),
        ("payer_leaving", {"leaving": 1, "leaving_at_s": NOW_S + 60}),
        ("gas_low", {"gas_wei": 20 * CLAIM_GAS * 10**9}),
        ("chain_away", {"chain": ILL}),
        ("chain_lagging", {"block_at_s": NOW_S - 300}),
        ("transaction_stuck", {"pending_since_s": 5_000.0 - 900}),
        ("engine_away", {"engine": ILL}),
        ("disk_low", {"disk_free_bytes": 1_000 * MEGABYTE}),
        ("gpu_lost", {"gpus_lost": 1}),
    ],
)
def test_an_alert_has_one_cause(name: str, cause: dict[str, Any]) -> None:
    readings = readings_of(well(**cause), LIMITS)
    assert bad(readings) == [name]


def test_every_alert_is_caused_above() -> None:
    marks = test_an_alert_has_one_cause.pytestmark
    assert [name for name, _ in marks[0].args[1]] == list(ALERTS)


def test_before_the_first_look_nothing_is_known_and_nothing_is_raised() -> None:
    """A node that starts calls nobody because it has not looked yet."""
    fresh = Observed(chain=Part(), engine=Part(), disk=Part())
    around = Surroundings(seen=fresh, at_risk=0, gpus_lost=0, now_ms=NOW_S * 1000, now_s=0.0)
    assert bad(readings_of(around, LIMITS)) == []
