"""One channel of a bundle: its log against its vouchers, and what it adds to the sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TypedDict

import msgspec

from rowen.protocol.audit_facts import ChainFacts
from rowen.protocol.audit_findings import Findings, Kind
from rowen.protocol.audit_log import AuditedLog
from rowen.protocol.evidence import CHANNELS, RECEIPTS, VOUCHERS, ChannelRecord
from rowen.protocol.statements import Voucher


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was examined and what it adds up to; amounts in token units.

    Attributes:
        channels: Channels.
        orders: Jobs.
        receipts: Receipts.
        vouchers: Vouchers.
        claims: Claim events.
        acknowledged_total: Sum of the newest vouchers' totals.
        claimed_total: Of these, claimed on chain.
        unclaimed_total: Not claimed yet.
        unclaimable_total: Of the unclaimed, on channels whose lock does not cover it.
        credit: Claimed and not swept yet.
        swept_total: Claimed and sent to the payout address: claimed less credit.
    """

    channels: int = 0
    orders: int = 0
    receipts: int = 0
    vouchers: int = 0
    claims: int = 0
    acknowledged_total: int = 0
    claimed_total: int = 0
    unclaimed_total: int = 0
    unclaimable_total: int = 0
    credit: int = 0
    swept_total: int = 0


class Sums(TypedDict, total=False):
    """The amounts of ``Figures``; those only a chain can tell are left out without one."""

    claims: int
    acknowledged_total: int
    claimed_total: int
    unclaimed_total: int
    unclaimable_total: int
    credit: int
    swept_total: int


class AuditedChannel:
    """A channel while its vouchers and receipts pass by.

    Args:
        record: Position in its file.
        key: What names it.
        findings: Where to report.
    """

    def __init__(self, record: int, key: ChannelRecord, findings: Findings) -> None:
        self.id = key.id
        self.key = key
        self.log = AuditedLog(key.id, findings)
        self._record = record
        self._vouchers: list[tuple[int, Voucher]] = []
        self._failed = partial(findings.add, Kind.FAILED)

    @property
    def newest(self) -> Voucher | None:
        """The voucher with the highest count."""
        return self._vouchers[-1][1] if self._vouchers else None

    @property
    def voucher_counts(self) -> set[int]:
        """How many receipts each voucher covers."""
        return {voucher.receipt_count for _, voucher in self._vouchers}

    def add_voucher(self, record: int, voucher: Voucher) -> None:
        """Takes a voucher signed by this channel's key; oldest first, before any receipt."""
        before = self.newest
        if before is not None and voucher.receipt_count <= before.receipt_count:
            self._failed(
                VOUCHERS,
                "vouchers of a channel rise",
                record=record,
                channel=self.id,
                field="receipt_count",
                expected=f"over {before.receipt_count}",
                actual=voucher.receipt_count,
            )
        self._vouchers.append((record, voucher))
        self.log.remember(voucher.receipt_count)

    def check(self) -> None:
        """Compares the vouchers with the log, once it is read to the end."""
        newest = self.newest
        if newest is None:
            self._failed(
                CHANNELS,
                "the bundle has no voucher for this channel",
                record=self._record,
                channel=self.id,
            )
            return
        for record, voucher in self._vouchers:
            for name, detail, expected, actual in self._broken_promises(voucher):
                self._failed(
                    VOUCHERS,
                    detail,
                    record=record,
                    channel=self.id,
                    field=name,
                    expected=expected,
                    actual=actual,
                )
        if self.log.count > newest.receipt_count:
            # Nobody acknowledged them: they could be put in or left out unnoticed.
            self._failed(
                RECEIPTS,
                "receipts stand beyond the newest voucher",
                channel=self.id,
                sequence=newest.receipt_count,
                field="count",
                expected=newest.receipt_count,
                actual=self.log.count,
            )

    def _broken_promises(self, voucher: Voucher) -> Iterator[tuple[str, str, object, object]]:
        prefix = self.log.prefix(voucher.receipt_count)
        if prefix is None:
            yield (
                "receipt_count",
                "receipts are missing: the voucher covers more than the log has",
                voucher.receipt_count,
                self.log.count,
            )
            return
        if voucher.total != prefix.total:
            detail = "the receipts add up to another total"
            yield "total", detail, prefix.total, voucher.total
        if voucher.receipts_root != prefix.root:
            detail = "the voucher was signed for other receipts"
            yield "receipts_root", detail, voucher.receipts_root, prefix.root


def sums(channels: Mapping[bytes, AuditedChannel], facts: ChainFacts | None) -> Sums:
    """What vouchers and claims add up to."""
    newest = {key: channel.newest.total for key, channel in channels.items() if channel.newest}
    acknowledged = sum(newest.values())
    if facts is None:
        return Sums(acknowledged_total=acknowledged)
    claimed = sum(view.claimed for view in facts.channels.values())
    return Sums(
        claims=len(facts.claims),
        acknowledged_total=acknowledged,
        claimed_total=claimed,
        unclaimed_total=acknowledged - claimed,
        unclaimable_total=sum(
            total - facts.channels[key].claimed
            for key, total in newest.items()
            if key in facts.channels and total > facts.channels[key].locked
        ),
        credit=facts.credit,
        swept_total=claimed - facts.credit,
    )
