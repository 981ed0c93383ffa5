"""The demo for people: a terminal, or a plain text where there is none."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from rowen.cli.asking import tokens_per_s
from rowen.cli.buying_documents import PartEntry
from rowen.cli.demo.wrapping import Wrapper
from rowen.cli.demo_document import (
    DemoAnswer,
    DemoAudit,
    DemoDocument,
    DemoProvider,
    DemoRecovery,
    DemoSettlement,
)
from rowen.cli.model_files import downloading
from rowen.cli.people import column_dollars, counted, dollars, short, table, to_copy
from rowen.engine.models import Progress

WIDTH_MAX: Final = 92
COLOURS: Final = ("cyan", "magenta")
INDENT: Final = "   "
COLUMN: Final = 8
HASH_WIDTH_MIN: Final = 116
"""Columns that a table with a whole transaction hash needs."""

PINS: Final = ("chain_id", "escrow", "provider", "block_hash")


class Terminal:
    """See ``Screen``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._act = 0
        self._names: dict[str, str] = {}
        self._colours: dict[str, str] = {}
        self._credits: dict[str, str] = {}
        width = min(console.width, WIDTH_MAX) - len(INDENT)
        self._answer = Wrapper(console, indent=INDENT, width=width)

    def opening(self) -> None:
        """See ``Screen``."""
        self._console.print("Rowen", style="bold", end="")
        self._console.print("  an owner, a developer and an auditor, all on this machine\n")

    def downloading(self, name: str) -> AbstractContextManager[Progress | None]:
        """See ``Screen``."""
        return downloading(name, is_shown=True)

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """See ``Screen``."""
        if not self._console.is_terminal:
            return nullcontext()
        return self._console.status(f"{what} …", spinner="dots", spinner_style="dim")

    def ready(self, what: str, facts: Sequence[str], elapsed_s: float) -> None:
        """See ``Screen``."""
        for number, fact in enumerate(facts):
            is_first = number == 0
            self._line(
                (what if is_first else "", self._colour_of(what)),
                (fact, "" if is_first else "dim"),
                (f"  {elapsed_s:.1f} s" if is_first else "", "dim"),
            )

    def cast(self, providers: Sequence[DemoProvider]) -> None:
        """See ``Screen``."""
        for provider, colour in zip(providers, COLOURS, strict=True):
            self._names[provider.address] = provider.name
            self._credits[provider.address] = provider.credit
            self._colours[provider.address] = colour

    def act(self, title: str, explanation: str) -> None:
        """See ``Screen``."""
        self._act += 1
        self._console.print(
            Text.assemble((f"\n{self._act}  {title}", "bold"), (f"  {explanation}", "dim"))
        )

    def question(self, text: str) -> None:
        """See ``Screen``."""
        self._console.print(f"{INDENT}» {text}")

    def text(self, piece: str, provider: str) -> None:
        """See ``Screen``."""
        self._answer.write(piece, self._colours.get(provider, ""))

    def aside(self, note: str) -> None:
        """See ``Screen``."""
        self._answer.write(f" [{note}] ", "bold red")

    def answered(self, answer: DemoAnswer) -> None:
        """See ``Screen``."""
        self._answer.finish()
        speed = tokens_per_s(answer.output_units, answer.first_token_ms, answer.elapsed_ms)
        self._line(
            ("", ""),
            (
                f"{counted(answer.output_units, 'token')} ({answer.finish}), first after "
                f"{answer.first_token_ms} ms, then {speed}; {dollars(answer.cost)}",
                "dim",
            ),
        )
        for part in answer.parts:
            self._line((self._name(part.provider), self._colour(part.provider)), (_part(part), ""))

    def recovered(self, recovery: DemoRecovery) -> None:
        """See ``Screen``."""
        lost = recovery.delivered_units - recovery.billed_units
        late = int(recovery.paid_after) - int(recovery.paid_before)
        credit = dollars(self._credits[recovery.provider])
        self._line(
            (self._name(recovery.provider), self._colour(recovery.provider)),
            (f"is back after {recovery.restart_ms / 1000:.1f} s", ""),
        )
        lines = (
            f"its vouchers: {dollars(recovery.paid_before)} when it died, "
            f"{dollars(recovery.paid_after)} now",
            f"it ended the job it died in: {counted(recovery.unpaid_found, 'receipt')} without a "
            f"voucher, now {recovery.unpaid_left or 'none'}, for {dollars(late)} more",
            f"{counted(lost, 'token')} it delivered and had not billed stay unpaid; its credit "
            f"line of {credit} bounds that",
        )
        for line in lines:
            self._line(("", ""), (line, ""))

    def settled(self, settlements: Sequence[DemoSettlement]) -> None:
        """See ``Screen``."""
        rows: list[tuple[str, ...]] = []
        for settled in settlements:
            name = self._name(settled.provider)
            gas = f"{settled.gas_per_row:,} a voucher"
            for claim in settled.claims:
                rows.append(
                    (name, "claim", column_dollars(settled.credited), gas, self._hash(claim.hash))
                )
            gas, sweep = f"{settled.sweep.gas_used:,}", self._hash(settled.sweep.hash)
            rows.append(("", "sweep", column_dollars(settled.swept), gas, sweep))
            rows.append(("", "to", "", "", short(settled.payout)))
        self._table(("", "", "amount", "gas", "transaction"), rows, right="llrr")

    def audited(self, audits: Sequence[DemoAudit]) -> None:
        """See ``Screen``."""
        for audit in audits:
            verdict, figures = audit.verdict, audit.verdict.figures
            is_good = verdict.status == "verified"
            counts = (
                counted(figures.channels, "channel"),
                counted(figures.orders, "order"),
                counted(figures.receipts, "receipt"),
                counted(figures.vouchers, "voucher"),
                counted(figures.claims, "claim"),
            )
            self._line(
                (self._name(audit.provider), self._colour(audit.provider)),
                (verdict.status.upper(), "bold green" if is_good else "bold red"),
                (f"  {', '.join(counts)} (exit {verdict.exit_code})", ""),
            )
            pinned = [a for a in verdict.checked_against if a.name in PINS and a.is_pinned]
            against = ", ".join(f"{a.name.replace('_', ' ')} {short(a.value)}" for a in pinned)
            self._line(("", ""), (f"against {against}", "dim"))
            for finding in verdict.findings:
                self._line(("", ""), (f"{finding.kind}: {finding.file}: {finding.detail}", "red"))

    def closing(self, document: DemoDocument) -> None:
        """See ``Screen``."""
        self._console.print(f"\n{INDENT}What was paid, as each of them knows it", style="bold")
        rows = [
            (
                self._name(b.provider),
                column_dollars(b.client_owes),
                column_dollars(b.provider_was_promised),
                column_dollars(b.escrow_claimed),
                column_dollars(b.payout_received),
                column_dollars(b.auditor_found),
                "equal" if b.agrees else "DIFFERENT",
            )
            for b in document.books
        ]
        header = ("", "client", "provider", "escrow", "payout", "auditor", "")
        self._table(header, rows, right="lrrrrr")
        self._evidence(document)
        good = document.is_consistent
        self._console.print(
            Text.assemble(
                f"\n{INDENT}",
                ("VERIFIED" if good else "FAILED", "bold green" if good else "bold red"),
                f"  {'all books agree' if good else 'the books do NOT agree'}, "
                f"{document.elapsed_ms / 1000:.0f} s",
            )
        )

    def _evidence(self, document: DemoDocument) -> None:
        self._console.print()
        if document.kept is None:
            self._console.print(
                f"{INDENT}Nothing is left behind; `rowen demo --keep DIR` keeps the evidence.",
                style="dim",
            )
            return
        evidence = Path(document.kept) / "bundle"
        self._console.print(f"{INDENT}The evidence is in {evidence}. Check it yourself:")
        for audit in document.audits:
            to_copy(self._console, f"{INDENT}{shlex.join(audit.command)}")

    def _line(self, first: tuple[str, str], *rest: tuple[str, str]) -> None:
        """A line whose first word stands in a column of its own; the rest wraps beside it."""
        width = max(COLUMN, self._console.width - len(INDENT) - COLUMN)
        name, style = first
        for part in Text.assemble(*rest).wrap(self._console, width):
            part.rstrip()
            self._console.print(Text.assemble(INDENT, (name.ljust(COLUMN), style), part))
            name = ""

    def _table(self, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: str) -> None:
        made = table(header, rows, right=right)
        self._console.print(Padding(made, (0, 0, 0, len(INDENT)), expand=False))

    def _hash(self, text: str) -> str:
        return text if self._console.width >= HASH_WIDTH_MIN else short(text)

    def _name(self, address: str) -> str:
        return self._names.get(address, short(address))

    def _colour(self, address: str) -> str:
        return self._colours.get(address, "")

    def _colour_of(self, name: str) -> str:
        known = {called: address for address, called in self._names.items()}
        return self._colours[known[name]] if name in known else "bold"


def _part(part: PartEntry) -> str:
    """What a provider delivered, and how it was paid."""
    numbers = part.receipts
    if not numbers:
        return f"{counted(part.output_units, 'token')}, nothing billed yet"
    span = f"receipt {numbers[0]}"
    if len(numbers) > 1:
        span = f"receipts {numbers[0]} to {numbers[-1]}"
    open_units = part.output_units - part.billed_units
    left = f", {open_units} not billed" if open_units else ""
    return (
        f"{part.input_units} tokens in, {part.output_units} out{left}: {dollars(part.cost)} "
        f"({span}, voucher {dollars(part.voucher_total or 0)})"
    )
