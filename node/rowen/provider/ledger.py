"""An owner's books: what every receipt became, and what it cost. Pure.

Every token unit on a receipt is in exactly one place: *potential* while no voucher covers it (the
client may yet vanish), *earned* once one does (the contract will pay it), *settled* once a claim
brought it on chain. So they add up to what was billed, to the unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rowen.protocol.statements import EnergySource, Receipt, Status
from rowen_scheduler.claiming import COIN_WEI
from rowen_scheduler.pricing import KWH_MJ


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a channel's receipts have come.

    Attributes:
        receipt_count: Covered by its newest voucher.
        claimed: On chain, token units since the channel opened.
    """

    receipt_count: int
    claimed: int


@dataclass(slots=True, kw_only=True)
class Line:
    """Sums over receipts. Amounts are token units.

    Attributes:
        jobs: That ended.
        receipts: Written.
        input_units: Read, cached ones included.
        output_units: Written.
        potential: Billed, and covered by no voucher.
        earned: Covered by a voucher, and not on chain.
        settled: On chain.
        energy_mj: Measured, of jobs whose energy was.
        unmetered_jobs: Ended jobs whose energy was not measured.
    """

    jobs: int = 0
    receipts: int = 0
    input_units: int = 0
    output_units: int = 0
    potential: int = 0
    earned: int = 0
    settled: int = 0
    energy_mj: int = 0
    unmetered_jobs: int = 0

    def add(self, sale: Sale, standing: Standing) -> None:
        """Counts one receipt."""
        settled = min(sale.amount, max(0, standing.claimed - (sale.total - sale.amount)))
        is_covered = sale.sequence < standing.receipt_count
        self.settled += settled
        self.earned += sale.amount - settled if is_covered else 0
        self.potential += 0 if is_covered else sale.amount - settled
        self.receipts += 1
        self.jobs += sale.is_last
        self.input_units += sale.input_units
        self.output_units += sale.output_units
        self.energy_mj += sale.energy_mj
        self.unmetered_jobs += sale.is_last and not sale.is_metered

    @property
    def billed(self) -> int:
        """On receipts."""
        return self.potential + self.earned + self.settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """What one receipt adds to the books: differences, where receipts hold readings.

    Attributes:
        channel_id: 32 bytes.
        variant: What was sold, 32 bytes.
        sequence: Its place in the channel's log.
        at_ms: When the segment ended, Unix time.
        total: Of the log up to and with it, token units.
        amount: Token units.
        input_units: Tokens read since the job's receipt before.
        output_units: Tokens written since then.
        energy_mj: Energy since then.
        is_metered: Whether that was measured.
        is_last: Whether the job ends with it.
    """

    channel_id: bytes
    variant: bytes
    sequence: int
    at_ms: int
    total: int
    amount: int
    input_units: int
    output_units: int
    energy_mj: int
    is_metered: bool
    is_last: bool


@dataclass(slots=True)
class Channel:
    """Turns a channel's receipts, in order, into sales."""

    channel_id: bytes
    _orders: dict[bytes, bytes] = field(default_factory=dict)
    _last: dict[bytes, Receipt] = field(default_factory=dict)

    def ordered(self, job_id: bytes, variant: bytes) -> None:
        """Takes note of what a job is about."""
        self._orders[job_id] = variant

    def sold(self, job_id: bytes, receipt: Receipt) -> Sale:
        """The next receipt of the log."""
        before = self._last.get(job_id)
        is_last = receipt.status is not Status.PARTIAL
        if is_last:
            self._last.pop(job_id, None)
        else:
            self._last[job_id] = receipt
        return Sale(
            channel_id=self.channel_id,
            variant=self._orders[job_id],
            sequence=receipt.sequence,
            at_ms=receipt.finished_at_ms,
            total=receipt.total,
            amount=receipt.amount,
            # Never less than nothing: a node that crashed may not know how far a job came.
            input_units=max(0, receipt.input_units - (before.input_units if before else 0)),
            output_units=max(0, receipt.output_units - (before.output_units if before else 0)),
            energy_mj=max(0, receipt.energy_mj - (before.energy_mj if before else 0)),
            is_metered=receipt.energy_source is not EnergySource.NONE,
            is_last=is_last,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What selling cost. Token units, rounded up; None where it is not known.

    Attributes:
        gas: For transactions.
        power: For the energy that was measured.
        net: Settled and earned, less what is known of the costs.
        unknown: What is missing from it: ``gas`` or ``power``.
    """

    gas: int | None
    power: int | None
    net: int
    unknown: tuple[str, ...]


def bill(line: Line, gas_wei: int | None, coin_value: int, kwh: int) -> Bill:
    """What is left of a line.

    Args:
        line: The sums.
        gas_wei: Spent; None where it belongs to no single line.
        coin_value: What 10^18 wei are worth, token units; 0 when that is not set.
        kwh: Price of a kilowatt-hour, token units; 0 when that is not set.
    """
    unknown = []
    gas = None
    if gas_wei == 0 or (gas_wei is not None and coin_value):
        gas = -(-gas_wei * coin_value // COIN_WEI)
    elif gas_wei is not None:
        unknown.append("gas")
    power = -(-line.energy_mj * kwh // KWH_MJ) if kwh else None
    if line.jobs and (power is None or line.unmetered_jobs):
        unknown.append("power")
    net = line.settled + line.earned - (gas or 0) - (power or 0)
    return Bill(gas=gas, power=power, net=net, unknown=tuple(unknown))


def total(lines: Iterable[Line]) -> Line:
    """All of them together."""
    whole = Line()
    for line in lines:
        for name in Line.__dataclass_fields__:
            setattr(whole, name, getattr(whole, name) + getattr(line, name))
    return whole
