"""What of the contracts the unit tests reach: every line, branch and function, or the run fails.

Neither the campaigns nor the gas figures count: what only they reach has no test of its own. A
contract that no test touches is counted beside ours; were forge to call that one reached, too, what
it says about ours would be worth nothing.
"""

import os
import shutil
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tools.assurance.reporting import AssuranceFailed, Progress, Report
from tools.assurance.workshop import copy_contracts

PLANTED = "src/Planted.sol"
KINDS = {"DA": "lines", "BRDA": "branches", "FNDA": "functions"}
"""From lcov's tags to what they count."""
# What the linked packages have would be counted, too; the test token is not deployed.
NOT_OURS = "^(test|script)/|node_modules|test-token"
NOT_COUNTED = "test/{invariant,gas}/*"


@dataclass(slots=True)
class Reached:
    """What of one kind the tests reach, and where they do not.

    Attributes:
        count: How many are reached.
        missed: File and line, or file and function, of each that is not.
    """

    count: int = 0
    missed: list[str] = field(default_factory=list)


def reached_in(tracefile: str) -> dict[str, dict[str, Reached]]:
    """What an lcov tracefile says, by file and kind.

    The format: https://manpages.debian.org/geninfo#TRACEFILE_FORMAT.
    """
    found: dict[str, dict[str, Reached]] = defaultdict(lambda: defaultdict(Reached))
    file = ""
    for line in tracefile.splitlines():
        tag, _, value = line.partition(":")
        if tag == "SF":
            file = value
        elif tag in KINDS:
            parts = value.split(",")
            hits, place = (parts[0], parts[1]) if tag == "FNDA" else (parts[-1], parts[0])
            reached = found[file][KINDS[tag]]
            # A branch whose line was never executed is written as "-".
            if hits in ("0", "-"):
                reached.missed.append(f"{file}: {place}" if tag == "FNDA" else f"{file}:{place}")
            else:
                reached.count += 1
    return found


def report_on(found: dict[str, dict[str, Reached]]) -> Report:
    """The line and the faults."""
    planted = found.get(PLANTED, {})
    figures, faults = [], []
    for kind in KINDS.values():
        ours = [kinds[kind] for file, kinds in found.items() if file != PLANTED and kind in kinds]
        count, missed = sum(each.count for each in ours), [p for each in ours for p in each.missed]
        figures.append(f"{count} of {count + len(missed)} {kind}")
        faults += [f"no unit test reaches, of the {kind}: {place}" for place in missed]
        if not count:
            faults.append(f"forge coverage knows of no {kind} in src/")
        if kind not in planted or planted[kind].count or not planted[kind].missed:
            faults.append(f"forge coverage does not see that no test reaches the planted {kind}")
    return Report(f"{', '.join(figures)} of src reached by unit tests", tuple(faults))


def run(contracts: Path) -> Report:
    """Counts in a copy."""
    progress = Progress("coverage")
    progress.show("counting")
    with tempfile.TemporaryDirectory(prefix="rowen-coverage-") as place:
        copy = copy_contracts(contracts, Path(place))
        shutil.copy(copy / "assurance" / "planted" / "Planted.sol", copy / PLANTED)
        tracefile = Path(place) / "lcov.info"
        arguments = ["--report", "lcov", "--report-file", str(tracefile)]
        arguments += ["--no-match-coverage", NOT_OURS, "--no-match-path", NOT_COUNTED]
        done = subprocess.run(
            ["node", str(copy / "tools" / "foundry"), "forge", "coverage", *arguments],
            cwd=copy,
            # The planted contract earns warnings.
            env=os.environ | {"FOUNDRY_DENY": "never", "ROWEN_SHIPPED": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        progress.end()
        if done.returncode != 0 or not tracefile.exists():
            said = f"{done.stdout[-3000:]}{done.stderr[-2000:]}"
            raise AssuranceFailed(f"forge coverage failed:\n{said}")
        return report_on(reached_in(tracefile.read_text().replace(f"SF:{copy}/", "SF:")))
