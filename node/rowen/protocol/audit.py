"""Whether every unit of money paid to a provider stands for signed work.

``Audit`` is fed with the records of a bundle and judges them; it reads no file and knows no
chain. Feed order: channels, vouchers, chain facts, orders, receipts; then ``finish``.

What is shown: who signed what, that units times price make every amount and amounts every
total, that no receipt is left out of a log and no claim out of the list. What is not: that the
answers were good, that the GPU exists, that the joules are right, and that no voucher newer
than the one presented exists. See docs/auditor.md.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from rowen.protocol.audit_chain import check_chain
from rowen.protocol.audit_channel import AuditedChannel, Figures, sums
from rowen.protocol.audit_facts import ChainFacts
from rowen.protocol.audit_findings import Findings, Kind
from rowen.protocol.audit_log import AuditedJob
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.evidence import CHANNELS, ORDERS, RECEIPTS, VOUCHERS, ChannelRecord
from rowen.protocol.ids import channel_id_of
from rowen.protocol.messages import Signed
from rowen.protocol.signing import recover
from rowen.protocol.statements import Order, Receipt, Voucher

_UNREADABLE: Final = "unreadable"


class Audit:
    """One audit.

    Args:
        domain: Chain and escrow that every signature must be for.
        provider: Whose work it is, 20 bytes.
        findings: Where to report.

    Every method may raise ``Enough``: there is no point in going on.
    """

    def __init__(self, domain: Domain, provider: bytes, findings: Findings) -> None:
        self._domain = domain
        self._provider = provider
        self._findings = findings
        self._failed = partial(findings.add, Kind.FAILED)
        self._channels: dict[bytes, AuditedChannel] = {}
        self._jobs: dict[bytes, AuditedJob] = {}
        self._job_ids: dict[bytes, int] = {}
        self._facts: ChainFacts | None = None
        self._receipts = 0
        self._vouchers = 0
        self._orders = 0

    def channel(self, record: int, key: ChannelRecord) -> None:
        """Takes a channel."""
        if key.provider != self._provider:
            self._failed(
                CHANNELS,
                "the channel is another provider's",
                record=record,
                field="provider",
                expected=self._provider,
                actual=key.provider,
            )
        if key.id in self._channels:
            self._failed(CHANNELS, "the channel stands twice", record=record, channel=key.id)
        self._channels[key.id] = AuditedChannel(record, key, self._findings)

    def voucher(self, record: int, signed: Signed) -> None:
        """Takes a voucher. Its channel follows from who signed it."""
        self._vouchers += 1
        try:
            voucher = Voucher.decode(signed.words)
            signer = recover(voucher.digest(self._domain), signed.signature)
        except PeerError as error:
            self._failed(VOUCHERS, f"{_UNREADABLE}: {error}", record=record)
            return
        channel = self._channels.get(channel_id_of(voucher.payer, voucher.provider, signer))
        if channel is None or voucher.provider != self._provider:
            self._failed(
                VOUCHERS,
                "no channel of the bundle has this payer, provider and signer; the voucher was"
                " changed, or is for another chain or contract",
                record=record,
                field="signature",
                expected="a signer of the bundle",
                actual=signer,
            )
            return
        channel.add_voucher(record, voucher)

    def chain(self, facts: ChainFacts) -> None:
        """Takes what the chain proves."""
        self._facts = facts
        for claim in facts.claims:
            channel = self._channels.get(channel_id_of(claim.payer, self._provider, claim.signer))
            if channel is not None:
                channel.log.remember(claim.receipt_count)

    def order(self, record: int, signed: Signed) -> None:
        """Takes an order."""
        self._orders += 1
        try:
            order = Order.decode(signed.words)
            order_hash = order.digest(self._domain)
            signer = recover(order_hash, signed.signature)
        except PeerError as error:
            self._failed(ORDERS, f"{_UNREADABLE}: {error}", record=record)
            return
        channel = self._channels.get(order.channel_id)
        if channel is None:
            self._failed(
                ORDERS,
                "the order is for a channel that is not in the bundle",
                record=record,
                channel=order.channel_id,
                field="channel_id",
            )
        elif signer != channel.key.signer:
            self._failed(
                ORDERS,
                "the order is not signed by the channel's session key",
                record=record,
                channel=order.channel_id,
                field="signature",
                expected=channel.key.signer,
                actual=signer,
            )
        first = self._job_ids.setdefault(order.job_id, record)
        if first != record:
            self._failed(
                ORDERS,
                f"its job id was used by order {first} before",
                record=record,
                channel=order.channel_id,
                field="job_id",
                expected="a fresh id",
                actual=order.job_id,
            )
        self._jobs[order_hash] = AuditedJob(order=order, record=record)

    def receipt(self, record: int, signed: Signed) -> None:
        """Takes a receipt; those of one channel come in the order of its log."""
        self._receipts += 1
        try:
            receipt = Receipt.decode(signed.words)
            digest = self._domain.digest(Receipt.TYPE_HASH, signed.words)
            signer = recover(digest, signed.signature)
        except PeerError as error:
            self._failed(RECEIPTS, f"{_UNREADABLE}: {error}", record=record)
            return
        channel = self._channels.get(receipt.channel_id)
        if signer != self._provider:
            self._failed(
                RECEIPTS,
                "the receipt is not signed by the provider",
                record=record,
                channel=receipt.channel_id,
                sequence=receipt.sequence,
                field="signature",
                expected=self._provider,
                actual=signer,
            )
        elif channel is None:
            self._failed(
                RECEIPTS,
                "the receipt is for a channel that is not in the bundle",
                record=record,
                channel=receipt.channel_id,
                sequence=receipt.sequence,
                field="channel_id",
            )
        else:
            channel.log.add(record, receipt, digest, self._jobs.get(receipt.order_hash))

    def finish(self) -> None:
        """Compares what was counted with what was promised and paid."""
        for channel in self._channels.values():
            channel.check()
        for job in self._jobs.values():
            # Whatever no receipt refers to could be put in or left out unnoticed.
            if not job.segment:
                self._failed(
                    ORDERS,
                    "no receipt is for this order",
                    record=job.record,
                    channel=job.order.channel_id,
                )
        if self._facts is not None:
            check_chain(self._domain, self._provider, self._facts, self._channels, self._findings)

    def figures(self) -> Figures:
        """What was examined so far."""
        return Figures(
            channels=len(self._channels),
            orders=self._orders,
            receipts=self._receipts,
            vouchers=self._vouchers,
            **sums(self._channels, self._facts),
        )
