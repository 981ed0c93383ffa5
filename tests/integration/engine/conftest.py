"""The real model, fetched once per machine and loaded once per test process that needs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from rowen.engine.models import SMOLLM2, pull

REPOSITORY = Path(__file__).parents[3]


def models_directory() -> Path:
    """Where models are kept between runs: ROWEN_MODELS_DIR, or ``models`` in the repository."""
    return Path(os.environ.get("ROWEN_MODELS_DIR") or REPOSITORY / "models")


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The model of the demo, about 98 MB."""
    return trio.run(pull, SMOLLM2.name, models_directory())
