"""What an answer is asked for with, and what each provider contributed to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from rowen.protocol.jobs import JobInput
from rowen.protocol.messages import Signed
from rowen.protocol.statements import Order, Receipt
from rowen_scheduler.market import Variant
from rowen_scheduler.selection import Preferences


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        input: What to answer, and sampling.
        preferences: Which providers will do.
        max_cost: For the whole answer, token units.
        max_output: Output units of the whole answer.
    """

    input: JobInput
    preferences: Preferences
    max_cost: int
    max_output: int


@dataclass(slots=True)
class Part:
    """What one provider contributed.

    Attributes:
        provider: Its address, 20 bytes.
        variant: What it ran.
        order: What was signed.
        input_units: Prompt tokens, as the provider counts them.
        output_units: Received.
        receipts: Checked and paid for, with the provider's signatures.
        is_settled: Whether nothing more can be billed: the last receipt came, or none will.
    """

    provider: bytes
    variant: Variant
    order: Order
    input_units: int = 0
    output_units: int = 0
    receipts: list[tuple[Receipt, Signed]] = field(default_factory=list)
    is_settled: bool = False

    @property
    def paid(self) -> int:
        """Sum of its receipts, token units."""
        return sum(receipt.amount for receipt, _ in self.receipts)

    @property
    def owed_at_most(self) -> int:
        """Paid, or all that its order allows.

        A provider that vanished may have gone on for a while, and delivers and bills that when
        it is back.
        """
        return self.paid if self.is_settled else self.order.amount_max

    @property
    def is_blank(self) -> bool:
        """Whether nothing came of it, was billed or can still be."""
        return self.is_settled and not self.receipts and not self.output_units
