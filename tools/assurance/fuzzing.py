"""The contracts' own tests at a release's tier: 100,000 inputs a test, long campaigns."""

import os
import re
import secrets
import subprocess
import tempfile
from pathlib import Path

from tools.assurance.reporting import Progress, Report
from tools.assurance.workshop import copy_contracts

LINES_MAX = 60
ENVIRONMENT = {
    "FOUNDRY_PROFILE": "long",
    "ROWEN_SHIPPED": "true",
}


def figures_in(output: str) -> str:
    """Tests, inputs and calls, from forge's output."""
    fuzz = [int(runs) for runs in re.findall(r"^\[PASS\].*\(runs: (\d+), μ", output, re.M)]
    calls = [int(count) for count in re.findall(r"^\[PASS\].*calls: (\d+)", output, re.M)]
    ended = re.search(r"(\d+) tests passed, (\d+) failed", output)
    passed, failed = ended.groups() if ended else ("0", "?")
    return (
        f"{passed} tests passed, {failed} failed; {len(fuzz)} of them with "
        f"{min(fuzz, default=0):,} inputs or more each, "
        f"{len(calls)} campaigns of {min(calls, default=0):,} calls or more"
    )


def run(contracts: Path, seed: int | None = None) -> Report:
    """Runs everything but the gas figures, which are compared elsewhere."""
    chosen = secrets.randbits(64) if seed is None else seed
    progress = Progress("forge")
    progress.show("fuzzing")
    with tempfile.TemporaryDirectory(prefix="rowen-forge-") as place:
        copy = copy_contracts(contracts, Path(place))
        arguments = ("--no-match-path", "test/gas/*", "--fuzz-seed", hex(chosen))
        done = subprocess.run(
            ["node", str(copy / "tools" / "foundry"), "forge", "test", *arguments],
            cwd=copy,
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
    progress.end()
    figures = f"{figures_in(done.stdout)} (seed {chosen:#x})"
    if done.returncode == 0:
        return Report(figures)
    tail = (done.stdout + done.stderr).splitlines()[-LINES_MAX:]
    return Report(figures, ("\n".join(tail),))
