"""Mutation testing: break the contracts in every small way there is, and see the unit tests notice.

A mutant that no test notices is either a hole in the tests or makes no difference. Those that make
none are written down with the reason in `contracts/assurance/survivors.toml`; any other fails the
run, and so does an entry that no longer fits.
"""

import json
import random
import shutil
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from tools.assurance.mutators import Mutant, mutants_of
from tools.assurance.reporting import AssuranceFailed, Progress, Report
from tools.assurance.workshop import Outcome, Verdict, Workshop, copy_contracts

# The test token is not deployed, and interfaces have no code.
LEFT_OUT = ("interfaces", "test-token")
KILLED_MIN = 0.90
SAMPLE = 200


def all_mutants(contracts: Path) -> list[Mutant]:
    """Every mutant of every contract and library."""
    return [
        mutant
        for path in sorted((contracts / "src").rglob("*.sol"))
        if path.parent.name not in LEFT_OUT
        for mutant in mutants_of(path.relative_to(contracts).as_posix(), path.read_text())
    ]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which mutants to judge.

    Attributes:
        everything: All of them.
        only: Those of the functions whose name holds this.
        seed: Else a sample, another for another seed.
    """

    everything: bool = False
    only: str | None = None
    seed: int = 1

    def of(self, mutants: list[Mutant]) -> tuple[list[Mutant], str]:
        """The chosen ones, and a word for them."""
        if self.everything:
            return sample_of(mutants, len(mutants), self.seed), "all"
        if self.only is not None:
            return [mutant for mutant in mutants if self.only in mutant.scope], self.only
        return sample_of(mutants, SAMPLE, self.seed), f"seed {self.seed}"


def sample_of(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many of them, the same for the same seed."""
    return random.Random(seed).sample(mutants, min(count, len(mutants)))  # noqa: S311 - a draw that can be repeated


def judge_all(contracts: Path, mutants: list[Mutant], workers: int, record: Path) -> list[Outcome]:
    """Tries every mutant, `workers` at a time, each in a copy of its own.

    Each verdict is a line of JSON in `record` as soon as it is known.
    """
    progress = Progress("mutants")
    with tempfile.TemporaryDirectory(prefix="rowen-mutants-") as place:
        progress.show("building the tests")
        first = Workshop(copy_contracts(contracts, Path(place) / "0"))
        idle: Queue[Workshop] = Queue()
        idle.put(first)
        shops = [first]
        try:
            first.build()
            for number in range(1, workers):
                copy = Path(place) / str(number)
                shutil.copytree(Path(place) / "0", copy, symlinks=True)
                shops.append(Workshop(copy / "contracts"))
                idle.put(shops[-1])
            outcomes: list[Outcome] = []

            def judge(mutant: Mutant) -> None:
                shop = idle.get()
                try:
                    outcome = shop.judge(mutant)
                finally:
                    idle.put(shop)
                outcomes.append(outcome)
                line = {"id": mutant.id, "verdict": outcome.verdict, "test": outcome.test}
                with record.open("a") as lines:
                    lines.write(json.dumps(line | {"mutant": str(mutant)}) + "\n")
                alive = sum(outcome.verdict is Verdict.SURVIVED for outcome in outcomes)
                progress.show(f"{len(outcomes)} of {len(mutants)}, {alive} alive")

            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(judge, mutants))
        finally:
            for shop in shops:
                shop.close()
            progress.end()
    return outcomes


def explanations(file: Path) -> dict[str, str]:
    """Why each known survivor may live, by id."""
    entries = tomllib.loads(file.read_text())["survivor"]
    found = {entry["id"]: entry["why"] for entry in entries}
    if len(found) != len(entries) or not all(why.strip() for why in found.values()):
        raise AssuranceFailed(f"{file.name}: an id stands twice, or a reason is missing")
    return found


def report_on(outcomes: list[Outcome], known: dict[str, str], total: int, label: str) -> Report:
    """The line and the faults."""
    by_verdict = {
        verdict: [outcome.mutant for outcome in outcomes if outcome.verdict is verdict]
        for verdict in Verdict
    }
    survived, killed = by_verdict[Verdict.SURVIVED], by_verdict[Verdict.KILLED]
    share = len(killed) / max(1, len(killed) + len(survived))
    faults = [
        f"no test notices, and survivors.toml does not say why:\n    {mutant}"
        for mutant in survived
        if mutant.id not in known
    ]
    if share < KILLED_MIN:
        faults.append(f"{share:.1%} of the mutants were killed, at least {KILLED_MIN:.0%} must be")
    dead = {mutant.id for verdict in Verdict for mutant in by_verdict[verdict]}
    dead -= {mutant.id for mutant in survived}
    gone = set() if len(outcomes) < total else set(known) - {o.mutant.id for o in outcomes}
    faults += [
        f"survivors.toml explains {name}, which is killed" for name in sorted(dead & set(known))
    ]
    faults += [f"survivors.toml explains {name}, which is not there" for name in sorted(gone)]
    drawn = f"all {total}" if len(outcomes) == total else f"{len(outcomes)} of {total} ({label})"
    figures = (
        f"{drawn}: {len(killed)} killed, {len(survived)} survived, "
        f"{len(by_verdict[Verdict.EQUIVALENT])} equivalent, "
        f"{len(by_verdict[Verdict.STILLBORN])} did not compile; {share:.1%} killed"
    )
    return Report(figures, tuple(faults))


def run(contracts: Path, choice: Choice, workers: int, record: Path) -> Report:
    """Judges what was chosen."""
    mutants = all_mutants(contracts)
    drawn, label = choice.of(mutants)
    if not drawn:
        raise AssuranceFailed(f"no function of the contracts has {choice.only!r} in its name")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("")
    outcomes = judge_all(contracts, drawn, workers, record)
    known = explanations(contracts / "assurance" / "survivors.toml")
    return report_on(outcomes, known, len(mutants), label)
