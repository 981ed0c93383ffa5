"""``rowen status`` and ``rowen settle``: ask the running daemon, or look for oneself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, RenderableType

from rowen.cli.documents import (
    Fact,
    OtherVersionStatus,
    ProviderStatus,
    SettleDocument,
    SoldChannel,
    SoldVariant,
    StatusDocument,
    Transaction,
)
from rowen.cli.exits import Exit
from rowen.cli.lending import UUID_CHARS, print_lease, status_of_leases
from rowen.cli.output import show
from rowen.cli.passwords import password_for
from rowen.cli.people import counted, dollars, facts, harmless, short, table, transaction
from rowen.cli.runner import run_async
from rowen.config import load_config
from rowen.home import Home
from rowen.provider.asking import OtherVersion, ask_as
from rowen.provider.reports import (
    ProviderReport,
    SettleReport,
    TransactionReport,
    VariantReport,
)


def show_status(home: Home, *, as_json: bool) -> int:
    """Prints what the daemon says of itself."""

    async def work() -> int:
        report: ProviderReport | None = None
        other: OtherVersionStatus | None = None
        try:
            report = await ask_as(home, ProviderReport, "status")
        except OtherVersion as error:
            other = readable(error)
        document = StatusDocument(
            home=str(home.path),
            is_running=report is not None or other is not None,
            provider=None if report is None else status_of(report),
            other_version=other,
        )
        show(document, as_json=as_json, for_people=lambda screen: _print_status(screen, document))
        if other is not None:
            return Exit.USAGE
        return Exit.UNAVAILABLE if report is None else Exit.OK

    return run_async(work)


def settle_now(home: Home, password_file: Path | None, *, sweep: bool, as_json: bool) -> int:
    """Claims every unclaimed voucher and, if wished, sweeps."""
    # Read first: a wrong setting should be said before anything is asked of anybody.
    config = load_config(home.config)

    async def work() -> int:
        report = await ask_as(home, SettleReport, "settle", sweep=sweep)
        if report is None:
            from rowen.provider.till import open_till

            async with open_till(home, config, password_for(home, password_file)) as till:
                report = await till.settle(sweep=sweep)
        document = settle_document(report)
        show(document, as_json=as_json, for_people=lambda screen: _print_settled(screen, document))
        return Exit.OK

    return run_async(work)


def readable(other: OtherVersion) -> OtherVersionStatus:
    """What can be read of the status of a node of another version."""
    known: list[Fact] = []
    unread: list[str] = []
    for name, value in other.told.items():
        if isinstance(value, dict | list):
            # Its parts may mean other things by now.
            unread.append(name)
        else:
            known.append(Fact(name=name, value="" if value is None else str(value)))
    return OtherVersionStatus(rowen=other.rowen, what=str(other), facts=known, unread=unread)


def status_of(report: ProviderReport) -> ProviderStatus:
    """The daemon's report as a document."""
    fields = msgspec.structs.asdict(report) | {
        "variants": [variant_of(variant) for variant in report.variants],
        "lease": status_of_leases(report.lease),
        "channels": [
            SoldChannel(**_texts(msgspec.structs.asdict(c), "issued", "paid"))
            for c in report.channels
        ],
    }
    names = ("issued", "paid", "unclaimed", "credit", "gas_wei")
    return ProviderStatus(**_texts(fields, *names))


def variant_of(report: VariantReport) -> SoldVariant:
    """A variant on sale as a document."""
    names = ("price_input", "price_cached", "price_output", "price_request")
    return SoldVariant(**_texts(msgspec.structs.asdict(report), *names))


def settle_document(report: SettleReport) -> SettleDocument:
    """A settlement as a document."""
    return SettleDocument(
        claimed=report.claimed,
        skipped=report.skipped,
        credited=str(report.credited),
        transactions=[transaction_of(claim) for claim in report.transactions],
        swept=str(report.swept),
        payout=report.payout or None,
        sweep=transaction_of(report.sweep) if report.sweep else None,
    )


def transaction_of(report: TransactionReport) -> Transaction:
    """A transaction as a document."""
    return Transaction(
        hash=report.hash, block=report.block, gas_used=report.gas_used, fee_wei=str(report.fee_wei)
    )


def _texts(fields: dict[str, Any], *amounts: str) -> dict[str, Any]:
    return fields | {name: None if fields[name] is None else str(fields[name]) for name in amounts}


def _print_status(screen: Console, document: StatusDocument) -> None:
    node = document.provider
    if (other := document.other_version) is not None:
        _print_other(screen, other)
        return
    if node is None:
        screen.print(f"No node is running in {document.home}: start it with `rowen serve`.")
        return
    names = ", ".join(f"{sold.model}:{sold.precision}" for sold in node.variants)
    screen.print(f"Serving {harmless(names)}", style="bold")
    pairs = [
        ("provider", node.address),
        ("clients", counted(node.sessions, "session")),
        ("chain", node.chain),
        ("earned", f"{dollars(node.paid)} promised by vouchers, of {dollars(node.issued)} billed"),
        ("unclaimed", _maybe(node.unclaimed, "rowen settle") + _since(node.oldest_unclaimed_s)),
        ("credit", _maybe(node.credit, "rowen settle --sweep")),
        ("gas", "unknown" if node.gas_wei is None else f"{int(node.gas_wei) / 10**18:.6g} ETH"),
    ]  # fmt: skip
    pairs += [("trouble", harmless(what)) for what in node.trouble]
    pairs += [("key", node.key_trouble)] if node.key_trouble else []
    pairs += [("alert", name) for name in node.alerts]
    pairs += [("listening", address) for address in node.addresses]
    facts(screen, pairs, indent=2)
    screen.print(variants_table(node.variants))
    print_lease(screen, node.lease)
    if node.channels:
        rows = [
            (
                short(c.channel_id),
                short(c.payer),
                "connected" if c.is_connected else "away",
                str(c.receipts),
                dollars(c.issued),
                dollars(c.paid),
                harmless(c.stopped),
            )
            for c in node.channels
        ]
        header = ("channel", "payer", "client", "receipts", "billed", "promised", "")
        screen.print(table(header, rows, right="lllrrr"))


def _print_other(screen: Console, other: OtherVersionStatus) -> None:
    screen.print(f"A node runs here, but {harmless(other.what)}.", style="bold")
    if other.facts:
        screen.print("It says of itself:")
        facts(screen, [(harmless(f.name), harmless(f.value) or "–") for f in other.facts], indent=2)


def variants_table(variants: list[SoldVariant]) -> RenderableType:
    """What is on sale, on which GPUs if they were named, and how busy it is."""
    are_named = any(sold.gpus for sold in variants)
    rows = [
        (
            harmless(f"{sold.model}:{sold.precision}"),
            " ".join(sold.kinds),
            *([", ".join(harmless(gpu[:UUID_CHARS]) for gpu in sold.gpus)] if are_named else []),
            dollars(sold.price_input),
            dollars(sold.price_output),
            f"{sold.running} of {sold.places}",
            str(sold.waiting),
            "" if sold.is_ready else "not ready",
        )
        for sold in variants
    ]
    header = ("variant", "for", *(["gpus"] if are_named else []), "input/M", "output/M", "running")
    return table((*header, "waiting", ""), rows, right="lll"[: 2 + are_named] + "rrrr")


def _maybe(amount: str | None, command: str) -> str:
    if amount is None:
        return "unknown"
    return dollars(amount) + (f"  (`{command}`)" if int(amount) else "")


def _since(oldest_s: int | None) -> str:
    return f"  the oldest for {oldest_s // 3600} h" if oldest_s and oldest_s >= 3600 else ""


def _print_settled(screen: Console, document: SettleDocument) -> None:
    if not document.claimed and not document.skipped:
        screen.print("Nothing to claim: every voucher is on chain.")
    else:
        screen.print(
            f"Claimed {dollars(document.credited)} with {counted(document.claimed, 'voucher')}."
        )
    if document.skipped:
        screen.print(
            f"{counted(document.skipped, 'voucher')} did not pay; they can be tried again."
        )
    for claim in document.transactions:
        transaction(screen, claim)
    if document.sweep is not None:
        screen.print(f"Sent {dollars(document.swept)} to {document.payout}.")
        transaction(screen, document.sweep)
