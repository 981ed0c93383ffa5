"""A provider with clients, a journal and an escrow, all in memory, signing for real.

Receipts come out of the seller's own state machine and claims out of the escrow's model, so
that what an audit accepts is what the rest of Rowen writes. Every key is fixed: two markets with
the same story are equal to the byte.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import trio

from rowen.auditor.export import export
from rowen.auditor.verdict import Pins, Verdict
from rowen.auditor.verify import verify
from rowen.chain.base import Deployment
from rowen.chain.events import Claimed, Event
from rowen.protocol.audit_facts import ChainFacts, Claim
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.evidence import (
    CHECKSUM,
    MANIFEST,
    ChannelRecord,
    FileEntry,
    FileName,
    Manifest,
    decode_manifest,
    encode_checksum,
    encode_manifest,
)
from rowen.protocol.ids import ZERO_HASH, keccak
from rowen.protocol.jobs import Finish
from rowen.protocol.messages import Signed
from rowen.protocol.metering import Reading
from rowen.protocol.seller import start, step
from rowen.protocol.seller_billing import Meter
from rowen.protocol.seller_channel import Job, JobState, SellerChannel
from rowen.protocol.seller_events import (
    Bill,
    ClientCancelled,
    ClientPaid,
    EngineFailed,
    EngineFinished,
    EngineSaid,
    OwnerReturned,
)
from rowen.protocol.seller_events import Event as SellerEvent
from rowen.protocol.signing import Key
from rowen.protocol.statements import Order, Voucher
from rowen.store.base import OrderKept, ReceiptKept, Role, VoucherKept
from rowen.testing.escrow_model import EscrowModel
from rowen.testing.token_model import Call

DOMAIN = Domain(31337, keccak(b"escrow")[12:])
PROVIDER = Key(keccak(b"provider"))
NOW_MS = 1_700_000_000_000


def key(name: str) -> Key:
    """A key that has this name for ever."""
    return Key(keccak(name.encode()))


class FakeSnapshot(msgspec.Struct, frozen=True):
    """A snapshot whose block hash is the hash of all the rest: nothing in it can change."""

    number: int
    channels: list[tuple[bytes, int, int, int]]
    accumulator: bytes
    credit: int
    claims: list[tuple[bytes, bytes, int, int, bytes]]


_snapshot_decoder = msgspec.msgpack.Decoder(FakeSnapshot)


def read_fake_snapshot(raw: bytes, _domain: Domain, _provider: bytes) -> ChainFacts:
    """Stands in for ``rowen.auditor.snapshots``."""
    try:
        snapshot = _snapshot_decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise PeerError(f"not a snapshot: {error}") from error
    return ChainFacts(
        block_number=snapshot.number,
        block_hash=keccak(raw),
        channels={
            channel_id: ChannelView(locked=locked, claimed=claimed, unlock_at_s=unlock)
            for channel_id, locked, claimed, unlock in snapshot.channels
        },
        accumulator=snapshot.accumulator,
        credit=snapshot.credit,
        claims=[
            Claim(payer=payer, signer=signer, total=total, receipt_count=count, receipts_root=root)
            for payer, signer, total, count, root in snapshot.claims
        ],
    )


class FakeEvidence:
    """A fake snapshot to export."""

    def __init__(self, raw: bytes) -> None:
        self.facts = read_fake_snapshot(raw, DOMAIN, PROVIDER.address)
        self._snapshot = _snapshot_decoder.decode(raw)

    def encode(self, channel_ids: Collection[bytes]) -> bytes:
        """Without the channels that are not in the bundle."""
        kept = [entry for entry in self._snapshot.channels if entry[0] in channel_ids]
        return msgspec.msgpack.encode(msgspec.structs.replace(self._snapshot, channels=kept))


@dataclass
class Seller:
    """One channel, as its provider journals it."""

    payer: Key
    session: Key
    state: SellerChannel
    orders: list[OrderKept] = field(default_factory=list)
    receipts: list[ReceiptKept] = field(default_factory=list)
    vouchers: list[VoucherKept] = field(default_factory=list)
    clock_ms: int = NOW_MS

    @property
    def id(self) -> bytes:
        """32 bytes."""
        return self.state.channel_id

    def order(self, *, input_units: int = 7, **changes: Any) -> Order:
        """Orders a job and starts it."""
        number = len(self.orders)
        fields: dict[str, Any] = {
            "channel_id": self.id,
            "job_id": keccak(self.id + b"job %d" % number),
            "variant": keccak(b"variant"),
            "input_hash": keccak(b"input %d" % number),
            "price_input": 1_000_000,
            "price_cached": 500_000,
            "price_output": 3_333_333,
            "price_request": 2,
            "output_units_max": 1_000,
            "amount_max": 10_000,
            "deadline_ms": NOW_MS + 60_000,
        }
        order = Order(**(fields | changes))
        signed = Signed(order.encode(), self.session.sign(order.digest(self.state.domain)))
        self.orders.append(
            OrderKept(
                channel_id=self.id,
                job_id=order.job_id,
                order=signed,
                salt=bytes(32),
                input=b"never in a bundle",
                started_at_ms=self.clock_ms,
            )
        )
        job = Job(
            order=order,
            order_hash=order.digest(self.state.domain),
            output_units_max=order.output_units_max,
            started_at_ms=self.clock_ms,
            reading=Reading(input_units, 0, 0),
        )
        self.state = start(self.state, job)
        return order

    def happens(self, event: SellerEvent) -> None:
        """One event of the seller's; its bills are signed and kept."""
        self.clock_ms += 10
        self.state, effects = step(self.state, event, Meter(now_ms=self.clock_ms))
        for effect in effects:
            if isinstance(effect, Bill):
                receipt = effect.receipt
                self.receipts.append(
                    ReceiptKept(
                        channel_id=self.id,
                        sequence=receipt.sequence,
                        job_id=effect.job,
                        receipt=Signed(receipt.encode(), PROVIDER.sign(effect.digest)),
                        text="never in a bundle",
                    )
                )

    def pay(self) -> None:
        """The client's voucher for everything billed."""
        head = self.state.issued
        if head.count == self.state.paid.count:
            return
        voucher = Voucher(
            payer=self.payer.address,
            provider=PROVIDER.address,
            total=head.total,
            receipt_count=head.count,
            receipts_root=head.frontier.root(),
        )
        signed = Signed(voucher.encode(), self.session.sign(voucher.digest(self.state.domain)))
        self.vouchers.append(
            VoucherKept(
                channel_id=self.id,
                receipt_count=head.count,
                total=head.total,
                voucher=signed,
            )
        )
        self.happens(ClientPaid(voucher, self.session.address))

    def run(self, words: int = 6, *, ending: str = "final", **changes: Any) -> None:
        """One job from order to voucher."""
        job = self.order(**changes).job_id
        for _ in range(words):
            if self.state.jobs[job].state is JobState.PAUSED:
                self.pay()
            self.happens(EngineSaid(job, "word ", 3))
            self.pay()
        endings: dict[str, SellerEvent] = {
            "final": EngineFinished(job, Finish.STOP, 2),
            "failed": EngineFailed(job, "out of memory"),
            "cancelled": ClientCancelled(job),
            "preempted": OwnerReturned(job),
        }
        self.happens(endings[ending])
        self.pay()


class Market:
    """All of it; an ``EvidenceSource``."""

    def __init__(self, domain: Domain = DOMAIN) -> None:
        self.domain = domain
        self.sellers: list[Seller] = []
        self.claims: list[Claimed] = []
        self._model = EscrowModel(
            Deployment(
                domain=domain,
                token=bytes(20),
                unlock_delay_s=3_600,
                payout_delay_s=3_600,
                min_lock=1,
            )
        )

    def open(self, name: str, *, locked: int = 10_000, credit: int = 40) -> Seller:
        """A funded channel of a client with this name."""
        payer, session = key(f"wallet of {name}"), key(f"session of {name}")
        record = ChannelRecord(payer.address, PROVIDER.address, session.address)
        self._model.mint(self._call(payer), payer.address, locked)
        self._model.lock(self._call(payer), PROVIDER.address, session.address, locked)
        state = SellerChannel(
            domain=self.domain,
            channel_id=record.id,
            payer=payer.address,
            provider=PROVIDER.address,
            signer=session.address,
            credit=credit,
        )
        seller = Seller(payer, session, state)
        self.sellers.append(seller)
        return seller

    def claim(self, *sellers: Seller) -> None:
        """The provider claims the newest voucher of each."""
        rows = []
        for seller in sellers:
            kept = seller.vouchers[-1].voucher
            rows.append(Voucher.decode(kept.words).row(kept.signature))
        self._model.claim(self._call(PROVIDER), PROVIDER.address, rows)

    def sweep(self) -> None:
        """The provider moves its credit out."""
        self._model.sweep(self._call(PROVIDER), PROVIDER.address)

    def snapshot(self) -> bytes:
        """The chain as it is now."""
        provider = PROVIDER.address
        views = {seller.id: self._model.channels[seller.id] for seller in self.sellers}
        return msgspec.msgpack.encode(
            FakeSnapshot(
                number=1_234,
                channels=[
                    (key, view.locked, view.claimed, view.unlock_at_s)
                    for key, view in sorted(views.items())
                ],
                accumulator=self._model.accumulators.get(provider, ZERO_HASH),
                credit=self._model.credits.get(provider, 0),
                claims=[
                    (c.payer, c.signer, c.total, c.receipt_count, c.receipts_root)
                    for c in self.claims
                ],
            )
        )

    def _call(self, sender: Key) -> Call:
        def emit(kind: type[Event], **fields: Any) -> None:
            if kind is Claimed:
                block = len(self.claims)
                self.claims.append(Claimed(block=block, index=0, tx_hash=bytes(32), **fields))

        return Call(sender.address, 0, emit)

    # --- EvidenceSource

    async def vouchers(self, role: Role) -> list[VoucherKept]:
        assert role == "seller"
        return [seller.vouchers[-1] for seller in self.sellers if seller.vouchers]

    async def orders_of(self, channel_id: bytes) -> AsyncIterator[OrderKept]:
        for kept in self._seller(channel_id).orders:
            yield kept

    async def receipts_of(self, channel_id: bytes) -> AsyncIterator[ReceiptKept]:
        for kept in self._seller(channel_id).receipts:
            yield kept

    async def vouchers_of(self, channel_id: bytes) -> AsyncIterator[VoucherKept]:
        for kept in self._seller(channel_id).vouchers:
            yield kept

    def _seller(self, channel_id: bytes) -> Seller:
        return next(seller for seller in self.sellers if seller.id == channel_id)


def small_market(domain: Domain = DOMAIN) -> Market:
    """Two channels, five jobs, every ending, interleaved receipts, three claims, a sweep."""
    market = Market(domain)
    ann, bob = market.open("ann"), market.open("bob")
    ann.run(8)
    market.claim(ann)
    market.sweep()
    ann.run(4, ending="failed")
    bob.run(5, ending="cancelled")
    first, second = bob.order().job_id, bob.order().job_id
    for _ in range(3):
        for job in (first, second):
            if job in bob.state.jobs and bob.state.jobs[job].state is JobState.RUNNING:
                bob.happens(EngineSaid(job, "more ", 2))
                bob.pay()
    for job in (second, first):
        bob.happens(OwnerReturned(job))
    bob.pay()
    market.claim(bob, ann)
    bob.run(2)
    return market


PINS = Pins(chain_id=DOMAIN.chain_id, escrow=DOMAIN.escrow, provider=PROVIDER.address)


def write(market: Market, path: Path, *, snapshot: bytes | None = None) -> Path:
    """Exports the market's bundle with a snapshot, by default the present one; b"" for none."""
    raw = market.snapshot() if snapshot is None else snapshot
    chain = FakeEvidence(raw) if raw else None
    trio.run(export, market, market.domain, PROVIDER.address, path, chain)
    return path


def rewrite(path: Path) -> None:
    """Makes the manifest agree with whatever the files hold now, as a forger would."""
    manifest = decode_manifest((path / MANIFEST).read_bytes())
    files: dict[FileName, FileEntry] = {}
    for name, entry in manifest.files.items():
        raw = (path / name).read_bytes()
        files[name] = FileEntry(sha256(raw).hexdigest(), len(raw), entry.records)
    put_manifest(path, msgspec.structs.replace(manifest, files=files))


def put_manifest(path: Path, manifest: Manifest) -> None:
    """Replaces the manifest, with its checksum."""
    raw = encode_manifest(manifest)
    (path / MANIFEST).write_bytes(raw)
    (path / CHECKSUM).write_bytes(encode_checksum(raw))


def records(path: Path, name: FileName) -> list[bytes]:
    """The encoded records of a stream."""
    unpacker = msgpack.Unpacker()
    raw = (path / name).read_bytes()
    unpacker.feed(raw)
    ends = [0, *(unpacker.tell() for _ in unpacker)]
    return [raw[start:end] for start, end in pairwise(ends)]


def put_records(path: Path, name: FileName, kept: Sequence[bytes]) -> None:
    """Replaces a stream and makes the manifest agree."""
    (path / name).write_bytes(b"".join(kept))
    manifest = decode_manifest((path / MANIFEST).read_bytes())
    entry = msgspec.structs.replace(manifest.files[name], records=len(kept))
    put_manifest(path, msgspec.structs.replace(manifest, files={**manifest.files, name: entry}))
    rewrite(path)


def judge(path: Path, pins: Pins = PINS) -> Verdict:
    """What an auditor with those pins finds."""
    return verify(path, pins, snapshot_reader=read_fake_snapshot)
