"""Writes an evidence bundle from a provider's journal.

The same journal and the same snapshot give the same bytes. A bundle appears whole or not at
all, and never replaces a different one.

A bundle holds what can be checked and nothing else: channels with a voucher, their receipts as
far as the newest voucher covers them, the orders of these, that voucher and every claimed one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from rowen.auditor.draft import Draft
from rowen.protocol.audit_facts import ChainFacts
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import UserError
from rowen.protocol.evidence import (
    CHANNELS,
    ORDERS,
    RECEIPTS,
    SNAPSHOT,
    VOUCHERS,
    BlockEntry,
    ChannelRecord,
    Manifest,
    encode_manifest,
    encode_record,
)
from rowen.protocol.ids import channel_id_of
from rowen.protocol.messages import Signed
from rowen.protocol.signing import recover
from rowen.protocol.statements import Voucher
from rowen.store.base import OrderKept, ReceiptKept, Role, VoucherKept

T = TypeVar("T")


class EvidenceSource(Protocol):
    """What an export needs of a journal; see ``rowen.store.base.Journal``."""

    async def vouchers(self, role: Role) -> list[VoucherKept]:
        """The newest voucher of every channel that has one."""
        ...

    def orders_of(self, channel_id: bytes) -> AsyncIterator[OrderKept]:
        """All orders of a channel."""
        ...

    def receipts_of(self, channel_id: bytes) -> AsyncIterator[ReceiptKept]:
        """All receipts of a channel, in sequence."""
        ...

    def vouchers_of(self, channel_id: bytes) -> AsyncIterator[VoucherKept]:
        """All vouchers of a channel, oldest first."""
        ...


class ChainEvidence(Protocol):
    """What an export needs of a chain; see ``rowen.auditor.snapshots.SnapshotEvidence``."""

    facts: ChainFacts

    def encode(self, channel_ids: Collection[bytes]) -> bytes:
        """The snapshot file for these channels and no others."""
        ...


async def export(
    source: EvidenceSource,
    domain: Domain,
    provider: bytes,
    path: Path,
    chain: ChainEvidence | None,
    only: Collection[bytes] = (),
) -> Manifest:
    """Writes a bundle; does nothing when the very same one is there.

    Args:
        source: The provider's journal.
        domain: Which deployment.
        provider: Operator address, 20 bytes.
        path: The folder to make; its parent exists.
        chain: What a node proved; None for a bundle that can only be judged undetermined.
        only: Ids of channels, for a bundle about these; all of them by default. Such a bundle
            cannot show that nothing else was paid, so it has no chain.

    Raises:
        UserError: Another bundle, or something else, is at the path; the chain shows a claim on
            a channel that the journal knows nothing of; or one that is asked for has no voucher.
        Unavailable: The journal failed.
        ValueError: The journal contradicts itself.
    """
    assert chain is None or not only, "a part of the books proves nothing about the whole"
    facts = chain.facts if chain else None
    channels = await _newest_vouchers(source, domain, provider)
    if only:
        lacking = set(only) - {key.id for key, _ in channels}
        if lacking:
            raise UserError(
                f"there is no voucher on channel 0x{min(lacking).hex()} in this journal"
            )
        channels = [(key, kept) for key, kept in channels if key.id in only]
    claimed = _claimed_counts(facts, provider)
    if facts is not None:
        channels = _proven(channels, facts, claimed)
    async with Draft(path) as draft:
        for key, newest in channels:
            await _write_channel(draft, source, key, newest, claimed.get(key.id, set()))
        if chain is not None:
            await draft.add(SNAPSHOT, chain.encode({key.id for key, _ in channels}))
        manifest = Manifest(
            chain_id=domain.chain_id,
            escrow=f"0x{domain.escrow.hex()}",
            provider=f"0x{provider.hex()}",
            block=_block_entry(facts),
            files=draft.entries(),
        )
        await draft.publish(encode_manifest(manifest))
    return manifest


def _block_entry(facts: ChainFacts | None) -> BlockEntry | None:
    if facts is None:
        return None
    return BlockEntry(facts.block_number, f"0x{facts.block_hash.hex()}")


async def _newest_vouchers(
    source: EvidenceSource, domain: Domain, provider: bytes
) -> list[tuple[ChannelRecord, VoucherKept]]:
    found = []
    for kept in await source.vouchers("seller"):
        voucher = Voucher.decode(kept.voucher.words)
        signer = recover(voucher.digest(domain), kept.voucher.signature)
        # Under another deployment's domain the signature leads to some other address.
        is_ours = kept.channel_id == channel_id_of(voucher.payer, provider, signer)
        if is_ours and voucher.provider == provider:
            found.append((ChannelRecord(voucher.payer, provider, signer), kept))
    return sorted(found, key=lambda pair: pair[0].id)


def _proven(
    channels: list[tuple[ChannelRecord, VoucherKept]],
    facts: ChainFacts,
    claimed: Mapping[bytes, set[int]],
) -> list[tuple[ChannelRecord, VoucherKept]]:
    lacking = claimed.keys() - {key.id for key, _ in channels}
    if lacking:
        raise UserError(
            f"money was claimed on channel 0x{min(lacking).hex()}, of which this journal knows"
            " nothing: export from the journal that does"
        )
    # A channel that was opened after the snapshot belongs to the next bundle.
    return [(key, kept) for key, kept in channels if key.id in facts.channels]


def _claimed_counts(facts: ChainFacts | None, provider: bytes) -> dict[bytes, set[int]]:
    counts: dict[bytes, set[int]] = {}
    for claim in facts.claims if facts else ():
        channel_id = channel_id_of(claim.payer, provider, claim.signer)
        counts.setdefault(channel_id, set()).add(claim.receipt_count)
    return counts


async def _write_channel(
    draft: Draft,
    source: EvidenceSource,
    key: ChannelRecord,
    newest: VoucherKept,
    claimed: set[int],
) -> None:
    await draft.add(CHANNELS, encode_record(key))
    async with _closing(source.vouchers_of(key.id)) as vouchers:
        async for kept in vouchers:
            if kept.receipt_count in claimed and kept.receipt_count < newest.receipt_count:
                await draft.add(VOUCHERS, encode_record(kept.voucher))
    await draft.add(VOUCHERS, encode_record(newest.voucher))
    billed: dict[bytes, None] = {}
    count = 0
    async with _closing(source.receipts_of(key.id)) as receipts:
        async for receipt in receipts:
            if count == newest.receipt_count:
                break
            await draft.add(RECEIPTS, encode_record(receipt.receipt))
            billed[receipt.job_id] = None
            count += 1
    if count < newest.receipt_count:
        raise ValueError(
            f"channel 0x{key.id.hex()} has {count} receipts, its voucher covers"
            f" {newest.receipt_count}"
        )
    await _write_orders(draft, source, key.id, billed)


async def _write_orders(
    draft: Draft, source: EvidenceSource, channel_id: bytes, billed: Mapping[bytes, None]
) -> None:
    orders: dict[bytes, Signed] = {}
    async with _closing(source.orders_of(channel_id)) as all_orders:
        async for kept in all_orders:
            if kept.job_id in billed:
                orders[kept.job_id] = kept.order
    for job_id in billed:
        if job_id not in orders:
            raise ValueError(f"job 0x{job_id.hex()} has receipts and no order")
        # In the order of their first receipts, which every journal agrees on.
        await draft.add(ORDERS, encode_record(orders[job_id]))


@asynccontextmanager
async def _closing(items: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    # A journal's iterator may hold a cursor, which must not wait for the garbage collector.
    try:
        yield items
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
