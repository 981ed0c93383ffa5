"""``serve``, ``status``, ``settle``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rowen.cli.options import HomeAt, Json, PasswordFile, Sets, home_of, node_of


class LogLevel(StrEnum):
    """How much a node says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command(rich_help_panel="Sell")(serve)
    app.command(rich_help_panel="Sell")(status)
    app.command(rich_help_panel="Sell")(settle)


def serve(
    home: HomeAt = None,
    password_file: PasswordFile = None,
    log: Annotated[LogLevel, typer.Option(help="To standard error.")] = LogLevel.INFO,
    leash: Annotated[
        bool, typer.Option("--leash", help="End when standard input ends, for supervisors.")
    ] = False,
    settings: Sets = None,
    as_json: Json = False,
) -> int:
    """Sell inference until Ctrl-C."""
    flags = tuple(settings or ())
    node = node_of(home, flags)
    from rowen.cli.serving import serve_node

    return serve_node(node, flags, password_file, level=log.value, on_leash=leash, as_json=as_json)


def status(home: HomeAt = None, as_json: Json = False) -> int:
    """Say what the node of this home is doing; exit code 4 when it is not running."""
    from rowen.cli.settling import show_status

    return show_status(home_of(home), as_json=as_json)


def settle(
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also send the credit to the payout address.")
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Put every unclaimed voucher on chain; works whether or not the node is running."""
    node = node_of(home)
    from rowen.cli.settling import settle_now

    return settle_now(node, password_file, sweep=sweep, as_json=as_json)
