"""A provider's claims, held against its receipt logs and against what the chain proves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from rowen.protocol.audit_channel import AuditedChannel
from rowen.protocol.audit_facts import ChainFacts, Claim, rolled
from rowen.protocol.audit_findings import Findings, Kind
from rowen.protocol.eip712 import Domain
from rowen.protocol.evidence import SNAPSHOT, VOUCHERS
from rowen.protocol.ids import channel_id_of


def check_chain(
    domain: Domain,
    provider: bytes,
    facts: ChainFacts,
    channels: Mapping[bytes, AuditedChannel],
    findings: Findings,
) -> None:
    """Holds every claim against its log, and all of them against the proven values.

    Args:
        domain: Of the escrow.
        provider: Whose claims they are, 20 bytes.
        facts: Proven.
        channels: By id, read to the end; each log was told to ``remember`` the claims' counts.
        findings: Where to report.
    """
    failed = partial(findings.add, Kind.FAILED, SNAPSHOT)
    actual = rolled(domain, provider, facts.claims)
    if actual != facts.accumulator:
        failed(
            "the claim events are not all of the provider's claims, or were changed",
            field="accumulator",
            expected=facts.accumulator,
            actual=actual,
        )
    claimed: dict[bytes, list[Claim]] = {}
    for index, claim in enumerate(facts.claims):
        channel_id = channel_id_of(claim.payer, provider, claim.signer)
        earlier = claimed.setdefault(channel_id, [])
        before = earlier[-1].total if earlier else 0
        for field, detail, expected, found in _wrongs(claim, before, channels.get(channel_id)):
            failed(
                f"claim {index}: {detail}",
                channel=channel_id,
                field=field,
                expected=expected,
                actual=found,
            )
        earlier.append(claim)
    _check_channels(facts, claimed, channels, findings)
    _check_vouchers(claimed, channels, findings)
    total = sum(claims[-1].total for claims in claimed.values())
    if facts.credit > total:
        failed(
            "the escrow credits more than was ever claimed",
            field="credit",
            expected=f"at most {total}",
            actual=facts.credit,
        )


def _wrongs(
    claim: Claim, before: int, channel: AuditedChannel | None
) -> Iterator[tuple[str, str, object, object]]:
    if claim.total <= before:
        yield "total", "claims of a channel only rise", f"over {before}", claim.total
    if channel is None:
        detail = "money was claimed on a channel that is not in the bundle"
        yield "channel", detail, "a channel of the bundle", ""
        return
    prefix = channel.log.prefix(claim.receipt_count)
    if prefix is None:
        detail = "receipts are missing: the claim covers more than the log has"
        yield "receipt_count", detail, claim.receipt_count, channel.log.count
        return
    if claim.total != prefix.total:
        yield "total", "the receipts add up to another total", prefix.total, claim.total
    if claim.receipts_root != prefix.root:
        detail = "the claim was made for other receipts"
        yield "receipts_root", detail, claim.receipts_root, prefix.root


def _check_channels(
    facts: ChainFacts,
    claimed: Mapping[bytes, list[Claim]],
    channels: Mapping[bytes, AuditedChannel],
    findings: Findings,
) -> None:
    # Exactly the channels of the bundle, so that no part of a snapshot goes unexamined.
    for channel_id in sorted({*facts.channels, *channels}):
        view = facts.channels.get(channel_id)
        claims = claimed.get(channel_id, [])
        total = claims[-1].total if claims else 0
        if view is None:
            findings.add(Kind.MISSING, SNAPSHOT, "no proof for this channel", channel=channel_id)
        elif channel_id not in channels:
            findings.add(
                Kind.FAILED, SNAPSHOT, "a proof for a channel without evidence", channel=channel_id
            )
        elif view.claimed != total:
            findings.add(
                Kind.FAILED,
                SNAPSHOT,
                "the claim events do not lead to what the chain shows",
                channel=channel_id,
                field="claimed",
                expected=view.claimed,
                actual=total,
            )


def _check_vouchers(
    claimed: Mapping[bytes, list[Claim]],
    channels: Mapping[bytes, AuditedChannel],
    findings: Findings,
) -> None:
    # Exactly what was claimed and the newest: one more or less would be noticed by nobody else.
    for channel_id, channel in channels.items():
        if channel.newest is None:
            continue
        needed = {claim.receipt_count for claim in claimed.get(channel_id, [])}
        needed.add(channel.newest.receipt_count)
        for count in sorted(needed ^ channel.voucher_counts):
            detail = (
                "no voucher for this claim" if count in needed else "neither claimed nor newest"
            )
            findings.add(
                Kind.FAILED,
                VOUCHERS,
                detail,
                channel=channel_id,
                field="receipt_count",
                expected=count if count in needed else "",
                actual="" if count in needed else count,
            )
