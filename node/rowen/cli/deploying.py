"""``rowen chain``: puts the contracts on a chain, and compares what stands there with the build."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from rich.console import Console

from rowen.chain.base import TxReceipt
from rowen.chain.connect import open_endpoints, open_sender
from rowen.chain.deploying import deploy
from rowen.chain.deployments import DeploymentRecord, encode_record, plan, read_record
from rowen.chain.escrow import RpcEscrow
from rowen.chain.keystore import load_key, sealing_key
from rowen.chain.rpc import Rpc
from rowen.chain.sender import Sender
from rowen.chain.transactions import Attempt, Outcome
from rowen.chain.verification import UNKNOWN, Check, verify
from rowen.cli.buyers import transaction_of
from rowen.cli.chain_documents import CheckedDocument, CheckEntry, DeployedDocument
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.passwords import password_for
from rowen.cli.people import dollars, facts, to_copy, transaction
from rowen.cli.runner import run_async
from rowen.config import Config, load_config
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import parse_address
from rowen.store.journal import open_journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What a person asks a deployment to be made with; amounts in dollars."""

    token: str
    unlock_delay_s: int
    payout_delay_s: int
    min_lock: str
    unbond_delay_s: int
    penalty: str

    def plan(self, chain_id: int) -> DeploymentRecord:
        """What will stand where.

        Raises:
            UserError: A constant is malformed, or the contracts would refuse it.
        """
        return plan(
            chain_id,
            parse_address(self.token),
            unlock_delay_s=self.unlock_delay_s,
            payout_delay_s=self.payout_delay_s,
            min_lock=parse_usd(self.min_lock),
            unbond_delay_s=self.unbond_delay_s,
            penalty=parse_usd(self.penalty),
        )


def deploy_contracts(
    home: Home,
    password_file: Path | None,
    constants: Constants,
    record: Path | None,
    *,
    is_plan: bool,
    as_json: bool,
) -> int:
    """Deploys what is not there yet, and writes the record."""
    config = load_config(home.config)
    planned = constants.plan(config.chain.chain_id)
    if record is not None and record.exists():
        _require_same(record, planned)
    elif record is not None and not is_plan:
        _require_place(record)
    password = "" if is_plan else password_for(home, password_file)

    async def work() -> int:
        done, receipts = planned, list[TxReceipt]()
        if not is_plan:
            async with _open_deployer(home, config, password) as (rpc, sender):
                done, receipts = await deploy(rpc, sender, planned)
            if record is not None:
                _keep(record, done)
        document = _document(done, receipts, record, is_plan=is_plan)
        show(document, as_json=as_json, for_people=lambda s: _print_deployed(s, document))
        return Exit.OK

    return run_async(work)


def verify_contracts(home: Home, path: Path, *, as_json: bool) -> int:
    """Compares a record's contracts with this version's build.

    Returns:
        0 when everything is right, 1 when anything differs.
    """
    config = load_config(home.config)
    record = read_record(path)
    if record.chain_id != config.chain.chain_id:
        raise UserError(
            f"{path} is about chain {record.chain_id}, and chain.chain_id is"
            f" {config.chain.chain_id}: set ROWEN_CHAIN_CHAIN_ID={record.chain_id}, and"
            " ROWEN_CHAIN_RPC to an endpoint of that chain"
        )

    async def work() -> int:
        async with open_endpoints(config.chain) as endpoints:
            await RpcEscrow.require_chain(endpoints, record.chain_id)
            checks = await verify(RpcEscrow(endpoints, record.deployment), record)
        document = CheckedDocument(
            record=str(path),
            chain_id=record.chain_id,
            escrow=record.escrow.address,
            stake=record.stake.address,
            is_right=all(check.is_right for check in checks),
            checks=[_entry(check) for check in checks],
        )
        show(document, as_json=as_json, for_people=lambda s: _print_checked(s, document))
        return Exit.OK if document.is_right else Exit.FAILED

    return run_async(work)


@asynccontextmanager
async def _open_deployer(
    home: Home, config: Config, password: str
) -> AsyncIterator[tuple[Rpc, Sender]]:
    key = await load_key(home.wallet_key, password)
    session = await load_key(home.session_key, password)
    async with (
        open_journal(home.buyer_journal, sealing_key(session)) as journal,
        open_endpoints(config.chain) as endpoints,
    ):
        log = journal.transactions(config.chain.chain_id, Attempt, Outcome)
        yield endpoints[0], await open_sender(endpoints[0], key, log, config.chain)


def _require_same(path: Path, planned: DeploymentRecord) -> None:
    """A record is a promise to everybody who reads it: another one never takes its place."""
    there = read_record(path)
    if (there.escrow, there.stake, there.chain_id) != (
        planned.escrow,
        planned.stake,
        planned.chain_id,
    ):
        raise UserError(
            f"{path} is the record of another deployment, {there.escrow.address} on chain"
            f" {there.chain_id}: name another file, or remove it"
        )


def _require_place(path: Path) -> None:
    """Before any gas is spent."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}: name another --record") from error


def _keep(path: Path, record: DeploymentRecord) -> None:
    """Whole or not at all, as others may read it meanwhile."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(encode_record(record))
        new.replace(path)
    except OSError as error:
        raise UserError(
            f"the contracts stand, the escrow at {record.escrow.address}, but {path} cannot be"
            f" written: {error.strerror}. The same command with another --record writes it and"
            " deploys nothing again"
        ) from error


def _document(
    record: DeploymentRecord, receipts: list[TxReceipt], path: Path | None, *, is_plan: bool
) -> DeployedDocument:
    return DeployedDocument(
        chain_id=record.chain_id,
        block=None if is_plan else record.block,
        token=record.token,
        escrow=record.escrow.address,
        unlock_delay_s=record.escrow.unlock_delay_s,
        payout_delay_s=record.escrow.payout_delay_s,
        min_lock=record.escrow.min_lock,
        stake=record.stake.address,
        unbond_delay_s=record.stake.unbond_delay_s,
        penalty=record.stake.penalty,
        source_sha256=record.source_sha256,
        transactions=[transaction_of(receipt) for receipt in receipts],
        record="" if path is None or is_plan else str(path),
    )


def _entry(check: Check) -> CheckEntry:
    is_known = check.actual != UNKNOWN
    return CheckEntry(
        contract=check.contract,
        name=check.name,
        status="unknown" if not is_known else "right" if check.is_right else "wrong",
        expected=check.expected,
        actual=check.actual,
    )


def _print_deployed(screen: Console, document: DeployedDocument) -> None:
    if document.block is None:
        screen.print("Nothing was sent. These would stand on chain:", style="bold")
    elif document.transactions:
        screen.print("Deployed. Nobody can change these contracts any more.", style="bold")
    else:
        screen.print("They are there already.", style="bold")
    pairs = [
        ("chain id", str(document.chain_id)),
        ("token", document.token),
        ("escrow", document.escrow),
        ("  unlock delay", f"{document.unlock_delay_s} s"),
        ("  payout delay", f"{document.payout_delay_s} s"),
        ("  smallest lock", dollars(document.min_lock)),
        ("stake", document.stake),
        ("  unbond delay", f"{document.unbond_delay_s} s"),
        ("  penalty", dollars(document.penalty)),
    ]
    if document.block is not None:
        pairs.append(("first block", str(document.block)))
    facts(screen, pairs, indent=2)
    for sent in document.transactions:
        transaction(screen, sent)
    if document.record:
        screen.print(f"The record is {document.record}; anybody can check it:")
        to_copy(screen, shlex.join(["rowen", "chain", "verify", document.record]))


def _print_checked(screen: Console, document: CheckedDocument) -> None:
    count = sum(check.status == "right" for check in document.checks)
    if document.is_right:
        screen.print(
            f"Right: {count} checks say that this version's contracts stand there, "
            "with these constants.",
            style="bold green",
        )
    else:
        screen.print("Wrong: do not put money into these contracts.", style="bold red")
    facts(screen, [("escrow", document.escrow), ("stake", document.stake)], indent=2)
    for check in document.checks:
        if check.status == "unknown":
            screen.print(f"  not checked: {check.contract} {check.name}, the endpoint cannot tell")
        elif check.status == "wrong":
            screen.print(f"  {check.contract}: {check.name}", style="bold")
            screen.print(f"    expected {check.expected}", soft_wrap=True)
            screen.print(f"    found    {check.actual}", soft_wrap=True)
