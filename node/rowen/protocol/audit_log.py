"""One channel's receipt log, checked receipt by receipt.

The rules are those under which a seller writes a receipt and a buyer pays for it; see
``seller`` and ``buyer``. An auditor cannot recount the answer, whose text it never sees, but
repeats every other check, and holds the log against the vouchers and claims at their counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rowen.protocol.audit_findings import Findings, Kind
from rowen.protocol.errors import PeerError
from rowen.protocol.evidence import RECEIPTS
from rowen.protocol.metering import NOTHING, Reading, cost
from rowen.protocol.receipt_log import EMPTY_ROOT, Frontier
from rowen.protocol.statements import Order, Receipt, Status

HASH_BYTES = 32


@dataclass(slots=True, kw_only=True)
class AuditedJob:
    """A job as far as its receipts are read.

    Attributes:
        order: What the client signed.
        record: Position of the order in its file.
        reading: As on the newest receipt.
        billed: Sum of amounts, token units.
        segment: Receipts read.
        started_at_ms: As on the first receipt.
        is_over: Whether a receipt ended it.
    """

    order: Order
    record: int
    reading: Reading = NOTHING
    billed: int = 0
    segment: int = 0
    started_at_ms: int = 0
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Prefix:
    """What the first so many receipts of a log add up to.

    Attributes:
        total: Sum of their amounts, token units.
        root: RFC 9162 tree head, 32 bytes.
    """

    total: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Wrong:
    """A rule that a receipt breaks; ``is_proof`` when its signature alone shows it."""

    field: str
    detail: str
    expected: object
    actual: object
    is_proof: bool = False


@dataclass(slots=True)
class _Run:
    """Receipts in sequence without a gap: digests end to end, from one sequence on."""

    start: int
    digests: bytearray = field(default_factory=bytearray)


class AuditedLog:
    """A channel's log while its receipts pass by, in order.

    Args:
        channel_id: 32 bytes.
        findings: Where to report.
    """

    def __init__(self, channel_id: bytes, findings: Findings) -> None:
        self.channel_id = channel_id
        self.total = 0
        self._findings = findings
        self._next = 0
        self._summed = 0
        self._frontier = Frontier()
        self._counts: set[int] = set()
        self._prefixes: dict[int, Prefix] = {0: Prefix(0, EMPTY_ROOT)}
        self._runs = [_Run(0)]

    def remember(self, count: int) -> None:
        """Asks for the prefix of that many receipts; before they are read."""
        self._counts.add(count)

    def prefix(self, count: int) -> Prefix | None:
        """What was asked for; None when the log is shorter."""
        return self._prefixes.get(count)

    @property
    def count(self) -> int:
        """Receipts in the tree."""
        return self._frontier.count

    def add(self, record: int, receipt: Receipt, digest: bytes, job: AuditedJob | None) -> None:
        """Checks the next receipt, whose signature is the provider's.

        Args:
            record: Position in the file.
            receipt: What was signed.
            digest: Its digest, 32 bytes.
            job: What it bills; None when its order is not in the bundle.
        """
        if not self._is_in_sequence(record, receipt, digest):
            return
        for wrong in self._broken_rules(receipt, job):
            self._findings.add(
                Kind.FRAUD if wrong.is_proof else Kind.FAILED,
                RECEIPTS,
                wrong.detail,
                record=record,
                channel=self.channel_id,
                sequence=receipt.sequence,
                field=wrong.field,
                expected=wrong.expected,
                actual=wrong.actual,
            )
        self._append(receipt, digest)
        if job is not None:
            job.reading = Reading(receipt.input_units, receipt.cached_units, receipt.output_units)
            job.billed += receipt.amount
            # What follows is judged against what this one says: one fault, one finding.
            job.segment = receipt.segment + 1
            job.started_at_ms = receipt.started_at_ms
            job.is_over = receipt.status is not Status.PARTIAL

    def _is_in_sequence(self, record: int, receipt: Receipt, digest: bytes) -> bool:
        if receipt.sequence == self._next:
            return True
        if receipt.sequence > self._next:
            first, last = self._next, receipt.sequence - 1
            self._report_sequence(record, receipt, f"receipts {first} to {last} are missing")
            self._runs.append(_Run(receipt.sequence))
            # Judge the rest by itself, so that one gap is one finding.
            self._summed = receipt.total - receipt.amount
            return True
        other = self._digest_at(receipt.sequence)
        if other is None:
            self._report_sequence(record, receipt, "receipt is out of order")
        elif other == digest:
            self._report_sequence(record, receipt, "receipt stands twice in the log")
        else:
            self._findings.add(
                Kind.FRAUD,
                RECEIPTS,
                "the provider signed two different receipts for one sequence number",
                record=record,
                channel=self.channel_id,
                sequence=receipt.sequence,
                field="digest",
                expected=other,
                actual=digest,
            )
        return False

    def _report_sequence(self, record: int, receipt: Receipt, detail: str) -> None:
        self._findings.add(
            Kind.FAILED,
            RECEIPTS,
            detail,
            record=record,
            channel=self.channel_id,
            sequence=receipt.sequence,
            field="sequence",
            expected=self._next,
            actual=receipt.sequence,
        )

    def _digest_at(self, sequence: int) -> bytes | None:
        for run in self._runs:
            at = (sequence - run.start) * HASH_BYTES
            if 0 <= at < len(run.digests):
                return bytes(run.digests[at : at + HASH_BYTES])
        return None

    def _append(self, receipt: Receipt, digest: bytes) -> None:
        self._runs[-1].digests += digest
        self._frontier = self._frontier.append(digest)
        self.total += receipt.amount
        self._summed = receipt.total
        self._next = receipt.sequence + 1
        if self._frontier.count in self._counts:
            prefix = Prefix(self.total, self._frontier.root())
            self._prefixes[self._frontier.count] = prefix

    def _broken_rules(self, receipt: Receipt, job: AuditedJob | None) -> Iterator[Wrong]:
        total = self._summed + receipt.amount
        if receipt.total != total:
            yield Wrong("total", "amounts do not add up", total, receipt.total, is_proof=True)
        if receipt.status is Status.FAILED and receipt.amount:
            yield Wrong("amount", "a failed job is charged", 0, receipt.amount, is_proof=True)
        if receipt.finished_at_ms < receipt.started_at_ms:
            least = f"at least {receipt.started_at_ms}"
            yield Wrong("finished_at_ms", "it ends before it starts", least, receipt.finished_at_ms)
        if job is None:
            yield Wrong(
                "order_hash", "no order in the bundle has this hash", "an order", receipt.order_hash
            )
            return
        yield from _misplaced(self.channel_id, receipt, job)
        yield from _misread(receipt, job)
        yield from _mispriced(receipt, job)


def _misplaced(channel_id: bytes, receipt: Receipt, job: AuditedJob) -> Iterator[Wrong]:
    if job.order.channel_id != channel_id:
        yield Wrong(
            "order_hash", "its order is on another channel", channel_id, job.order.channel_id
        )
    if job.is_over:
        yield Wrong("segment", "its job had ended", "no receipt", receipt.segment)
    if receipt.segment != job.segment:
        yield Wrong("segment", "segments of a job have a gap", job.segment, receipt.segment)
    if job.segment and receipt.started_at_ms != job.started_at_ms:
        yield Wrong(
            "started_at_ms", "its job started before", job.started_at_ms, receipt.started_at_ms
        )


def _misread(receipt: Receipt, job: AuditedJob) -> Iterator[Wrong]:
    before = job.reading
    if receipt.cached_units > receipt.input_units:
        most = f"at most {receipt.input_units}"
        yield Wrong("cached_units", "more cached than input units", most, receipt.cached_units)
    for name, old, new in (
        # They rise where input is read item by item. Of which kind a job is, its client knows.
        ("input_units", before.input_units, receipt.input_units),
        ("cached_units", before.cached_units, receipt.cached_units),
        ("output_units", before.output_units, receipt.output_units),
    ):
        if new < old:
            yield Wrong(name, "a reading fell", f"at least {old}", new)
    if receipt.output_units > job.order.output_units_max:
        most = f"at most {job.order.output_units_max}"
        yield Wrong("output_units", "more than were ordered", most, receipt.output_units)


def _mispriced(receipt: Receipt, job: AuditedJob) -> Iterator[Wrong]:
    reading = Reading(receipt.input_units, receipt.cached_units, receipt.output_units)
    try:
        owed = max(0, cost(job.order, reading) - job.billed)
    except PeerError:
        # More cached than input units: already reported, and such a reading has no price.
        return
    expected = 0 if receipt.status is Status.FAILED else owed
    if receipt.amount != expected and not (receipt.status is Status.FAILED and receipt.amount):
        yield Wrong("amount", "units times price make another amount", expected, receipt.amount)
    if job.billed + receipt.amount > job.order.amount_max:
        most = f"at most {job.order.amount_max} for the job"
        yield Wrong(
            "amount", "the job costs more than was signed", most, job.billed + receipt.amount
        )
