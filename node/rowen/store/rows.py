"""Entries to rows and back. Every row read is checked; nothing unchecked leaves this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from rowen.protocol.messages import Signed
from rowen.protocol.statements import AMOUNT_BYTES
from rowen.store.base import (
    ChannelOpened,
    ChannelStopped,
    DisputeKept,
    Entry,
    JobDropped,
    JournalCorrupt,
    LogSettled,
    OrderKept,
    ReceiptKept,
    Role,
    VoucherKept,
)
from rowen.store.heads import Head, JobKey, Placed
from rowen.store.sealing import Column, Vault, corrupt
from rowen.store.transactions import AttemptKept

Row = tuple[Column, ...]
Note = LogSettled | JobDropped | DisputeKept | ChannelStopped

SETTLED = "settled"
_NOTES: dict[str, type[Note]] = {
    SETTLED: LogSettled,
    "job_dropped": JobDropped,
    "dispute": DisputeKept,
    "stopped": ChannelStopped,
}
_TABLES: dict[type[Entry], str] = {
    VoucherKept: "vouchers",
    ReceiptKept: "receipts",
    OrderKept: "orders",
}
_KIND_OF_NOTE = {kind: name for name, kind in _NOTES.items()}

_encode = msgspec.msgpack.Encoder().encode
_input_decoder = msgspec.msgpack.Decoder(tuple[bytes, bytes])
_text_decoder = msgspec.msgpack.Decoder(tuple[str, str])
_note_decoder = msgspec.msgpack.Decoder(tuple[bytes])

T = TypeVar("T")


def _sealed(vault: Vault, decoder: msgspec.msgpack.Decoder[T], sealed: bytes, place: Row) -> T:
    return decoder.decode(vault.unseal(sealed, place))


# --- channels and counts --------------------------------------------------------------------


def row_of_head(head: Head, vault: Vault) -> Row:
    """The row of table ``channels``."""
    opened = head.opened
    row = (
        opened.channel_id,
        head.number,
        opened.role,
        opened.chain_id,
        opened.escrow,
        opened.payer,
        opened.provider,
        opened.signer,
        head.entries,
        head.orders,
        head.receipts,
        head.vouchers,
        head.voucher_receipts,
        head.voucher_total.to_bytes(AMOUNT_BYTES, "big"),
    )
    return (*row, vault.check("channels", row))


def head_of_row(raw: Sequence[Any], vault: Vault) -> Head:
    """Reads a row of table ``channels``.

    Raises:
        JournalCorrupt: Not as it was written.
    """
    row = tuple(raw)
    vault.verify("channels", row)
    role: Role = row[2]
    opened = ChannelOpened(
        channel_id=row[0],
        role=role,
        chain_id=row[3],
        escrow=row[4],
        payer=row[5],
        provider=row[6],
        signer=row[7],
    )
    return Head(
        opened=opened,
        number=row[1],
        entries=row[8],
        orders=row[9],
        receipts=row[10],
        vouchers=row[11],
        voucher_receipts=row[12],
        voucher_total=int.from_bytes(row[13], "big"),
    )


def row_of_count(table: str, count: int, vault: Vault) -> Row:
    """The row of table ``census``."""
    return (table, count, vault.check("census", (table, count)))


# --- entries --------------------------------------------------------------------------------


def table_of(entry: Entry) -> str:
    """Name of the table an entry is kept in."""
    return _TABLES.get(type(entry), "notes")


def row_of_entry(placed: Placed, opened: ChannelOpened, vault: Vault) -> Row:
    """The row of an entry in its table, given the first entry of its channel."""
    position, entry = placed
    if isinstance(entry, VoucherKept):
        row = _voucher_row(position, entry)
    elif isinstance(entry, ReceiptKept):
        row = _receipt_row(position, entry, vault)
    elif isinstance(entry, OrderKept):
        row = _order_row(position, entry, opened, vault)
    else:
        assert not isinstance(entry, ChannelOpened), "the first entry is the head's"
        kind = _KIND_OF_NOTE[type(entry)]
        place = ("notes", entry.channel_id, position)
        row = (entry.channel_id, position, kind, vault.seal((_encode(entry),), place))
    return (*row, vault.check(table_of(entry), row))


def _voucher_row(position: int, entry: VoucherKept) -> Row:
    return (
        entry.channel_id,
        entry.receipt_count,
        position,
        entry.total.to_bytes(AMOUNT_BYTES, "big"),
        entry.voucher.words,
        entry.voucher.signature,
    )


def _receipt_row(position: int, entry: ReceiptKept, vault: Vault) -> Row:
    return (
        entry.channel_id,
        entry.sequence,
        position,
        entry.job_id,
        entry.receipt.words,
        entry.receipt.signature,
        vault.seal((entry.text, entry.detail), ("receipts", entry.channel_id, entry.sequence)),
        entry.finish,
    )


def _order_row(position: int, entry: OrderKept, opened: ChannelOpened, vault: Vault) -> Row:
    return (
        entry.channel_id,
        position,
        entry.job_id,
        opened.role,
        opened.provider,
        entry.order.words,
        entry.order.signature,
        vault.seal((entry.salt, entry.input), ("orders", entry.channel_id, position)),
        entry.input_units,
        entry.input_units_max,
        entry.output_units_max,
        entry.started_at_ms,
    )


# --- and back; all raise JournalCorrupt ---------------------------------------------------------


def voucher_of_row(raw: Sequence[Any], vault: Vault) -> tuple[int, VoucherKept]:
    """Position and entry of a row of table ``vouchers``."""
    row = tuple(raw)
    vault.verify("vouchers", row)
    entry = VoucherKept(
        channel_id=row[0],
        receipt_count=row[1],
        total=int.from_bytes(row[3], "big"),
        voucher=Signed(row[4], row[5]),
    )
    return row[2], entry


def receipt_of_row(raw: Sequence[Any], vault: Vault) -> tuple[int, ReceiptKept]:
    """Position and entry of a row of table ``receipts``."""
    row = tuple(raw)
    vault.verify("receipts", row)
    text, detail = _sealed(vault, _text_decoder, row[6], ("receipts", row[0], row[1]))
    entry = ReceiptKept(
        channel_id=row[0],
        sequence=row[1],
        job_id=row[3],
        receipt=Signed(row[4], row[5]),
        text=text,
        finish=row[7],
        detail=detail,
    )
    return row[2], entry


def order_of_row(raw: Sequence[Any], vault: Vault) -> tuple[int, OrderKept]:
    """Position and entry of a row of table ``orders``."""
    row = tuple(raw)
    vault.verify("orders", row)
    salt, job_input = _sealed(vault, _input_decoder, row[7], ("orders", row[0], row[1]))
    entry = OrderKept(
        channel_id=row[0],
        job_id=row[2],
        order=Signed(row[5], row[6]),
        salt=salt,
        input=job_input,
        input_units=row[8],
        input_units_max=row[9],
        output_units_max=row[10],
        started_at_ms=row[11],
    )
    return row[1], entry


def note_of_row(raw: Sequence[Any], vault: Vault) -> tuple[int, Note]:
    """Position and entry of a row of table ``notes``."""
    row = tuple(raw)
    vault.verify("notes", row)
    (encoded,) = _sealed(vault, _note_decoder, row[3], ("notes", row[0], row[1]))
    return row[1], msgspec.msgpack.decode(encoded, type=_NOTES[row[2]])


def channel_of_job(raw: Sequence[Any], key: JobKey, vault: Vault) -> bytes:
    """Channel of the row of table ``orders`` that was found for a job."""
    row = tuple(raw)
    vault.verify("orders", row)
    if row[2:5] != key:
        raise JournalCorrupt(corrupt("orders", row[:2], "an index points to the wrong row"))
    channel: bytes = row[0]
    return channel


# --- transactions ---------------------------------------------------------------------------


def row_of_attempt(number: int, kept: AttemptKept, vault: Vault) -> Row:
    """The row of table ``transactions``."""
    row = (
        number,
        kept.chain_id,
        kept.sender,
        kept.intent,
        kept.nonce,
        kept.hash,
        kept.raw,
        kept.outcome,
    )
    return (*row, vault.check("transactions", row))


def attempt_of_row(raw: Sequence[Any], vault: Vault) -> AttemptKept:
    """Reads a row of table ``transactions``."""
    row = tuple(raw)
    vault.verify("transactions", row)
    return AttemptKept(
        chain_id=row[1],
        sender=row[2],
        intent=row[3],
        nonce=row[4],
        hash=row[5],
        raw=row[6],
        outcome=row[7],
    )
