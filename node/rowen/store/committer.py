"""The writing side of the file: turns a group of appends into one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert, select, update
from sqlalchemy.sql.dml import UpdateBase

from rowen.protocol.errors import RowenError
from rowen.store import schema
from rowen.store.base import JournalCorrupt, JournalFailed
from rowen.store.database import disk_errors
from rowen.store.group import Append
from rowen.store.heads import Draft, Head, JobKey
from rowen.store.rows import (
    Row,
    attempt_of_row,
    channel_of_job,
    row_of_attempt,
    row_of_count,
    row_of_entry,
    row_of_head,
    table_of,
)
from rowen.store.sealing import MEND, Vault, corrupt
from rowen.store.transactions import AttemptIndex, AttemptKept, TransactionFact, settled

JOBS_CACHED_MAX = 10_000

# Columns of ``channels`` that change, and those of the other rows that do.
_COUNTS = (
    "entries",
    "orders",
    "receipts",
    "vouchers",
    "voucher_receipts",
    "voucher_total",
    "mac",
)


class _Statement:
    """A statement compiled once for the dialect; rows go to the driver as plain tuples.

    Core's own executemany spends more time on each row's dictionary than SQLite on the row.
    """

    __slots__ = ("names", "sql")

    def __init__(self, statement: UpdateBase, connection: Connection) -> None:
        compiled = statement.compile(dialect=connection.dialect)
        self.sql = str(compiled)
        self.names: Sequence[str] = getattr(compiled, "positiontup", None) or ()
        assert self.names, "the driver takes parameters by position"

    def run(self, connection: Connection, rows: list[Row]) -> None:
        """Writes every row.

        Raises:
            JournalCorrupt: A row to be changed is gone.
        """
        count = connection.exec_driver_sql(self.sql, rows).rowcount
        if count != len(rows):
            raise JournalCorrupt(
                f"the journal is corrupt: {count} of {len(rows)} rows for {self.sql}. {MEND}"
            )


def _insert(table: Table, connection: Connection) -> _Statement:
    made = _Statement(insert(table), connection)
    assert tuple(made.names) == tuple(table.columns.keys())
    return made


def _update(table: Table, key: str, names: tuple[str, ...], connection: Connection) -> _Statement:
    statement = (
        update(table)
        .where(table.c[key] == bindparam(f"old_{key}"))
        .values({name: bindparam(name) for name in names})
    )
    made = _Statement(statement, connection)
    assert tuple(made.names) == (*names, f"old_{key}")
    return made


class Committer:
    """What is committed, and how more is. For one thread at a time.

    Attributes:
        heads: Every channel as committed. Only ever added to or replaced.
        attempts: Every transaction as committed.
    """

    def __init__(
        self,
        connection: Connection,
        vault: Vault,
        heads: dict[bytes, Head],
        attempts: AttemptIndex,
    ) -> None:
        """Takes the connection, which nobody else uses, and what the file holds."""
        self.heads = heads
        self.attempts = attempts
        self._connection = connection
        self._vault = vault
        self._job_to_channel: dict[JobKey, bytes] = {}
        tables = schema.METADATA.tables.values()
        self._inserts = {table.name: _insert(table, connection) for table in tables}
        self._set_head = _update(schema.CHANNELS, "channel_id", _COUNTS, connection)
        self._set_count = _update(schema.CENSUS, "name", ("rows", "mac"), connection)
        self._set_outcome = _update(schema.TRANSACTIONS, "number", ("outcome", "mac"), connection)
        self._find_order = select(schema.ORDERS).where(
            *(schema.ORDERS.c[name] == bindparam(name) for name in JobKey._fields)
        )

    def commit(self, group: list[Append]) -> None:
        """Makes the group durable; sets ``error`` of those appends that were refused.

        Raises:
            JournalFailed: The disk failed; nothing, or on a failing fsync perhaps all of the
                group is kept.
        """
        draft = Draft(self.heads, self._find_job)
        facts: list[TransactionFact] = []
        with disk_errors(), self._connection.begin():
            for append in group:
                self._admit(append, draft, facts)
            self._write_entries(draft)
            attempts = self._write_facts(facts)
        # Readers look at these: nothing is known before it is durable.
        self.heads |= draft.heads
        self.attempts = attempts
        if len(self._job_to_channel) > JOBS_CACHED_MAX:
            self._job_to_channel.clear()
        self._job_to_channel |= draft.jobs

    def _admit(self, append: Append, draft: Draft, facts: list[TransactionFact]) -> None:
        try:
            if append.fact is None:
                draft.add(append.entries)
            else:
                _check_fact(append.fact, self.attempts, facts)
                facts.append(append.fact)
        except JournalFailed:
            raise
        # What a caller got wrong is its own; the rest of the group goes on.
        except (RowenError, ValueError, TypeError) as error:
            append.error = error

    def _write_entries(self, draft: Draft) -> None:
        if not draft.heads:
            return
        rows: dict[str, list[Row]] = {}
        fresh = []
        changed = []
        for key, head in draft.heads.items():
            row = row_of_head(head, self._vault)
            if key in self.heads:
                changed.append((*row[-len(_COUNTS) :], key))
            else:
                fresh.append(row)
        if fresh:
            rows["channels"] = fresh
        for placed in draft.placed:
            entry = placed.entry
            opened = draft.heads[entry.channel_id].opened
            rows.setdefault(table_of(entry), []).append(row_of_entry(placed, opened, self._vault))
        for name, some in rows.items():
            self._inserts[name].run(self._connection, some)
        if changed:
            self._set_head.run(self._connection, changed)
        if fresh:
            self._count("channels", len(self.heads) + len(fresh))

    def _write_facts(self, facts: list[TransactionFact]) -> AttemptIndex:
        if not facts:
            return self.attempts
        attempts = self.attempts.copy()
        for fact in facts:
            numbers = attempts.add(fact)
            if isinstance(fact, AttemptKept):
                rows = [row_of_attempt(number, fact, self._vault) for number in numbers]
                self._inserts["transactions"].run(self._connection, rows)
                continue
            rows = []
            for number in numbers:
                kept = settled(self._attempt(number), fact)
                row = row_of_attempt(number, kept, self._vault)
                rows.append((*row[-2:], number))
            self._set_outcome.run(self._connection, rows)
        self._count("transactions", attempts.count)
        return attempts

    def _count(self, table: str, count: int) -> None:
        name, rows, mac = row_of_count(table, count, self._vault)
        self._set_count.run(self._connection, [(rows, mac, name)])

    def _attempt(self, number: int) -> AttemptKept:
        table = schema.TRANSACTIONS
        row = self._connection.execute(select(table).where(table.c.number == number)).first()
        if row is None:
            raise JournalCorrupt(corrupt("transactions", (number,), "it is gone"))
        return attempt_of_row(row, self._vault)

    def _find_job(self, key: JobKey) -> bytes | None:
        known = self._job_to_channel.get(key)
        if known is None:
            parameters: dict[str, Any] = key._asdict()
            with disk_errors():
                row = self._connection.execute(self._find_order, parameters).first()
            if row is None:
                return None
            known = channel_of_job(row, key, self._vault)
            self._job_to_channel[key] = known
        return known


def _check_fact(
    fact: TransactionFact, attempts: AttemptIndex, before: list[TransactionFact]
) -> None:
    if not before:
        attempts.check(fact)
        return
    # Several in one group are rare: one wallet writes one at a time.
    drafted = attempts.copy()
    for earlier in before:
        drafted.add(earlier)
    drafted.check(fact)
