"""What ``rowen demo --json`` prints: everything the demo measured, in one document."""

from __future__ import annotations

from typing import Literal

from rowen.cli.buying_documents import PartEntry, Turned
from rowen.cli.document_types import Count, Document
from rowen.cli.documents import Address, Amount, Transaction, VerdictDocument


class DemoProvider(Document, frozen=True):
    """A provider of the demo; a process of its own."""

    name: str
    address: Address
    addresses: list[str]
    payout: Address
    price_input: Amount
    price_output: Amount
    credit: Amount


class DemoAnswer(Document, frozen=True):
    """One answer that was bought; times in milliseconds, as the client saw them."""

    act: Literal["bought", "cancelled", "continued"]
    question: str
    text: str
    finish: Literal["stop", "length", "cancelled", "preempted", "failed"]
    output_units: Count
    cost: Amount
    first_token_ms: Count
    elapsed_ms: Count
    parts: list[PartEntry]
    attempts: list[Turned]


class DemoRecovery(Document, frozen=True):
    """The killed provider after its restart.

    Attributes:
        provider: Whose.
        delivered_units: Tokens the client had received from it when it died.
        billed_units: Of these, on receipts; the others are the provider's loss.
        paid_before: What the client had promised when the provider died.
        unpaid_found: Receipts the restarted provider had no voucher for.
        unpaid_left: The same once the client was back.
        paid_after: What the client had promised then.
        restart_ms: From starting the process to its being ready.
    """

    provider: Address
    delivered_units: Count
    billed_units: Count
    paid_before: Amount
    unpaid_found: Count
    unpaid_left: Count
    paid_after: Amount
    restart_ms: Count


class DemoSettlement(Document, frozen=True):
    """One provider's claim and sweep."""

    provider: Address
    claimed: Count
    credited: Amount
    claims: list[Transaction]
    gas_per_row: Count
    swept: Amount
    payout: Address
    sweep: Transaction


class DemoAudit(Document, frozen=True):
    """One bundle, judged offline. ``command`` repeats it; the path is null unless kept."""

    provider: Address
    path: str | None
    command: list[str]
    verdict: VerdictDocument


class DemoBooks(Document, frozen=True):
    """One provider's total, as five parties see it; the demo fails unless all are equal."""

    provider: Address
    client_owes: Amount
    provider_was_promised: Amount
    escrow_claimed: Amount
    payout_received: Amount
    auditor_found: Amount
    agrees: bool


class DemoDocument(Document, frozen=True):
    """``rowen demo``."""

    is_consistent: bool
    chain_id: Count
    escrow: Address
    model: str
    precision: str
    providers: list[DemoProvider]
    answers: list[DemoAnswer]
    recovery: DemoRecovery
    settlements: list[DemoSettlement]
    audits: list[DemoAudit]
    books: list[DemoBooks]
    elapsed_ms: Count
    kept: str | None
