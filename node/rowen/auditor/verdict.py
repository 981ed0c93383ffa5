"""What an audit concludes, and how it is told to a person or a program."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from rowen.protocol.amounts import format_usd
from rowen.protocol.audit_channel import Figures
from rowen.protocol.audit_findings import Finding, Kind, shown

FINDINGS_SHOWN_MAX: Final = 20


class Status(StrEnum):
    """The conclusion. Stable: programs branch on these words and on ``exit_code``."""

    VERIFIED = "verified"
    FAILED = "failed"
    MALFORMED = "malformed"
    UNDETERMINED = "undetermined"

    @property
    def exit_code(self) -> int:
        """What ``rowen audit verify`` exits with."""
        return _EXIT_CODES[self]


_EXIT_CODES: Final = {
    Status.VERIFIED: 0,
    Status.FAILED: 1,
    Status.MALFORMED: 2,
    Status.UNDETERMINED: 3,
}


class Pins(msgspec.Struct, frozen=True, kw_only=True):
    """What the auditor knows from elsewhere. Whatever is None is taken from the bundle.

    Attributes:
        chain_id: EIP-155.
        escrow: Contract address, 20 bytes.
        provider: Operator address, 20 bytes.
        block_hash: Of a block that a trusted node shows, 32 bytes.
    """

    chain_id: int | None = None
    escrow: bytes | None = None
    provider: bytes | None = None
    block_hash: bytes | None = None


class Anchor(msgspec.Struct, frozen=True):
    """One thing the verdict rests on.

    Attributes:
        name: chain_id, escrow, provider, block_number or block_hash.
        value: What was used.
        is_pinned: Whether the auditor gave it; else it is the bundle's own word.
    """

    name: str
    value: str
    is_pinned: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an audit.

    Attributes:
        status: See ``Status``.
        figures: What was examined.
        checked_against: What the verdict rests on.
        findings: Everything that is not as it must be.
    """

    status: Status
    figures: Figures = Figures()
    checked_against: tuple[Anchor, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 verified, 1 failed, 2 malformed, 3 undetermined."""
        return self.status.exit_code

    def to_json(self) -> bytes:
        """One JSON object and a newline; amounts as strings, since they pass 2^53."""
        figures = {
            name: str(value) if name.endswith(("_total", "credit")) else value
            for name, value in msgspec.structs.asdict(self.figures).items()
        }
        shown = {
            "status": self.status,
            "exit_code": self.exit_code,
            "figures": figures,
            "checked_against": self.checked_against,
            "findings": self.findings,
        }
        packed = msgspec.json.encode(shown, order="deterministic")
        return msgspec.json.format(packed, indent=2) + b"\n"


def status_of(findings: list[Finding]) -> Status:
    """The conclusion from the findings: a contradiction outweighs what is missing."""
    kinds = {finding.kind for finding in findings}
    if Kind.MALFORMED in kinds:
        return Status.MALFORMED
    if kinds & {Kind.FAILED, Kind.FRAUD}:
        return Status.FAILED
    if Kind.MISSING in kinds:
        return Status.UNDETERMINED
    return Status.VERIFIED


def anchors(pins: Pins, own: Pins, block_number: int | None) -> tuple[Anchor, ...]:
    """What a verdict rests on: the auditor's pins, and the bundle's own word for the rest."""
    found: list[Anchor] = []
    for name in ("chain_id", "escrow", "provider", "block_hash"):
        pinned, said = getattr(pins, name), getattr(own, name)
        if pinned is not None or said is not None:
            value = said if pinned is None else pinned
            found.append(Anchor(name, shown(value), pinned is not None))
        if name == "provider" and block_number is not None:
            found.append(Anchor("block_number", str(block_number), pins.block_hash is not None))
    return tuple(found)


def lines(verdict: Verdict) -> Iterator[str]:
    """The verdict for a person, line by line, without colour."""
    yield f"{verdict.status.value.upper()} (exit code {verdict.exit_code})"
    figures = verdict.figures
    if figures.channels:
        nouns = ("channel", "order", "receipt", "voucher", "claim")
        counts = [_counted(getattr(figures, f"{noun}s"), noun) for noun in nouns]
        yield f"examined: {', '.join(counts)}"
        yield f"acknowledged: {format_usd(figures.acknowledged_total)}"
    if figures.claims or verdict.status is Status.VERIFIED:
        claimed, swept = format_usd(figures.claimed_total), format_usd(figures.swept_total)
        yield f"claimed: {claimed}, of which swept: {swept}"
        yield f"not claimed yet: {format_usd(figures.unclaimed_total)}"
        if figures.unclaimable_total:
            beyond = format_usd(figures.unclaimable_total)
            yield f"of this, more than its channel has locked: {beyond}"
    if verdict.checked_against:
        yield "checked against:"
    for anchor in verdict.checked_against:
        yield f"  {anchor.name} {anchor.value} ({_origin(anchor)})"
    findings = verdict.findings
    for finding in findings[:FINDINGS_SHOWN_MAX]:
        yield str(finding)
    if len(findings) > FINDINGS_SHOWN_MAX:
        yield f"and {_counted(len(findings) - FINDINGS_SHOWN_MAX, 'more finding')}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _origin(anchor: Anchor) -> str:
    if anchor.is_pinned:
        return "given"
    if anchor.name.startswith("block"):
        return "not pinned, taken from the bundle: compare it with a node you trust"
    return "not pinned, taken from the bundle"
