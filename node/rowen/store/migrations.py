"""Versions of the file. A new file starts at the newest; an older one is taken there step by step.

``STEPS[n]`` turns version n into n + 1 with plain Core. It must not use ``rowen.store.schema``,
which describes the newest version only. A file of every released version is kept with the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, select, update

from rowen.protocol.errors import UserError
from rowen.store import schema

VERSION = 2
STEPS: Mapping[int, Callable[[Connection], None]] = {
    # Version 2 knows one more kind of note, ``settled``; nothing has to change for it.
    1: lambda _connection: None,
}


def version_of(connection: Connection) -> int:
    """The file's version, by its table ``meta``."""
    value = connection.scalar(select(schema.META.c.value).where(schema.META.c.name == "version"))
    return int(value or 0)


def migrate(
    connection: Connection,
    *,
    newest: int = VERSION,
    steps: Mapping[int, Callable[[Connection], None]] = STEPS,
) -> None:
    """Takes an existing file to the newest version, within the caller's transaction.

    Raises:
        UserError: A newer program wrote it.
    """
    version = version_of(connection)
    if version > newest:
        raise UserError(
            f"the journal has version {version}, this program knows {newest}: it was written by "
            "a newer Rowen, start that one"
        )
    for step in range(version, newest):
        steps[step](connection)
    if version < newest:
        meta = schema.META
        connection.execute(
            update(meta).where(meta.c.name == "version").values(value=str(newest).encode())
        )
