"""The two pure state machines against each other; see ``market``."""

from hypothesis import settings
from tests import profiles
from tests.property.market import Market

TestMarket = Market.TestCase
TestMarket.settings = settings(
    max_examples=5_000 if profiles.IS_LONG else 100, stateful_step_count=60
)
