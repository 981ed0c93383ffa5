"""``rowen audit report``: proofs of fraud, and the stake they cost."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import trio
from msgspec.structs import replace
from rich.console import Console

from rowen.auditor.convicting import Conviction, Evidence, convict, own_evidence
from rowen.chain.connect import open_escrow, open_stake
from rowen.chain.keystore import key_address, load_key, sealing_key
from rowen.chain.refusals import Reverted, TooLittleGas
from rowen.chain.stake import RpcStake, RpcStakeWallet
from rowen.chain.staking import BondView, Penalty, penalty_of
from rowen.cli.acting import open_purse, patience
from rowen.cli.buyers import transaction_of
from rowen.cli.chain_documents import OffenceEntry, ReportDocument
from rowen.cli.exits import Exit, kind_of
from rowen.cli.output import show
from rowen.cli.passwords import password_for
from rowen.cli.people import counted, dollars, harmless, to_copy, transaction
from rowen.cli.runner import run_async
from rowen.config import Config, load_config
from rowen.home import Home
from rowen.protocol.errors import Unavailable
from rowen.protocol.fraud import Offence, Proof, check
from rowen.protocol.ids import format_address
from rowen.protocol.statements import Receipt
from rowen.store.journal import open_journal

_NAMES = {
    Offence.EQUIVOCATION: "equivocation",
    Offence.BROKEN_TOTAL: "broken_total",
    Offence.CHARGED_FAILURE: "charged_failure",
}
_IN_WORDS = {
    "equivocation": "two different receipts for one sequence",
    "broken_total": "a running total that does not add up",
    "charged_failure": "a charge on a failed job",
}


def report_fraud(
    home: Home,
    password_file: Path | None,
    bundles: Sequence[Path],
    *,
    with_journal: bool,
    submits: bool,
    as_json: bool,
) -> int:
    """Prints what the evidence proves and what it would cost; reports it if wished.

    Without bundles the evidence is this client's own journal.
    """
    config = load_config(home.config)
    takes_journal = with_journal or not bundles
    needs_password = takes_journal or submits
    password = password_for(home, password_file) if needs_password else ""

    async def work() -> int:
        async with open_escrow(config.chain) as escrow:
            stake = await open_stake(escrow, config.chain)
            domain = escrow.deployment.domain
            own = Evidence()
            if takes_journal:
                session = await load_key(home.session_key, password)
                async with open_journal(home.buyer_journal, sealing_key(session)) as journal:
                    own = await own_evidence(journal, domain)
            found = await trio.to_thread.run_sync(convict, domain, bundles, own)
            code = Exit.OK
            if submits and found.proofs:
                document, code = await _submit(home, config, password, stake, found)
            else:
                reporter = await key_address(home.wallet_key)
                entries = await _expected(stake, found.proofs, reporter)
                document = _document(stake, reporter, found, entries, is_submitted=False)
        again = ["rowen", "audit", "report", *map(str, bundles)]
        if with_journal:
            again.append("--journal")
        show(document, as_json=as_json, for_people=lambda s: _print_report(s, document, again))
        return code

    return run_async(work)


async def _expected(
    stake: RpcStake, proofs: Sequence[Proof], reporter: bytes
) -> list[OffenceEntry]:
    """What reporting all of them now would take, one after the other; each tried on the chain."""
    left: dict[bytes, BondView] = {}
    entries = []
    for proof in proofs:
        provider = proof.channel.provider
        bond = left.get(provider) or await stake.bond(provider)
        unpaid = stake.deployment.penalty - await stake.paid_for(proof)
        penalty = penalty_of(bond.amount, unpaid)
        status = _standing(unpaid, bond)
        if status == "would_be_slashed":
            try:
                await stake.rehearse(proof, reporter)
            except Reverted as error:
                entries.append(_entry(proof, Penalty(0, 0), "refused", why=str(error)))
                continue
        left[provider] = bond._replace(amount=bond.amount - penalty.burned - penalty.reward)
        entries.append(_entry(proof, penalty, status))
    return entries


def _standing(unpaid: int, bond: BondView) -> str:
    if not unpaid:
        return "punished"
    return "would_be_slashed" if bond.amount else "nothing_bonded"


async def _submit(
    home: Home, config: Config, password: str, stake: RpcStake, found: Conviction
) -> tuple[ReportDocument, Exit]:
    """Reports all of it. What was sent is told even if the rest of it cannot be."""
    entries: list[OffenceEntry] = []
    code = Exit.OK
    async with open_purse(home, config.chain, password, stake.escrow) as wallet:
        reporter = wallet.on_stake(stake)
        for number, proof in enumerate(found.proofs):
            try:
                entries.append(await _report(stake, reporter, proof))
            except (TooLittleGas, Unavailable) as error:
                if not any(entry.transaction for entry in entries):
                    raise
                code = kind_of(error)[1]
                why = f"{error}; then run the same command again"
                rest = found.proofs[number:]
                entries += [_entry(each, Penalty(0, 0), "unfinished", why=why) for each in rest]
                break
    return _document(stake, reporter.address, found, entries, is_submitted=True), code


async def _report(stake: RpcStake, reporter: RpcStakeWallet, proof: Proof) -> OffenceEntry:
    (expected,) = await _expected(stake, [proof], reporter.address)
    if expected.status != "would_be_slashed":
        return expected
    return await _slash(stake, reporter, proof)


async def _slash(stake: RpcStake, reporter: RpcStakeWallet, proof: Proof) -> OffenceEntry:
    # Judged here as the contract would, before anything is signed.
    check(proof, stake.escrow.deployment.domain)
    # Named after evidence and debt, so that a second try finds the first one's transaction, and
    # what a later bond still owes is another wish.
    receipts = sha256(b"".join(each.words for each in proof.receipts)).hexdigest()
    intent = f"slash-{proof.offence}-{receipts}-{await stake.paid_for(proof)}"
    try:
        with patience():
            done = await reporter.slash(proof, intent=intent)
    except Reverted as error:
        # Somebody reported it first, or the bond has left: the other proofs still count.
        return _entry(proof, Penalty(0, 0), "refused", why=str(error))
    entry = _entry(proof, done.penalty, "slashed")
    return replace(entry, transaction=transaction_of(done.receipt))


def _entry(proof: Proof, penalty: Penalty, status: str, why: str = "") -> OffenceEntry:
    return OffenceEntry(
        offence=_NAMES[proof.offence],  # type: ignore[arg-type]  # the names are those of the type
        status=status,  # type: ignore[arg-type]  # each caller gives one of the type's words
        provider=format_address(proof.channel.provider),
        payer=format_address(proof.channel.payer),
        channel_id=f"0x{proof.channel.id.hex()}",
        sequence=proof.sequence(),
        detail=why or _detail(proof),
        burned=str(penalty.burned),
        reward=str(penalty.reward),
        transaction=None,
    )


def _detail(proof: Proof) -> str:
    first, last = (Receipt.decode(proof.receipts[i].words) for i in (0, -1))
    if proof.offence is Offence.EQUIVOCATION:
        return (
            f"totals {first.total} and {last.total} were both signed for sequence {last.sequence}"
        )
    if proof.offence is Offence.BROKEN_TOTAL:
        return f"{first.total} and {last.amount} make {first.total + last.amount}, not {last.total}"
    return f"a failed job is charged {last.amount}"


def _document(
    stake: RpcStake,
    reporter: bytes,
    found: Conviction,
    entries: list[OffenceEntry],
    *,
    is_submitted: bool,
) -> ReportDocument:
    return ReportDocument(
        stake=format_address(stake.deployment.address),
        escrow=format_address(stake.escrow.deployment.domain.escrow),
        reporter=format_address(reporter),
        channels=found.channels,
        receipts=found.receipts,
        unread=found.unread,
        is_submitted=is_submitted,
        offences=entries,
        burned=str(sum(int(entry.burned) for entry in entries)),
        reward=str(sum(int(entry.reward) for entry in entries)),
    )


def _print_report(screen: Console, document: ReportDocument, again: Sequence[str]) -> None:
    looked = f"{counted(document.receipts, 'receipt')} of {counted(document.channels, 'channel')}"
    for file in document.unread:
        screen.print(harmless(f"Not read to its end, so there may be more: {file}"), soft_wrap=True)
    if not document.offences:
        screen.print(f"Nothing is proved against anybody by {looked}.")
        return
    screen.print(f"{counted(len(document.offences), 'offence')} in {looked}:", style="bold")
    for entry in document.offences:
        screen.print(f"  {entry.provider}: {_IN_WORDS[entry.offence]}", style="bold")
        screen.print(f"    channel {entry.channel_id}, sequence {entry.sequence}", soft_wrap=True)
        screen.print(f"    {entry.detail}", soft_wrap=True)
        screen.print(f"    {_outcome(entry)}")
        if entry.transaction is not None:
            transaction(screen, entry.transaction)
    if not document.is_submitted:
        screen.print(
            f"Nothing was sent. Reporting this burns {dollars(document.burned)} and gives "
            f"{dollars(document.reward)} to {document.reporter}:"
        )
        to_copy(screen, shlex.join([*again, "--submit"]))


def _outcome(entry: OffenceEntry) -> str:
    sums = f"{dollars(entry.burned)} burned, {dollars(entry.reward)} to the reporter"
    return {
        "slashed": f"slashed: {sums}",
        "would_be_slashed": f"would be slashed: {sums}",
        "punished": "punished already",
        "nothing_bonded": "the provider has nothing at stake now; the proof stays good",
        "refused": "refused by the contract",
        "unfinished": "not reported yet, as far as is known",
    }[entry.status]
