"""Fetches the demo's model into `models/`, where the demo and the tests look for it."""

from pathlib import Path

import trio

from rowen.engine.models import SMOLLM2, pull

if __name__ == "__main__":
    trio.run(pull, SMOLLM2.name, Path(__file__).resolve().parent.parent / "models")
