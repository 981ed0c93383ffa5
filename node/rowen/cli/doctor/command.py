"""Runs every check and shows what it found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio
from rich.console import Console

from rowen.chain.keystore import key_address
from rowen.cli.doctor import at_home, machine, on_chain
from rowen.cli.doctor.codes import finding
from rowen.cli.documents import DoctorDocument, DoctorFinding
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.passwords import read_password
from rowen.cli.people import harmless
from rowen.cli.runner import run_async
from rowen.config import Config, load_config
from rowen.home import Home, key_lock
from rowen.protocol.errors import RowenError, UserError
from rowen.provider.asking import ask_daemon
from rowen.store.lock import only_process

ASK_DAEMON_S = 30.0


def run_doctor(
    home: Home,
    flags: tuple[str, ...],
    password_file: Path | None,
    *,
    as_json: bool,
) -> int:
    """Prints every trouble; exit code 1 when one of them is an error."""

    async def work() -> int:
        document = await examine(home, flags, password_file)
        show(document, as_json=as_json, for_people=lambda screen: _print(screen, document))
        is_ill = any(each.severity == "error" for each in document.findings)
        return Exit.FAILED if is_ill else Exit.OK

    return run_async(work)


async def examine(home: Home, flags: tuple[str, ...], password_file: Path | None) -> DoctorDocument:
    """Every trouble of a node, in the order in which they are best mended."""
    findings: list[DoctorFinding] = []
    report = await _report(home)
    async with AsyncExitStack() as stack:
        async for found in _all(home, flags, password_file, report, stack):
            findings.append(found)
    return DoctorDocument(
        home=str(home.path), is_running=report is not None, findings=list(_once(findings))
    )


async def _all(
    home: Home,
    flags: tuple[str, ...],
    password_file: Path | None,
    report: dict[str, Any] | None,
    stack: AsyncExitStack,
) -> AsyncIterator[DoctorFinding]:
    if not home.path.is_dir():
        yield finding("home-missing", f"there is no node in {home.path}")
        return
    async for found in at_home.home_findings(home):
        yield found
    try:
        config = load_config(home.config, flags=flags)
    except UserError as error:
        yield finding("config-invalid", str(error))
        return
    password = _password(home, password_file)
    for part in (
        at_home.key_findings(home, password),
        at_home.disk_findings(home, config),
        at_home.price_findings(home, config),
        machine.gpu_findings(is_expected=config.gpu.watch == "gpu"),
    ):
        async for found in part:
            yield found
    if report is None:
        async for found in at_home.model_findings(home, config):
            yield found
        async for found in machine.port_findings(config):
            yield found
    else:
        for found in _from_report(report):
            yield found
    async for found in _chain_findings(home, config, password, report, stack):
        yield found


async def _chain_findings(
    home: Home,
    config: Config,
    password: str | None,
    report: dict[str, Any] | None,
    stack: AsyncExitStack,
) -> AsyncIterator[DoctorFinding]:
    chain = on_chain.Chain()
    async for found in on_chain.endpoint_findings(config.chain, chain, stack):
        yield found
    if report is None:
        async for found in _lock_findings(home):
            yield found
    elif trouble := report.get("key_trouble"):
        yield finding("key-used-elsewhere", trouble)
    if chain.escrow is None:
        return
    states = on_chain.state_findings(home, config, chain.escrow)
    async for found in on_chain.bounded(states):
        yield found
    key = await at_home.opened_key(home, password)
    if report is None and key is not None:
        others = on_chain.sibling_findings(home, config, key, chain.escrow)
        async for found in on_chain.bounded(others):
            yield found


async def _lock_findings(home: Home) -> AsyncIterator[DoctorFinding]:
    """Another node of this user with the same key, in whatever home."""
    await trio.lowlevel.checkpoint()
    try:
        lock = key_lock(await key_address(home.operator_key))
        with only_process(lock):
            pass
    except UserError as error:
        if home.operator_key.exists() and "in use by process" in str(error):
            yield finding("key-in-use", str(error))


def _from_report(report: dict[str, Any]) -> Iterable[DoctorFinding]:
    """What only the running node knows; one of another version may not say all of it."""
    for what in report.get("trouble", ()):
        if what.startswith("engine: "):
            yield finding("engine-unready", what.removeprefix("engine: "))
    alerts = report.get("alerts", ())
    if "unclaimed_old" in alerts:
        age_h = (report.get("oldest_unclaimed_s") or 0) // 3600
        yield finding("unclaimed-old", f"the oldest unclaimed receipt is {age_h} h old")
    if "transaction_stuck" in alerts:
        yield finding("transaction-stuck", "a transaction waits and is not mined")


async def _report(home: Home) -> dict[str, Any] | None:
    try:
        with trio.move_on_after(ASK_DAEMON_S):
            return await ask_daemon(home, "status")
    except RowenError:
        return None
    return None


def _password(home: Home, file: Path | None) -> str | None:
    """The password, if it can be had without asking a person."""
    try:
        return (read_password(file) if file is not None else home.read_password()) or None
    except UserError:
        return None


def _once(findings: Iterable[DoctorFinding]) -> Iterable[DoctorFinding]:
    seen: set[tuple[str, str]] = set()
    for each in findings:
        if (each.code, each.what) not in seen:
            seen.add((each.code, each.what))
            yield each


def _print(screen: Console, document: DoctorDocument) -> None:
    node = "runs" if document.is_running else "does not run"
    if not document.findings:
        screen.print(f"Nothing is wrong. The node in {document.home} {node}.")
        return
    for each in document.findings:
        style = "bold red" if each.severity == "error" else "bold yellow"
        screen.print(each.code, style=style, end="")
        screen.print(f"  {harmless(each.what)}")
        screen.print(f"    {each.do}", style="dim")
    errors = sum(each.severity == "error" for each in document.findings)
    screen.print(
        f"{errors} to mend, {len(document.findings) - errors} to consider. The node in "
        f"{document.home} {node}."
    )
