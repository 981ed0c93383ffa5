"""Halmos: every proof holds of the contracts, and fails of a broken copy.

They run on the bytecode that Python ships and deploys, not on another compilation of the source.
"""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.assurance.environments import path_with, tool
from tools.assurance.mutators import mutants_of
from tools.assurance.reporting import AssuranceFailed, Progress, Report
from tools.assurance.workshop import CONTRACTS, Compiler, copy_contracts

PROVED, DISPROVED = 0, 1
SOLVER_TIMEOUT = "900s"
ENVIRONMENT = {
    **dict.fromkeys(("FOUNDRY_SRC", "FOUNDRY_TEST", "FOUNDRY_SCRIPT"), "assurance/proofs"),
    "FOUNDRY_DYNAMIC_TEST_LINKING": "false",
    "FOUNDRY_DENY": "never",
}


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug to plant, as one of the mutator's changes, and the proof that must notice.

    Attributes:
        file: Path below `contracts/`.
        scope: Contract and function.
        before: What the statement begins with.
        after: What the changed one begins with.
        proof: The proof's function.
        what: The promise that is broken.
    """

    file: str
    scope: str
    before: str
    after: str
    proof: str
    what: str


ESCROW, STAKE = "src/RowenEscrow.sol", "src/RowenStake.sol"
NOTHING = "(nothing)"
PLANTS = (
    Plant(ESCROW, "RowenEscrow.sweep", "delete _credits[", NOTHING, "check_sweep", "solvency"),
    Plant(
        *(ESCROW, "RowenEscrow._pay", "if (total <= claimed)", "if (false)"),
        *("check_claim_of_one_row", "monotonic claimed"),
    ),
    Plant(
        *(
            ESCROW,
            "RowenEscrow._lock",
            "bytes32 id = channelId(",
            "bytes32 id = channelId(provider",
        ),
        *("check_lock", "channel isolation"),
    ),
    Plant(
        *(STAKE, "RowenStake._slash", "_paid[", NOTHING),
        *("check_slashChargedFailure", "one penalty for one offence"),
    ),
)


def proofs_in(directory: Path) -> set[str]:
    """The name of every proof that is written down."""
    texts = [path.read_text() for path in directory.glob("*.proof.sol")]
    return {name for text in texts for name in re.findall(r"function (check_\w+)\(", text)}


def write_code(copy: Path, escrow: str, stake: str) -> None:
    """Writes the bytecode that the proofs deploy.

    Args:
        copy: A copy of `contracts/`.
        escrow: Hexadecimal digits.
        stake: The same.
    """
    (copy / "assurance" / "proofs" / "Code.sol").write_text(
        "// SPDX-License-Identifier: Apache-2.0\n"
        "pragma solidity 0.8.37;\n\n"
        "library Code {\n"
        f'    bytes internal constant ESCROW = hex"{escrow}";\n'
        f'    bytes internal constant STAKE = hex"{stake}";\n'
        "}\n"
    )


def write_shipped_code(copy: Path) -> None:
    """The bytecode that Python ships; a test holds that it is of these sources."""
    abi = copy.parent / "node" / "rowen" / "chain" / "abi"
    shipped = [
        json.loads((abi / f"{contract}.json").read_text())["bytecode"].removeprefix("0x")
        for contract in CONTRACTS
    ]
    write_code(copy, *shipped)


def write_broken_code(copy: Path) -> None:
    """The bytecode of the contracts with every bug of `PLANTS` in them."""
    plant(copy)
    compiler = Compiler(copy)
    try:
        broken = []
        for contract in CONTRACTS:
            file = f"src/{contract}.sol"
            made = compiler.compile(file, (copy / file).read_text(), [file], optimize=True)
            if made is None:
                raise AssuranceFailed(f"{contract} with planted bugs does not compile")
            broken.append(made[file][contract])
    finally:
        compiler.close()
    write_code(copy, *broken)


def plant(copy: Path) -> None:
    """Breaks a copy of the contracts."""
    for bug in PLANTS:
        file = copy / bug.file
        source = file.read_text()
        fitting = [
            mutant
            for mutant in mutants_of(bug.file, source)
            if mutant.scope == bug.scope
            and mutant.before.startswith(bug.before)
            and mutant.after.startswith(bug.after)
        ]
        if not fitting:
            raise AssuranceFailed(f"{bug.scope} has no {bug.before!r} any more: plant another bug")
        file.write_text(fitting[0].apply(source))


def halmos(copy: Path, pattern: str, answer: Path) -> dict[str, int]:
    """Runs proofs by a pattern of their names.

    Returns:
        How each ended: `PROVED`, `DISPROVED` (a counterexample), or another number for no answer.
    """
    commands = tool("halmos")
    done = subprocess.run(
        [
            *(str(commands / "halmos"), "--no-status", "--match-test", pattern),
            *("--solver", "yices", "--solver-timeout-assertion", SOLVER_TIMEOUT),
            *("--json-output", str(answer)),
        ],
        cwd=copy,
        env=os.environ | ENVIRONMENT | {"PATH": path_with(copy, commands)},
        capture_output=True,
        text=True,
        check=False,
    )
    if not answer.exists():
        raise AssuranceFailed(f"halmos failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    results = json.loads(answer.read_text())["test_results"]
    return {
        test["name"].split("(")[0]: test["exitcode"] for tests in results.values() for test in tests
    }


def report_on(ends: dict[str, int], written: set[str], broken: dict[str, int]) -> Report:
    """The line and the faults: of the contracts as they are, and of the broken copy."""
    faults = [f"{name} did not run" for name in sorted(written - ends.keys())]
    for name, end in sorted(ends.items()):
        if end == DISPROVED:
            faults.append(f"{name} does not hold; `make contracts-long TOOLS=halmos` shows why")
        elif end != PROVED:
            faults.append(
                f"{name} has no answer (halmos says {end}): out of time, or no path succeeds"
            )
    found = [bug for bug in PLANTS if broken.get(bug.proof) == DISPROVED]
    faults += [
        f"{bug.proof} holds of a contract without {bug.what}" for bug in PLANTS if bug not in found
    ]
    proved = sum(end == PROVED for end in ends.values())
    figures = (
        f"{proved} of {len(written)} proofs hold; {len(found)} of {len(PLANTS)} planted bugs found"
    )
    return Report(figures, tuple(faults))


def run(contracts: Path) -> Report:
    """Proves, then breaks the copy and sees the proofs fail."""
    tool("halmos")
    progress = Progress("halmos")
    with tempfile.TemporaryDirectory(prefix="rowen-halmos-") as place:
        copy = copy_contracts(contracts, Path(place))
        written = proofs_in(copy / "assurance" / "proofs")
        write_shipped_code(copy)
        progress.show(f"{len(written)} proofs")
        ends = halmos(copy, "^check_", Path(place) / "ends.json")
        progress.show(f"{len(PLANTS)} planted bugs")
        write_broken_code(copy)
        names = "|".join(bug.proof for bug in PLANTS)
        broken = halmos(copy, rf"^({names})\(", Path(place) / "broken.json")
        progress.end()
    return report_on(ends, written, broken)
