"""The benchmarks run, whatever they measure here: a machine's speed is no test."""

import json
from pathlib import Path

import pytest
from benchmarks.__main__ import BENCHES, main
from benchmarks.abuse import measure
from benchmarks.attacks import ATTACKS
from benchmarks.compare import Pair, Row, row_of
from benchmarks.soak import soak
from benchmarks.table import table

# Processes that import libp2p: seconds of CPU time before anything is measured.
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in ("stream", "engine") else name
    for name in BENCHES
]


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--quick", "--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert rows
    assert all(row["ours"] > 0 and row["bench"] == name for row in rows)
    assert all(row["name"] in capsys.readouterr().out for row in rows[:1])


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_meets_a_provider_that_goes_on(attack: str) -> None:
    """Whatever it costs, the honest clients' streams come to their ends."""
    result = measure(attack, 0.2, turns=1)
    (turn,) = result.attacked
    assert 0 < turn.p50_ms <= turn.p99_ms


@pytest.mark.slow
def test_a_short_soak_keeps_the_ledger_exact() -> None:
    """Whatever the machine is doing; how fast it was is no test."""
    result = soak(0.1, 8)
    assert result.jobs >= 1
    assert result.seller == result.buyer
    assert result.total == result.expected


def row(ours: float, *, sense: str, target: float) -> Row:
    return row_of(
        [Pair(ours, 1.0)] * 3, bench="b", name="n", unit="µs", against="a",
        sense=sense, target=target,  # type: ignore[arg-type]  # a literal, given as a str
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "sense", "is_met"),
    [(1.0, "at most", True), (1.1, "at most", False), (1.1, "at least", True),
     (0.9, "at least", False)],
)  # fmt: skip
def test_a_target_binds_in_its_direction(ours: float, sense: str, is_met: bool) -> None:
    assert row(ours, sense=sense, target=1.0).is_met is is_met


def test_a_row_is_the_median_of_its_pairs_ratios() -> None:
    """A median of ratios, not a ratio of medians: what disturbs a pair disturbs both its sides."""
    pairs = [Pair(2.0, 1.0), Pair(300.0, 100.0), Pair(8.0, 2.0)]
    made = row_of(pairs, bench="b", name="n", unit="µs", against="a")
    assert (made.low, made.ratio, made.high) == (2.5, 3.0, 3.5)


def test_the_table_marks_what_was_missed() -> None:
    printed = table([row(1.1, sense="at most", target=1.0), row(1.0, sense="at most", target=1.0)])
    assert [line[-1] for line in printed.splitlines()[1:]] == ["✗", "✓"]
