"""An environment for each foreign tool, made when first needed and again when its pins change."""

import os
import platform
import sys
from pathlib import Path

from tools import setup
from tools.assurance.reporting import AssuranceFailed

PLACE = setup.ROOT / ".setup"


def tool(name: str) -> Path:
    """Installs `requirements/<name>.txt` by hash into an environment of its own, if need be.

    Returns:
        The directory with its commands.
    """
    place, pins = PLACE / name, setup.REQUIREMENTS / f"{name}.txt"
    python = place / "bin" / "python"

    def install() -> None:
        setup.run(sys.executable, "-m", "venv", "--clear", place)
        options = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
        setup.run(python, "-m", "pip", "install", "--progress-bar", "off", *options, "-r", pins)

    PLACE.mkdir(exist_ok=True)
    key = setup.fingerprint(pins, extra=f"{place}{platform.python_version()}")
    stamp = place / ".rowen-tool"
    try:
        if stamp.exists() and not (python.exists() and setup.succeeds(python, "-c", "")):
            stamp.unlink()  # the Python it was made with is gone
        setup.perform(name, setup.count_pins(pins), stamp, key, install)
    except setup.StepFailed as error:
        raise AssuranceFailed(str(error)) from error
    return python.parent


def path_with(contracts: Path, *first: Path) -> str:
    """`PATH` with these directories first, then forge itself: npm's always ends with 0."""
    forges = sorted((contracts / "node_modules" / "@foundry-rs").glob("forge-*/bin"))
    return os.pathsep.join([*map(str, [*first, *forges]), os.environ["PATH"]])
