"""The two pure state machines against each other; see ``market``."""

import pytest
from hypothesis import settings
from tests import profiles
from tests.property import market
from tests.property.market import Market

SEEDS = 100_000 if profiles.IS_LONG else 200
BATCH = 50

TestMarket = Market.TestCase
TestMarket.settings = settings(
    max_examples=5_000 if profiles.IS_LONG else 30, stateful_step_count=50
)


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_a_market_keeps_its_promises(first: int) -> None:
    """P2, P3, P7: over seeded runs with cuts, crashes, cancels and lies."""
    for seed in range(first, first + BATCH):
        try:
            market.play(seed)
        except Exception as error:
            error.add_note(f"tests.property.market.play({seed})")
            raise
