"""The SQLite file: how it is opened, set, checked and what its errors mean here."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from rowen.protocol.errors import UserError
from rowen.store import migrations, schema
from rowen.store.base import JournalCorrupt, JournalFailed
from rowen.store.rows import row_of_count
from rowen.store.sealing import MEND, SALT_BYTES, Vault

APPLICATION_ID = 0x526F776E
"""``Rown`` in the file's header; ``file`` and a person with a hex editor see whose it is."""

READERS_MAX = 2
CENSUS_OF = ("channels", "transactions")

_PRAGMAS = (
    "journal_mode = WAL",
    # Every commit waits for the log to be on disk. On macOS fsync alone does not reach it.
    "synchronous = FULL",
    "fullfsync = ON",
    "checkpoint_fullfsync = ON",
    "foreign_keys = ON",
    "busy_timeout = 5000",
    # 16 MB of log between two checkpoints, and no more than that kept afterwards.
    "wal_autocheckpoint = 4096",
    "journal_size_limit = 16777216",
    # 2 MB for each connection: what it reads again and again. More would fill with pages that
    # are written once, and the memory of a busy node would grow for hours.
    "cache_size = -2048",
    "trusted_schema = OFF",
    "cell_size_check = ON",
)

# What SQLite says when pages are not what it wrote, as opposed to a disk that is full or failing.
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turns what SQLite, SQLAlchemy and the system raise into ``JournalFailed``."""
    try:
        yield
    # The driver fails on an error message that quotes corrupt bytes.
    except (SQLAlchemyError, sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise _translated(error) from error


def _translated(error: Exception) -> JournalFailed:
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    # A text that is not UTF-8 has no code of its own; we never wrote one. Nor do we break a
    # constraint: what would is refused before.
    is_text = isinstance(cause, UnicodeDecodeError) or "UTF-8" in str(cause)
    if code in _CORRUPT or isinstance(cause, sqlite3.IntegrityError) or is_text:
        return JournalCorrupt(f"the journal is corrupt: {cause}. {MEND}")
    return JournalFailed(
        f"the journal cannot use its disk: {cause}. Free space or mend the disk, then start the "
        "node again; what was acknowledged is kept"
    )


def create_file(path: Path) -> None:
    """Makes sure that the file exists and nobody else may read it: 0600 in a directory of 0700.

    Raises:
        UserError: It is something else than a journal; it is left as it is.
    """
    with disk_errors():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _check_header(path, os.pread(descriptor, 100, 0))
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        # A file is found again after a power cut only once its directory is on disk.
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _check_header(path: Path, header: bytes) -> None:
    # https://www.sqlite.org/fileformat2.html#the_database_header: 16 bytes of magic, the size
    # in pages at 28, the application id at 68. A process that died while creating the file left
    # none of it, or one page without an id.
    if not header:
        return
    pages, application = (int.from_bytes(header[at : at + 4], "big") for at in (28, 68))
    is_begun = application == 0 and pages <= 1
    if not header.startswith(b"SQLite format 3\0") or not (
        is_begun or application == APPLICATION_ID
    ):
        raise UserError(
            f"{path} is no journal of Rowen (application id {application:#x}, expected "
            f"{APPLICATION_ID:#x}): name another path, or restore a backup"
        )


def make_engine(path: Path) -> Engine:
    """The engine: one connection for the writer and ``READERS_MAX`` more."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=READERS_MAX + 1,
        max_overflow=0,
        pool_timeout=60,
    )

    def on_connect(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
        # Transactions are begun below, not guessed from statements by the driver.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def prepare(connection: Connection, sealing_key: bytes) -> Vault:
    """Creates, migrates and checks the file; returns its keys.

    Raises:
        JournalCorrupt: Pages or indexes are damaged.
        UserError: Another program's file, a newer version, or another key.
    """
    with disk_errors(), connection.begin():
        application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        is_empty = not connection.exec_driver_sql("SELECT 1 FROM sqlite_schema").first()
        if is_empty:
            return _create(connection, sealing_key)
        if application != APPLICATION_ID:
            raise JournalCorrupt(f"the journal has application id {application:#x}. {MEND}")
        _check_pages(connection)
        migrations.migrate(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {migrations.VERSION}")
        return _unlock(connection, sealing_key)


def _create(connection: Connection, sealing_key: bytes) -> Vault:
    salt = os.urandom(SALT_BYTES)
    vault = Vault(sealing_key, salt)
    schema.METADATA.create_all(connection)
    meta = {
        "version": str(migrations.VERSION).encode(),
        "salt": salt,
        "key_check": vault.key_check,
    }
    connection.execute(
        insert(schema.META), [{"name": name, "value": value} for name, value in meta.items()]
    )
    for table in CENSUS_OF:
        name, rows, mac = row_of_count(table, 0, vault)
        connection.execute(insert(schema.CENSUS), {"name": name, "rows": rows, "mac": mac})
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version = {migrations.VERSION}")
    return vault


def _check_pages(connection: Connection) -> None:
    # quick_check reads every page but not whether indexes agree with their tables. Only one
    # index decides something that no count would contradict: which jobs are known.
    for pragma in ("quick_check(1)", "integrity_check(orders)"):
        found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalars().all()
        if found != ["ok"]:
            raise JournalCorrupt(f"the journal is corrupt: {found[0]}. {MEND}")


def _unlock(connection: Connection, sealing_key: bytes) -> Vault:
    meta = {row.name: row.value for row in connection.execute(select(schema.META))}
    vault = Vault(sealing_key, meta.get("salt", b""))
    if meta.get("key_check") != vault.key_check:
        raise UserError(
            "the journal was sealed with another key: give the data directory its own key file "
            "back. With the key lost, its texts cannot be read and its rows not be checked"
        )
    return vault
