"""docs/threats.md: each promise and each threat once, with tests that exist or "not yet"."""

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "threats.md"
PROMISES = {f"P{number}" for number in range(1, 19)}
THREATS = {str(number) for number in range(1, 68)}
STATUSES = ("covered", "partly", "not yet")
NAMED = re.compile(r"`([\w/.-]+)::(\w+)`")


@dataclass(frozen=True)
class Row:
    """A line of one of the tables.

    Attributes:
        key: ``P1`` or ``1``.
        cells: What stands between the first and the last two.
        status: One of ``STATUSES``.
        missing: What is said after it.
        tests: Path and name of each.
        leftover: What else stands in the cell of the tests.
    """

    key: str
    cells: tuple[str, ...]
    status: str
    missing: str
    tests: tuple[tuple[str, str], ...]
    leftover: str


def rows_of(page: str) -> list[Row]:
    """Every line of a table that begins with a number."""
    found = []
    for line in re.findall(r"^\| P?\d+ \|.*$", page, re.MULTILINE):
        key, *cells, told, tests = (cell.strip() for cell in line.strip("|").split("|"))
        status, _, missing = told.partition(": ")
        leftover = NAMED.sub("", tests).replace("<br>", "").strip()
        named = tuple(NAMED.findall(tests))
        found.append(Row(key, tuple(cells), status, missing, named, leftover))
    return found


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of a file's tests, in Python or Solidity; none if there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    text = file.read_text()
    if path.endswith(".t.sol"):
        return frozenset(re.findall(r"\bfunction ((?:test|invariant)\w*)\(", text))
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    )


def complaints(page: str) -> list[str]:
    """What is wrong with the page."""
    rows = rows_of(page)
    seen = Counter(row.key for row in rows)
    found = [f"{key} stands {count} times" for key, count in seen.items() if count != 1]
    found += [f"{key} is missing" for key in (PROMISES | THREATS) - seen.keys()]
    found += [f"{key} is unknown" for key in seen.keys() - PROMISES - THREATS]
    for row in rows:
        found += [f"{row.key}: {what}" for what in complaints_about(row)]
    for name, keys in (("Promises", PROMISES), ("Threats", THREATS)):
        counts = Counter(row.status for row in rows if row.key in keys)
        told = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
        if f"| {name} | {told} |" not in page:
            found.append(f"{name} are {told}, which the page does not say")
    return found


def complaints_about(row: Row) -> list[str]:
    """What is wrong with one row."""
    found = [
        f"{path} has no {name}"
        for path, name in row.tests
        if not path.startswith(("tests/", "contracts/test/")) or name not in names_in(path)
    ]
    if len(row.cells) != (2 if row.key in PROMISES else 3) or not all(row.cells):
        found.append("a cell is empty, or too much")
    if row.status not in STATUSES:
        found.append(f"status {row.status!r}")
    if len(set(row.tests)) != len(row.tests):
        found.append("a test is named twice")
    if bool(row.tests) == (row.status == "not yet"):
        found.append(f"{len(row.tests)} tests are named, and it is {row.status}")
    if bool(row.missing) == (row.status == "covered"):
        found.append(f"it is {row.status}, and this is missing: {row.missing!r}")
    if row.leftover not in ("", "–"):
        found.append(f"{row.leftover!r} is no test")
    return found


def test_every_row_names_its_tests_or_what_is_missing() -> None:
    assert complaints(PAGE.read_text()) == []


ONE = "tests/test_threats.py::test_every_row_names_its_tests_or_what_is_missing"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (f"| P1 | it pays | by law | covered | `{ONE}` |", ""),
        (f"| 1 | client | steals | by law | partly: more | `{ONE}` |", ""),
        ("| 1 | client | steals | by law | not yet: all | – |", ""),
        ("| 1 | client | steals | by law | covered | – |", "0 tests"),
        (f"| 1 | client | steals | by law | not yet: all | `{ONE}` |", "1 tests"),
        (f"| 1 | client | steals | by law | partly | `{ONE}` |", "missing"),
        (f"| 1 | client | steals | by law | perhaps | `{ONE}` |", "status"),
        (f"| 1 | client | steals | | covered | `{ONE}` |", "empty"),
        (f"| 1 | client | steals | by law | covered | `{ONE}`<br>`{ONE}` |", "twice"),
        (f"| 1 | client | steals | by law | covered | `{ONE}` and others |", "is no test"),
        (f"| 1 | client | steals | by law | covered | `{ONE}s` |", "has no"),
        ("| 1 | client | steals | by law | covered | `tests/none.py::test_x` |", "has no"),
        ("| 1 | a | b | c | covered | `contracts/test/Claim.t.sol::test_none` |", "has no"),
    ],
)
def test_a_wrong_row_is_noticed(row: str, told: str) -> None:
    (parsed,) = rows_of(row)
    found = complaints_about(parsed)
    assert found == [] if not told else told in " ".join(found)


def test_a_row_left_out_or_doubled_is_noticed_and_so_is_a_wrong_count() -> None:
    page = PAGE.read_text()
    (first,) = re.findall(r"^\| 1 \|.*\n", page, re.MULTILINE)
    assert "1 is missing" in complaints(page.replace(first, ""))
    assert "1 stands 2 times" in complaints(page.replace(first, first * 2))
    assert "68 is unknown" in complaints(page + first.replace("| 1 |", "| 68 |"))
    wrong = re.sub(r"(\| Threats \| )\d+", r"\g<1>99", page)
    assert any(what.startswith("Threats are") for what in complaints(wrong))
