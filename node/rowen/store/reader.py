"""The reading side of the file. Every answer is complete and checked, or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, Select, Table, bindparam, select

from rowen.store import schema
from rowen.store.base import (
    Entry,
    JournalCorrupt,
    LogSettled,
    OrderKept,
    ReceiptKept,
    VoucherKept,
)
from rowen.store.database import disk_errors
from rowen.store.heads import Head
from rowen.store.rows import (
    SETTLED,
    attempt_of_row,
    head_of_row,
    note_of_row,
    order_of_row,
    receipt_of_row,
    voucher_of_row,
)
from rowen.store.sealing import Vault, corrupt
from rowen.store.transactions import AttemptIndex, AttemptKept

PAGE_ROWS = 256

# Asked once a channel, so not composed anew each time.
_FIND_HEAD = select(schema.CHANNELS).where(schema.CHANNELS.c.channel_id == bindparam("channel_id"))
_FIND_VOUCHER = select(schema.VOUCHERS).where(
    *(schema.VOUCHERS.c[name] == bindparam(name) for name in ("channel_id", "receipt_count"))
)
_FIND_SETTLED = (
    select(schema.NOTES)
    .where(schema.NOTES.c.channel_id == bindparam("channel_id"), schema.NOTES.c.kind == SETTLED)
    .order_by(schema.NOTES.c.position.desc())
    .limit(1)
)

E = TypeVar("E")


class Cursor(NamedTuple):
    """How far the replay of a channel came.

    Attributes:
        position: Of the next entry.
        end: Where it stops.
        sequence: Of the next receipt.
        receipt_count: Least of the next voucher.
    """

    position: int
    end: int
    sequence: int = 0
    receipt_count: int = 0


OfRow = Callable[[Sequence[Any], Vault], tuple[int, E]]


class Reader:
    """Reads the file in short transactions, each of which sees one state of it."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        """Takes the engine, for connections of its own, and the file's keys."""
        self._engine = engine
        self._vault = vault

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with disk_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    # --- at the start ---------------------------------------------------------------------

    def heads(self) -> dict[bytes, Head]:
        """Every channel, oldest first."""
        table = schema.CHANNELS
        with self._snapshot() as connection:
            rows = connection.execute(select(table).order_by(table.c.number)).all()
            _check_count(connection, "channels", len(rows), self._vault)
        heads = [head_of_row(row, self._vault) for row in rows]
        for number, head in enumerate(heads):
            if head.number != number:
                raise JournalCorrupt(corrupt("channels", (number,), "it is gone"))
        return {head.opened.channel_id: head for head in heads}

    def attempts(self) -> AttemptIndex:
        """The index of every transaction."""
        index = AttemptIndex()
        table = schema.TRANSACTIONS
        with self._snapshot() as connection:
            for row in connection.execute(select(table).order_by(table.c.number)):
                if index.add(attempt_of_row(row, self._vault)) != [row.number]:
                    raise JournalCorrupt(corrupt("transactions", (index.count - 1,), "it is gone"))
            _check_count(connection, "transactions", index.count, self._vault)
        return index

    # --- channels -------------------------------------------------------------------------

    def _head(self, connection: Connection, channel_id: bytes) -> Head:
        row = connection.execute(_FIND_HEAD, {"channel_id": channel_id}).first()
        if row is None:
            raise JournalCorrupt(corrupt("channels", (channel_id,), "it is gone"))
        return head_of_row(row, self._vault)

    def newest_vouchers(self, channel_ids: Sequence[bytes]) -> list[VoucherKept]:
        """The newest voucher of each of these channels, which are known to have one."""
        with self._snapshot() as connection:
            return [self._newest_voucher(connection, channel_id) for channel_id in channel_ids]

    def _newest_voucher(self, connection: Connection, channel_id: bytes) -> VoucherKept:
        head = self._head(connection, channel_id)
        key = {"channel_id": channel_id, "receipt_count": head.voucher_receipts}
        row = connection.execute(_FIND_VOUCHER, key).first()
        if row is None:
            raise JournalCorrupt(
                corrupt("vouchers", (channel_id, head.voucher_receipts), "it is gone")
            )
        _, entry = voucher_of_row(row, self._vault)
        _check_newest(entry, head)
        return entry

    # --- replays ----------------------------------------------------------------------------

    def replay_start(self, channel_id: bytes) -> Cursor:
        """Where the replay of a channel that is known to exist begins, and where it ends."""
        with self._snapshot() as connection:
            head = self._head(connection, channel_id)
            row = connection.execute(_FIND_SETTLED, {"channel_id": channel_id}).first()
        if row is None:
            return Cursor(0, head.entries)
        position, settled = note_of_row(row, self._vault)
        assert isinstance(settled, LogSettled)
        return Cursor(position, head.entries, settled.receipt_count, settled.receipt_count + 1)

    def replay_page(self, channel_id: bytes, cursor: Cursor) -> tuple[list[Entry], Cursor]:
        """The next entries of a replay, and how far it came."""
        position, end, sequence, receipt_count = cursor
        count = min(PAGE_ROWS, end - position)
        found: list[tuple[int, OfRow[Any], Sequence[Any]]] = []
        with self._snapshot() as connection:
            for table, key, first, of_row in (
                (schema.ORDERS, "position", position, order_of_row),
                (schema.RECEIPTS, "sequence", sequence, receipt_of_row),
                (schema.VOUCHERS, "receipt_count", receipt_count, voucher_of_row),
                (schema.NOTES, "position", position, note_of_row),
            ):
                rows = connection.execute(_page(table, key, channel_id, first, count))
                found += [(row.position, of_row, row) for row in rows]
        # Positions follow each other over all four tables, so the next ones are among these.
        found.sort(key=lambda placed: placed[0])
        read = [of_row(row, self._vault) for _, of_row, row in found[:count]]
        for expected, (at, _) in enumerate(read, position):
            if at != expected:
                raise JournalCorrupt(corrupt("entries", (channel_id, expected), "it is gone"))
        if len(read) < count:
            gone = position + len(read)
            raise JournalCorrupt(corrupt("entries", (channel_id, gone), "it is gone"))
        for _, entry in read:
            if isinstance(entry, ReceiptKept):
                sequence = entry.sequence + 1
            elif isinstance(entry, VoucherKept):
                receipt_count = entry.receipt_count + 1
        following = Cursor(position + count, end, sequence, receipt_count)
        return [entry for _, entry in read], following

    # --- pages ----------------------------------------------------------------------------

    def receipts(
        self, channel_id: bytes, first: int, limit: int | None = PAGE_ROWS
    ) -> list[ReceiptKept]:
        """Receipts numbered ``first`` and up; fewer than ``limit`` only at the end."""
        table = schema.RECEIPTS
        query = _page(table, "sequence", channel_id, first, limit)
        with self._snapshot() as connection:
            head = self._head(connection, channel_id)
            page = [receipt_of_row(row, self._vault)[1] for row in connection.execute(query)]
        last = head.receipts if limit is None else min(head.receipts, first + limit)
        _check_receipts(page, channel_id, first, max(first, last))
        return page

    def orders(self, channel_id: bytes, first: int, seen: int) -> tuple[list[OrderKept], int]:
        """A page of orders from position ``first`` on, after ``seen`` more, and the next first."""
        return self._counted_page(schema.ORDERS, "position", channel_id, first, seen, order_of_row)

    def vouchers(self, channel_id: bytes, first: int, seen: int) -> tuple[list[VoucherKept], int]:
        """A page of vouchers for ``first`` receipts and more, and the next first."""
        return self._counted_page(
            schema.VOUCHERS, "receipt_count", channel_id, first, seen, voucher_of_row
        )

    def _counted_page(
        self, table: Table, key: str, channel_id: bytes, first: int, seen: int, of_row: OfRow[E]
    ) -> tuple[list[E], int]:
        with self._snapshot() as connection:
            head = self._head(connection, channel_id)
            query = _page(table, key, channel_id, first, PAGE_ROWS)
            rows = connection.execute(query).all()
        page = [of_row(row, self._vault)[1] for row in rows]
        if len(rows) < PAGE_ROWS:
            _check_length(table.name, channel_id, seen + len(rows), getattr(head, table.name))
        following = rows[-1]._mapping[key] + 1 if rows else first
        return page, following

    def transactions(self, numbers: Sequence[int]) -> list[AttemptKept]:
        """Attempts by the numbers of their rows."""
        table = schema.TRANSACTIONS
        found = []
        with self._snapshot() as connection:
            for number in numbers:
                row = connection.execute(select(table).where(table.c.number == number)).first()
                if row is None:
                    raise JournalCorrupt(corrupt("transactions", (number,), "it is gone"))
                found.append(attempt_of_row(row, self._vault))
        return found


def _page(table: Table, key: str, channel_id: bytes, first: int, limit: int | None) -> Select[Any]:
    query = select(table).where(table.c.channel_id == channel_id, table.c[key] >= first)
    return query.order_by(table.c[key]).limit(limit)


def _check_count(connection: Connection, name: str, count: int, vault: Vault) -> None:
    table = schema.CENSUS
    row = connection.execute(select(table).where(table.c.name == name)).first()
    if row is None:
        raise JournalCorrupt(corrupt("census", (name,), "it is gone"))
    vault.verify("census", tuple(row))
    if row.rows != count:
        raise JournalCorrupt(corrupt(name, (), f"{count} rows are left of {row.rows}"))


def _check_length(table: str, channel_id: bytes, found: int, kept: int) -> None:
    if found != kept:
        raise JournalCorrupt(corrupt(table, (channel_id,), f"{found} rows are left of {kept}"))


def _check_receipts(found: list[ReceiptKept], channel_id: bytes, first: int, end: int) -> None:
    sequences = [entry.sequence for entry in found]
    if sequences != list(range(first, end)):
        missing = next(iter(set(range(first, end)) - set(sequences)), first)
        raise JournalCorrupt(corrupt("receipts", (channel_id, missing), "it is gone"))


def _check_newest(entry: VoucherKept, head: Head) -> None:
    if (entry.receipt_count, entry.total) != (head.voucher_receipts, head.voucher_total):
        raise JournalCorrupt(
            corrupt("vouchers", (entry.channel_id, head.voucher_receipts), "it is not the newest")
        )
