"""The books as a person reads them: nothing cut off, nothing shown larger than it is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rowen.cli.earning import print_books
from rowen.cli.money_documents import EarningsDocument, EarningsLine


def line(key: str, settled: str, net: str = "-1") -> EarningsLine:
    return EarningsLine(
        key=key, jobs=12_345, receipts=1, input_units=10**9, output_units=10**9, potential="0",
        earned="999999", settled=settled, energy_mj=7_200_000_000, unmetered_jobs=3,
        gas_wei="1234567890000", gas=None, power="600000", net=net, unknown=["gas", "power"],
    )  # fmt: skip


def told(*lines: EarningsLine, total: EarningsLine) -> list[str]:
    document = EarningsDocument(
        by="day", since=None, until=None, timezone="UTC", lines=list(lines), total=total, credit="5"
    )
    out = io.StringIO()
    print_books(Console(file=out, width=80, highlight=False, markup=False), document)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("settled", "shown"),
    [
        ("999999999", "$999.999999"),
        ("1000000000", "$1,000.00"),
        ("123456789999999", "$123,456,789.99"),
    ],
)
def test_every_figure_is_whole_on_eighty_columns(settled: str, shown: str) -> None:
    """A column that is cut off would be a wrong sum of money."""
    lines = told(line("2026-11-21", settled), total=line("", settled))
    assert all(len(one) <= 80 for one in lines)
    assert "…" not in "\n".join(lines)
    assert shown in lines[1]
    assert shown in lines[2]


def test_what_is_not_known_is_marked_and_explained() -> None:
    """A loss is shown as one; gas in coins and unmetered jobs are named below."""
    lines = told(line("2026-11-21", "5"), total=line("", "5"))
    assert lines[1].endswith("-$0.000001*")
    assert any("0.000001235 coin of gas" in one for one in lines)
    assert any("power of 3 jobs" in one for one in lines)


def test_nothing_sold_is_said() -> None:
    assert told(total=line("", "0")) == ["Nothing was sold in this time."]
