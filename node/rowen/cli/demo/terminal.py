"""The demo for people: a terminal, or a plain text where there is none."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from rowen.cli.asking import tokens_per_s
from rowen.cli.demo.wrapping import Wrapper
from rowen.cli.demo_document import (
    DemoAnswer,
    DemoAudit,
    DemoDocument,
    DemoProvider,
    DemoRecovery,
    DemoSettlement,
)
from rowen.cli.documents import PartEntry
from rowen.cli.model_files import downloading
from rowen.cli.people import counted, dollars, short, table
from rowen.engine.models import Progress

WIDTH_MAX: Final = 92
COLOURS: Final = ("cyan", "magenta")
INDENT: Final = "   "


class Terminal:
    """See ``Screen``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._act = 0
        self._names: dict[str, str] = {}
        self._colours: dict[str, str] = {}
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
        colour = self._colours_of_name(what)
        for number, fact in enumerate(facts):
            self._console.print(
                Text.assemble(
                    (INDENT + (what if number == 0 else "").ljust(8), colour),
                    fact,
                    (f"  {elapsed_s:.1f} s" if number == 0 else "", "dim"),
                )
            )

    def cast(self, providers: Sequence[DemoProvider]) -> None:
        """See ``Screen``."""
        for provider, colour in zip(providers, COLOURS, strict=True):
            self._names[provider.address] = provider.name
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
        for part in answer.parts:
            self._print_part(answer, part)
        speed = tokens_per_s(answer.output_units, answer.first_token_ms, answer.elapsed_ms)
        line = (
            f"{dollars(answer.cost)} for {counted(answer.output_units, 'token')} "
            f"({answer.finish}) · first token after {answer.first_token_ms} ms, then {speed}"
        )
        self._console.print(INDENT + line, style="dim")

    def recovered(self, recovery: DemoRecovery) -> None:
        """See ``Screen``."""
        name = self._name(recovery.provider)
        late = int(recovery.paid_after) - int(recovery.paid_before)
        lines = [
            f"{name} is back after {recovery.restart_ms / 1000:.1f} s; "
            f"{counted(recovery.unpaid_found, 'receipt')} had no voucher, now "
            f"{recovery.unpaid_left or 'none'}",
            f"promised to it: {dollars(recovery.paid_before)} when it died, "
            f"{dollars(late)} since then, {dollars(recovery.paid_after)} in all",
        ]
        for line in lines:
            self._console.print(INDENT + line)

    def settled(self, settlements: Sequence[DemoSettlement]) -> None:
        """See ``Screen``."""
        rows = []
        for settled in settlements:
            name = self._name(settled.provider)
            gas = f"{settled.gas_per_row:,} a voucher"
            for claim in settled.claims:
                rows.append((name, "claim", dollars(settled.credited), gas, claim.hash))
            swept = f"{settled.sweep.gas_used:,}"
            rows.append(("", "sweep", dollars(settled.swept), swept, settled.sweep.hash))
        header = ("", "", "amount", "gas", "transaction")
        self._print_table(header, rows, right="llrr")

    def audited(self, audits: Sequence[DemoAudit]) -> None:
        """See ``Screen``."""
        for audit in audits:
            verdict, figures = audit.verdict, audit.verdict.figures
            is_good = verdict.status == "verified"
            self._console.print(
                Text.assemble(
                    INDENT,
                    (self._name(audit.provider).ljust(8), self._colours[audit.provider]),
                    (verdict.status.upper(), "bold green" if is_good else "bold red"),
                    f"  {counted(figures.orders, 'order')}, {counted(figures.receipts, 'receipt')},"
                    f" {counted(figures.vouchers, 'voucher')}, {counted(figures.claims, 'claim')}"
                    f"  (exit code {verdict.exit_code})",
                )
            )
            for finding in verdict.findings:
                self._console.print(f"{INDENT}{finding.kind}: {finding.file}: {finding.detail}")
        pinned = [a for a in audits[0].verdict.checked_against if a.is_pinned]
        words = ", ".join(f"{a.name.replace('_', ' ')} {short(a.value)}" for a in pinned)
        self._console.print(f"{INDENT}checked against {words}", style="dim")

    def closing(self, document: DemoDocument) -> None:
        """See ``Screen``."""
        self._console.print(Text.assemble(("\n   Who says what was paid", "bold")))
        rows = [
            (
                self._name(b.provider),
                dollars(b.client_owes),
                dollars(b.provider_was_promised),
                dollars(b.escrow_claimed),
                dollars(b.payout_received),
                dollars(b.auditor_found),
                "equal" if b.agrees else "DIFFERENT",
            )
            for b in document.books
        ]
        header = ("", "client", "provider", "escrow", "payout", "auditor", "")
        self._print_table(header, rows, right="lrrrrr")
        word = "Everything agrees" if document.is_consistent else "The books do NOT agree"
        style = "bold green" if document.is_consistent else "bold red"
        self._console.print(f"\n{INDENT}{word}", style=style, end="")
        self._console.print(f", {document.elapsed_ms / 1000:.0f} s.")
        if document.kept is None:
            self._console.print(
                f"{INDENT}Nothing is left of this; `rowen demo --keep DIR` keeps the evidence.",
                style="dim",
            )
            return
        evidence = Path(document.kept) / "bundle"
        self._console.print(f"{INDENT}The evidence is in {evidence}. Check it yourself:")
        for audit in document.audits:
            self._console.print(f"{INDENT}  {shlex.join(audit.command)}")

    def _print_part(self, answer: DemoAnswer, part: PartEntry) -> None:
        numbers = part.receipts
        receipts = "no receipt yet"
        if numbers:
            span = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}"
            receipts = f"receipt{'s' if len(numbers) > 1 else ''} {span}"
        self._console.print(
            Text.assemble(
                INDENT,
                (self._name(part.provider).ljust(8), self._colours.get(part.provider, "")),
                f"{counted(part.output_units, 'token')} of output, {part.input_units} of input, "
                f"{dollars(part.cost)}, {receipts}"
                + ("" if part.is_settled else ", one segment unpaid"),
            )
        )

    def _print_table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: str
    ) -> None:
        made = table(header, rows, right=right)
        made.pad_edge = False
        self._console.print(_indented(made))

    def _name(self, address: str) -> str:
        return self._names.get(address, short(address))

    def _colours_of_name(self, name: str) -> str:
        for address, known in self._names.items():
            if known == name:
                return self._colours[address]
        return "bold"


def _indented(renderable: object) -> object:
    from rich.padding import Padding

    return Padding(renderable, (0, 0, 0, len(INDENT)), expand=False)  # type: ignore[arg-type]
