"""`python -m tools.assurance`: the long checks of the contracts, one line a tool.

Ends with 0 if every tool that ran has nothing to complain about.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tools.assurance import analysis, coverage, fuzzing, mutants, proofs
from tools.assurance.reporting import AssuranceFailed, Report

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
RECORD = ROOT / ".setup" / "mutants.jsonl"


def main(arguments: list[str]) -> int:
    """Runs the tools that are asked for, the quick ones first."""
    asked = parse(arguments)
    tools: dict[str, Callable[[], Report]] = {
        "coverage": lambda: coverage.run(CONTRACTS),
        "slither": lambda: analysis.run(CONTRACTS),
        "halmos": lambda: proofs.run(CONTRACTS),
        "mutants": lambda: mutants.run(
            CONTRACTS,
            mutants.Choice(asked.all_mutants, asked.only, asked.seed),
            workers=asked.workers,
            record=RECORD,
        ),
        "forge": lambda: fuzzing.run(CONTRACTS),
    }
    return max([carry_out(name, tools[name]) for name in asked.tools or tools])


def parse(arguments: list[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.assurance", description=__doc__)
    names = ["coverage", "slither", "halmos", "mutants", "forge"]
    parser.add_argument(
        "tools", nargs="*", metavar="tool", help=f"of {', '.join(names)}; all if none"
    )
    parser.add_argument("--all-mutants", action="store_true", help="every mutant, not a sample")
    parser.add_argument("--only", help="every mutant of the functions whose name holds this")
    parser.add_argument("--seed", type=int, default=1, help="which sample of mutants (default 1)")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    asked = parser.parse_args(arguments)
    if asked.workers < 1:
        parser.error(f"--workers is {asked.workers}; at least 1 must work")
    if unknown := set(asked.tools) - set(names):
        parser.error(
            f"no tool is called {' or '.join(sorted(unknown))}; there are {', '.join(names)}"
        )
    return asked


def carry_out(name: str, run: Callable[[], Report]) -> int:
    """Runs one tool, prints its line, and what is wrong below it.

    Returns:
        0 if nothing is wrong.
    """
    began = time.monotonic()
    try:
        report = run()
    except AssuranceFailed as error:
        report = Report("did not finish", (str(error),))
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    word = "FAILED" if report.faults else "ok"
    print(f"{name:<8} {word:<7} {report.figures} · {minutes} min {seconds} s", flush=True)
    for fault in report.faults:
        print(f"  {fault}", flush=True)
    return bool(report.faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
