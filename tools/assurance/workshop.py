"""A copy of the contracts in which mutants are compiled and tested, a few seconds each.

Forge would take three times as long: it starts the compiler anew for every mutant, compiles with
the optimizer, and, with `dynamic_test_linking`, looks through all sources before every test run.
Here the tests are built once, linked to the contracts at run time; a mutant is compiled by a
compiler that keeps running, and its bytecode put where the tests look for it.
"""

import json
import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tools.assurance.mutators import Mutant
from tools.assurance.reporting import AssuranceFailed

# Gas figures and code sizes tell any two contracts apart, and are no promise about behaviour.
NOT_BEHAVIOUR = ("--no-match-path", "test/{gas,invariant}/*", "--no-match-test", "eip_170")
LEFT_OUT = ("gas", "invariant")
TEST_TIMEOUT_S = 300
ENVIRONMENT = {
    "ROWEN_SHIPPED": "false",  # the tests deploy what is compiled here
    "FOUNDRY_DENY": "never",  # a mutant may leave a variable unused
    "FOUNDRY_OPTIMIZER": "false",
    "FOUNDRY_FUZZ_RUNS": "16",
    "FOUNDRY_FUZZ_SEED": "0x1",
    "FOUNDRY_GAS_LIMIT": "2000000000",  # a loop that no longer ends shall end
}


class Verdict(StrEnum):
    """What became of a mutant."""

    STILLBORN = "does not compile"
    EQUIVALENT = "equivalent"
    KILLED = "killed"
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A mutant, its end, and the first test that failed."""

    mutant: Mutant
    verdict: Verdict
    test: str = ""


class Compiler:
    """npm's solc, kept running in a copy of the contracts."""

    def __init__(self, place: Path) -> None:
        settings = tomllib.loads((place / "foundry.toml").read_text())["profile"]["default"]
        self._place = place
        self._settings = {
            "remappings": settings["remappings"],
            "evmVersion": settings["evm_version"],
            "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
        }
        self._runs = settings["optimizer_runs"]
        self._process = subprocess.Popen(
            ["node", str(place / "assurance" / "compile.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.communicate()

    def compile(
        self, file: str, source: str, wanted: list[str], *, optimize: bool = False
    ) -> dict[str, dict[str, str]] | None:
        """Compiles `wanted`, where `file` holds `source`.

        Returns:
            Bytecode by file and contract, or None if that does not compile.
        """
        optimizer = {"enabled": optimize, "runs": self._runs}
        texts = {name: (self._place / name).read_text() for name in wanted} | {file: source}
        request = {"sources": texts, "wanted": wanted}
        request["settings"] = self._settings | {"optimizer": optimizer}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        bytecode: dict[str, dict[str, str]] = answer["bytecode"]
        return None if answer["errors"] else bytecode


class Workshop:
    """One copy of the contracts, one compiler, one mutant at a time."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._compiler = Compiler(place)

    def close(self) -> None:
        """Ends the compiler."""
        self._compiler.close()

    def build(self) -> None:
        """Compiles everything once, and makes sure that the tests pass and can fail."""
        for name in LEFT_OUT:
            shutil.rmtree(self.place / "test" / name)
        _forge(self.place, "build")
        # What is linked at run time stays so; forge need not look for changes, as there are none.
        cache = self.place / "cache" / "solidity-files-cache.json"
        text = cache.read_text()
        if '"preprocessed":true' not in text:
            raise AssuranceFailed("forge did not link the tests at run time; foundry.toml must")
        cache.write_text(text.replace('"preprocessed":true', '"preprocessed":false'))
        passed, output = self.test()
        if not passed or "compilation skipped" not in output:
            raise AssuranceFailed(f"the contracts as they are do not pass their tests:\n{output}")

    def test(self) -> tuple[bool, str]:
        """Runs the unit tests on the bytecode that is there."""
        try:
            done = _forge(
                self.place, "test", "--fail-fast", *NOT_BEHAVIOUR, linking="false", check=False
            )
        except subprocess.TimeoutExpired:
            return False, f"[FAIL: no end within {TEST_TIMEOUT_S} s] timeout()"
        if done.returncode != 0 and "[FAIL" not in done.stdout:
            raise AssuranceFailed(f"forge test broke:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.returncode == 0, done.stdout

    def judge(self, mutant: Mutant) -> Outcome:
        """Compiles a mutant and runs the tests on it."""
        source = (self.place / mutant.file).read_text()
        wanted = self._wanted(mutant.file)
        made = self._compiler.compile(mutant.file, mutant.apply(source), wanted)
        if made is None:
            return Outcome(mutant, Verdict.STILLBORN)
        kept = {path: path.read_text() for path in self._artifacts(made)}
        try:
            for path, bytecode in self._artifacts(made).items():
                artifact = json.loads(kept[path])
                artifact["bytecode"]["object"] = f"0x{bytecode}"
                path.write_text(json.dumps(artifact))
            passed, output = self.test()
        finally:
            for path, text in kept.items():
                path.write_text(text)
        if not passed:
            failed = re.search(r"\[FAIL.*?\] (\w+)\(", output)
            return Outcome(mutant, Verdict.KILLED, failed[1] if failed else "")
        # The optimizer finds what means the same: such a mutant is no mutant.
        same = self._compiler.compile(mutant.file, source, wanted, optimize=True)
        other = self._compiler.compile(mutant.file, mutant.apply(source), wanted, optimize=True)
        return Outcome(mutant, Verdict.EQUIVALENT if same == other else Verdict.SURVIVED)

    def _wanted(self, file: str) -> list[str]:
        """The files whose bytecode holds that of `file`: itself, or a library's users and tests."""
        stem = Path(file).stem
        if (self.place / "out" / f"{stem}.sol" / f"{stem}.json").is_file() and stem in CONTRACTS:
            return [file]
        own = [
            path.relative_to(self.place).as_posix()
            for path in sorted((self.place / "test").glob(f"{stem}*.t.sol"))
        ]
        users = [
            f"src/{contract}.sol"
            for contract in CONTRACTS
            if f"/{stem}.sol" in (self.place / "src" / f"{contract}.sol").read_text()
        ]
        if not users:
            raise AssuranceFailed(f"neither {' nor '.join(CONTRACTS)} uses {file}")
        return users + own

    def _artifacts(self, made: dict[str, dict[str, str]]) -> dict[Path, str]:
        """Where each bytecode goes."""
        return {
            self.place / "out" / Path(file).name / f"{contract}.json": bytecode
            for file, contracts in made.items()
            for contract, bytecode in contracts.items()
            if bytecode
        }


CONTRACTS = ("RowenEscrow", "RowenStake")


def copy_contracts(contracts: Path, place: Path) -> Path:
    """Copies what forge needs to `place`; packages are linked, not copied.

    Returns:
        The copy of `contracts/`.
    """
    copy = place / "contracts"
    for name in ("src", "test", "script", "tools", "assurance"):
        shutil.copytree(contracts / name, copy / name)
    for name in ("foundry.toml", "package.json", "package-lock.json"):
        shutil.copy(contracts / name, copy / name)
    for read in ("docs/vectors", "node/rowen/chain/abi"):
        shutil.copytree(contracts.parent / read, place / read)
    (copy / "snapshots").mkdir()
    (copy / "node_modules").symlink_to((contracts / "node_modules").resolve())
    return copy


def _forge(
    place: Path, *arguments: str, linking: str = "true", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs forge in a copy."""
    done = subprocess.run(
        ["node", str(place / "tools" / "foundry"), "forge", *arguments],
        cwd=place,
        env=os.environ | ENVIRONMENT | {"FOUNDRY_DYNAMIC_TEST_LINKING": linking},
        capture_output=True,
        text=True,
        check=False,
        timeout=TEST_TIMEOUT_S if arguments[0] == "test" else None,
    )
    if check and done.returncode != 0:
        raise AssuranceFailed(f"forge {arguments[0]} failed:\n{done.stdout[-3000:]}{done.stderr}")
    return done
