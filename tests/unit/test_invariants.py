"""The invariants of the contracts are written in one place, and each is held by code."""

from __future__ import annotations

import re
from pathlib import Path

INVARIANTS = Path(__file__).parents[2] / "contracts" / "test" / "invariant"


def written() -> list[str]:
    """The numbers in the table, in its order."""
    return re.findall(r"^\| ([ES]\d+) \| .+\. \|$", (INVARIANTS / "README.md").read_text(), re.M)


def test_each_written_invariant_is_held_by_code_and_each_that_is_held_is_written() -> None:
    """By number: at the start of the message of what checks it."""
    code = "".join(path.read_text() for path in INVARIANTS.glob("*.sol"))
    assert set(written()) == set(re.findall(r'"([ES]\d+)[":]', code))


def test_invariants_are_numbered_without_gaps() -> None:
    """So that a number that is named somewhere is never another's later."""
    numbers = written()
    escrow = [number for number in numbers if number[0] == "E"]
    assert escrow == [f"E{number}" for number in range(1, len(escrow) + 1)]
    stake = [number for number in numbers if number[0] == "S"]
    assert stake == [f"S{number}" for number in range(1, len(stake) + 1)]
