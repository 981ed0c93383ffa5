"""Asks the daemon of a home or, when none runs there, does its work here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from rowen.cli.passwords import password_for
from rowen.config import Config
from rowen.home import Home
from rowen.provider.asking import ask_as

if TYPE_CHECKING:
    from rowen.provider.till import Till

R = TypeVar("R", bound=msgspec.Struct)


async def answered(
    home: Home,
    config: Config,
    password_file: Path | None,
    kind: type[R],
    do: str,
    here: Callable[[Till], Awaitable[R]],
    **arguments: Any,
) -> R:
    """The report of a question about money.

    Args:
        home: Whose.
        config: Its settings.
        password_file: Of its keys, needed without a daemon.
        kind: Of the report.
        do: Name of the question.
        here: Answers it with the journal in our own hands.
        arguments: Of the question.

    Raises:
        UserError: Something a person has to change.
        Unavailable: The daemon, the chain or the disk does not answer.
    """
    report = await ask_as(home, kind, do, **arguments)
    if report is not None:
        return report
    from rowen.provider.till import open_till

    async with open_till(home, config, password_for(home, password_file)) as till:
        return await here(till)
