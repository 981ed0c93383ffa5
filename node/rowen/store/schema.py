"""The tables, as SQLAlchemy Core. The last column of each is the check over all the others.

Amounts are fixed 12-byte big-endian blobs: SQLite has no 96-bit integer, and a NUMERIC column
would round one without a word.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

METADATA = MetaData()

# A STRICT table of SQLite knows INTEGER (64 bits) and no BIGINT.
_Int: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def _bytes(name: str, *rest: Any, size: int | None = None) -> Column[bytes]:
    checks = [] if size is None else [CheckConstraint(f"length({name}) = {size}")]
    return Column(name, LargeBinary, *rest, *checks, nullable=False)


def _integer(name: str, *, is_key: bool = False) -> Column[int]:
    return Column(name, _Int, nullable=False, primary_key=is_key, autoincrement=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _channel() -> Column[bytes]:
    return Column("channel_id", LargeBinary, ForeignKey("channels.channel_id"), primary_key=True)


def _table(name: str, *columns: Any, is_clustered: bool = False) -> Table:
    # Clustered tables keep their rows in the key's order; right where rows are small.
    return Table(name, METADATA, *columns, sqlite_strict=True, sqlite_with_rowid=not is_clustered)


META = _table(
    "meta",
    Column("name", Text, primary_key=True),
    _bytes("value"),
    is_clustered=True,
)
"""``version`` (decimal), ``salt`` and ``key_check``."""

CENSUS = _table(
    "census",
    Column("name", Text, primary_key=True),
    _integer("rows"),
    _bytes("mac", size=16),
    is_clustered=True,
)
"""How many rows the table of that name has."""

CHANNELS = _table(
    "channels",
    Column("channel_id", LargeBinary, CheckConstraint("length(channel_id) = 32"), primary_key=True),
    _integer("number"),
    _text("role"),
    _integer("chain_id"),
    _bytes("escrow", size=20),
    _bytes("payer", size=20),
    _bytes("provider", size=20),
    _bytes("signer", size=20),
    _integer("entries"),
    _integer("orders"),
    _integer("receipts"),
    _integer("vouchers"),
    _integer("voucher_receipts"),
    _bytes("voucher_total", size=12),
    _bytes("mac", size=16),
    UniqueConstraint("number"),
    is_clustered=True,
)
"""``heads.Head``: a channel and the counts of its rows below."""

ORDERS = _table(
    "orders",
    _channel(),
    _integer("position", is_key=True),
    _bytes("job_id", size=32),
    _text("role"),
    _bytes("provider", size=20),
    _bytes("words"),
    _bytes("signature", size=64),
    _bytes("sealed"),
    _integer("input_units"),
    _integer("input_units_max"),
    _integer("output_units_max"),
    _integer("started_at_ms"),
    _bytes("mac", size=16),
    UniqueConstraint("job_id", "role", "provider"),
)
"""``sealed``: salt and input."""

RECEIPTS = _table(
    "receipts",
    _channel(),
    _integer("sequence", is_key=True),
    _integer("position"),
    _bytes("job_id", size=32),
    _bytes("words"),
    _bytes("signature", size=64),
    _bytes("sealed"),
    _text("finish"),
    _bytes("mac", size=16),
)
"""``sealed``: text and detail."""

VOUCHERS = _table(
    "vouchers",
    _channel(),
    _integer("receipt_count", is_key=True),
    _integer("position"),
    _bytes("total", size=12),
    _bytes("words"),
    _bytes("signature", size=64),
    _bytes("mac", size=16),
    is_clustered=True,
)

NOTES = _table(
    "notes",
    _channel(),
    _integer("position", is_key=True),
    _text("kind"),
    _bytes("sealed"),
    _bytes("mac", size=16),
)
"""What is rare: settled logs, dropped jobs, disputes, stops. ``sealed``: the whole entry."""

TRANSACTIONS = _table(
    "transactions",
    _integer("number", is_key=True),
    _integer("chain_id"),
    _bytes("sender", size=20),
    _text("intent"),
    _integer("nonce"),
    _bytes("hash", size=32),
    _bytes("raw"),
    _text("outcome"),
    _bytes("mac", size=16),
    UniqueConstraint("hash"),
)
"""Our own transactions, each before it was sent. ``outcome`` is empty while one is pending."""
