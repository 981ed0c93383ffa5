"""What ``earnings``, ``withdraw`` and ``payout`` print with ``--json``."""

from __future__ import annotations

from typing import Literal

from rowen.cli.document_types import Count, Document
from rowen.cli.documents import Address, Amount, Difference, Transaction, Wei


class EarningsLine(Document, frozen=True):
    """A line of the books; see ``provider.earnings.LineReport``. ``net`` may be a loss."""

    key: str
    jobs: Count
    receipts: Count
    input_units: Count
    output_units: Count
    potential: Amount
    earned: Amount
    settled: Amount
    energy_mj: Count
    unmetered_jobs: Count
    gas_wei: Wei | None
    gas: Amount | None
    power: Amount | None
    net: Difference
    unknown: list[Literal["gas", "power"]]


class EarningsDocument(Document, frozen=True):
    """``rowen earnings``. Days follow ``timezone``; ``since`` and ``until`` are among them."""

    by: Literal["day", "variant", "channel"]
    since: str | None
    until: str | None
    timezone: str
    lines: list[EarningsLine]
    total: EarningsLine
    credit: Amount


class WithdrawDocument(Document, frozen=True):
    """``rowen withdraw``. ``transaction`` is null when nothing was sent."""

    credit: Amount
    payout: Address
    is_own_key: bool
    gas_wei: Wei
    gas: Amount | None
    transaction: Transaction | None


class PayoutDocument(Document, frozen=True):
    """``rowen payout``. ``pending`` takes over from ``apply_at_s`` (Unix time) on."""

    payout: Address
    is_own_key: bool
    pending: Address | None
    apply_at_s: Count
    transaction: Transaction | None
