"""Slither over the contracts: a finding is argued in `exceptions.toml`, or fails the run.

No detector is switched off and no line of source carries an ignore. A contract full of holes is
analysed beside ours; were Slither to stop finding those, its silence about the rest would be worth
nothing.
"""

import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.assurance.environments import path_with, tool
from tools.assurance.reporting import AssuranceFailed, Progress, Report
from tools.assurance.workshop import copy_contracts

PLANTED = "Planted"
PLANTED_CHECKS = frozenset(
    {"arbitrary-send-eth", "controlled-delegatecall", "reentrancy-eth", "suicidal", "tx-origin"}
)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What Slither says about one place.

    Attributes:
        check: The detector.
        where: Contract and function or variable: ``RowenEscrow._pull``.
        text: Slither's words.
    """

    check: str
    where: str
    text: str = ""


def findings_in(answer: dict[str, Any]) -> list[Finding]:
    """The findings of Slither's JSON."""
    found = set()
    for entry in answer["results"].get("detectors", []):
        element = entry["elements"][0]
        while element["type"] not in ("function", "contract"):
            parent = element["type_specific_fields"]["parent"]
            if element["type"] == "variable" and parent["type"] == "contract":
                break
            element = parent
        where = element["name"]
        if element["type"] != "contract":
            where = f"{element['type_specific_fields']['parent']['name']}.{where}"
        found.add(Finding(entry["check"], where, " ".join(entry["description"].split())))
    return sorted(found)


def exceptions_in(file: Path) -> set[tuple[str, str]]:
    """The findings that are argued: detector and place."""
    argued = set()
    for entry in tomllib.loads(file.read_text())["exception"]:
        if not entry["why"].strip():
            raise AssuranceFailed(f"{file.name}: {entry['check']} has no reason")
        argued |= {(entry["check"], where) for where in entry["where"]}
    return argued


def report_on(findings: Iterable[Finding], argued: set[tuple[str, str]]) -> Report:
    """The line and the faults."""
    planted = [finding for finding in findings if finding.where.split(".")[0] == PLANTED]
    ours = [finding for finding in findings if finding not in planted]
    places = {(finding.check, finding.where) for finding in ours}
    faults = [
        f"{finding.check} in {finding.where}: {finding.text}"
        for finding in ours
        if (finding.check, finding.where) not in argued
    ]
    faults += [
        f"exceptions.toml argues {check} in {where}, which Slither does not find"
        for check, where in sorted(argued - places)
    ]
    missed = PLANTED_CHECKS - {finding.check for finding in planted}
    faults += [f"Slither did not find the planted {check}" for check in sorted(missed)]
    open_ = sum((finding.check, finding.where) not in argued for finding in ours)
    figures = (
        f"{open_} findings, {len(ours) - open_} argued exceptions; "
        f"{len(PLANTED_CHECKS) - len(missed)} of {len(PLANTED_CHECKS)} planted bugs found"
    )
    return Report(figures, tuple(faults))


def run(contracts: Path) -> Report:
    """Analyses a copy."""
    commands = tool("slither")
    progress = Progress("slither")
    progress.show("analysing")
    with tempfile.TemporaryDirectory(prefix="rowen-slither-") as place:
        copy = copy_contracts(contracts, Path(place))
        shutil.copy(copy / "assurance" / "planted" / f"{PLANTED}.sol", copy / "src")
        answer = Path(place) / "answer.json"
        # The source is analysed: how it is compiled makes a difference only to the time.
        quick = {"FOUNDRY_DENY": "never", "FOUNDRY_OPTIMIZER": "false"}
        done = subprocess.run(
            [str(commands / "slither"), ".", "--filter-paths", "node_modules", "--json", answer],
            cwd=copy,
            env=os.environ | quick | {"PATH": path_with(copy, commands)},
            capture_output=True,
            text=True,
            check=False,
        )
        progress.end()
        if not answer.exists():
            raise AssuranceFailed(f"slither failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
        findings = findings_in(json.loads(answer.read_text()))
    return report_on(findings, exceptions_in(contracts / "assurance" / "exceptions.toml"))
