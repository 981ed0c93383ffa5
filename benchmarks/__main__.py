"""``python -m benchmarks``: measures and prints one table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import computing, embedded, journal, streaming
from benchmarks.compare import Row
from benchmarks.table import table, to_json

BENCHES: dict[str, Callable[[float], list[Row]]] = {
    "job": computing.paid_job,
    "voucher": computing.voucher,
    "journal": journal.durable_vouchers,
    "chunk": computing.chunk,
    "stream": streaming.measure,
    "engine": embedded.measure,
}

SECONDS = 8.0
SECONDS_QUICK = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for; returns the exit status."""
    options = _parser().parse_args(arguments)
    seconds = SECONDS_QUICK if options.quick else SECONDS
    rows: list[Row] = []
    for name in options.bench or BENCHES:
        print(f"measuring {name} …", file=sys.stderr)
        rows += BENCHES[name](seconds)
    print(table(rows))
    if options.json:
        options.json.write_bytes(to_json(rows))
    is_missed = any(row.is_met is False for row in rows)
    return 1 if options.strict and is_missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Rowen against baselines run in turn with it on this machine.",
    )
    parser.add_argument("bench", nargs="*", choices=[*BENCHES, []], help="all without a name")
    parser.add_argument("--quick", action="store_true", help="half a second a side, to see it work")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
