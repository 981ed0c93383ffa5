"""Which provider is asked first, and which is not asked at all."""

from __future__ import annotations

import pytest
from tests.unit.protocol.build import NOW_MS, variant

from rowen_scheduler.market import Claim, ClaimedRun, Offer
from rowen_scheduler.selection import Preferences, Sort, select


def claim(per_ks: int, first_token_ms: int, j_per_m: int | None) -> Claim:
    """Of a job alone; what is claimed of many at once is another matter."""
    alone = ClaimedRun(
        concurrency=1,
        input_per_ks=1,
        output_per_ks=per_ks,
        first_token_ms=first_token_ms,
        output_j_per_m=j_per_m,
    )
    many = ClaimedRun(concurrency=8, input_per_ks=1, output_per_ks=10**9, first_token_ms=0)
    return Claim(measured_at_ms=NOW_MS, energy_source="nvml_counter", runs=(alone, many))


def offer(name: str, price: int, told: Claim | None) -> Offer:
    return Offer(
        provider=name.encode().rjust(20, b"_"),
        addresses=(),
        variants=(variant(model="m", price_output=price, claim=told),),
        credit=1,
        jobs_max=1,
        issued_at_ms=NOW_MS - 1,
        expires_at_ms=NOW_MS + 1,
    )


OFFERS = [
    offer("cheap", 1, None),
    offer("quick", 5, claim(90_000, 50, None)),
    offer("soon", 4, claim(50_000, 20, 900_000)),
    offer("frugal", 3, claim(30_000, 80, 200_000)),
    offer("silent", 2, None),
]


def order(sort: Sort) -> list[str]:
    matches, _ = select(OFFERS, Preferences(model="m", sort=sort), now_ms=NOW_MS)
    return [match.offer.provider.decode().strip("_") for match in matches]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        (Sort.PRICE, ["cheap", "silent", "frugal", "soon", "quick"]),
        (Sort.THROUGHPUT, ["quick", "soon", "frugal", "cheap", "silent"]),
        (Sort.LATENCY, ["soon", "quick", "frugal", "cheap", "silent"]),
        (Sort.ENERGY, ["frugal", "soon", "cheap", "silent", "quick"]),
    ],
)
def test_what_counts_most_decides_and_then_the_price(sort: Sort, names: list[str]) -> None:
    """Who claims nothing comes last, and is not left out."""
    assert order(sort) == names


def test_equal_offers_are_asked_in_the_same_order_each_time() -> None:
    same = [offer(name, 1, claim(1, 1, 1)) for name in ("b", "a", "c")]
    for sort in Sort:
        matches, _ = select(same, Preferences(model="m", sort=sort), now_ms=NOW_MS)
        assert [match.offer.provider[-1:] for match in matches] == [b"a", b"b", b"c"]
