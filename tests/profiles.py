"""How hard Hypothesis tries: a short, repeatable tier by default, a long one with ROWEN_LONG=1."""

import os

from hypothesis import HealthCheck, settings

IS_LONG = os.environ.get("ROWEN_LONG") == "1"

_UNHURRIED = settings(
    # A busy machine is slow now and then; that is no finding.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.register_profile("short", _UNHURRIED, max_examples=60, derandomize=True, database=None)
settings.register_profile("long", _UNHURRIED, max_examples=5_000)


def load() -> None:
    """Chooses the tier for every test that runs after this."""
    settings.load_profile("long" if IS_LONG else "short")
