"""The table, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from benchmarks.compare import Row

HEADINGS = ("", "ours", "baseline", "", "ratio", "quartiles", "target", "")
_MARKS = {True: "✓", False: "✗", None: ""}
_SIGNS = {"at most": "≤", "at least": "≥", "": ""}


def table(rows: Iterable[Row]) -> str:
    """All rows in aligned columns."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            # Names to the left, figures to the right.
            cell.ljust(width) if at in (0, 3) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def to_json(rows: Sequence[Row]) -> bytes:
    """All rows with full precision, and whether each met its target."""
    plain = [{**msgspec.to_builtins(row), "is_met": row.is_met} for row in rows]
    return msgspec.json.format(msgspec.json.encode(plain)) + b"\n"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{figure(row.ours)} {row.unit}",
        "" if row.baseline is None else f"{figure(row.baseline)} {row.unit}",
        row.against,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.low is None or row.high is None else f"{row.low:.2f}–{row.high:.2f}",
        "" if row.target is None else f"{_SIGNS[row.sense]} {row.target:g}",
        _MARKS[row.is_met],
    )


def figure(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
