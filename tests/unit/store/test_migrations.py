"""Versions of the file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, insert
from sqlalchemy.pool import StaticPool

from rowen.protocol.errors import UserError
from rowen.store import schema
from rowen.store.migrations import STEPS, VERSION, migrate, version_of


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    connection = engine.connect()
    schema.METADATA.create_all(connection)
    connection.execute(insert(schema.META), {"name": "version", "value": b"1"})
    yield connection
    connection.close()
    engine.dispose()


def test_there_is_a_step_from_every_version_to_the_next() -> None:
    assert sorted(STEPS) == list(range(1, VERSION))


def test_steps_run_in_order_and_once(connection: Connection) -> None:
    taken: list[int] = []
    steps = {n: lambda _connection, n=n: taken.append(n) for n in (1, 2, 3)}
    migrate(connection, newest=3, steps=steps)
    assert (taken, version_of(connection)) == ([1, 2], 3)
    migrate(connection, newest=4, steps=steps)
    migrate(connection, newest=4, steps=steps)
    assert (taken, version_of(connection)) == ([1, 2, 3], 4)


def test_a_newer_file_is_refused(connection: Connection) -> None:
    migrate(connection, newest=2, steps={1: lambda _connection: None})
    with pytest.raises(UserError, match="version 2, this program knows 1"):
        migrate(connection, newest=1)
