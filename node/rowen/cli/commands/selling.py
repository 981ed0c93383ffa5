"""``serve``, ``status``, ``settle``, ``earnings``, ``withdraw``, ``payout``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer

from rowen.cli.options import HomeAt, Json, PasswordFile, Sets, home_of, node_of
from rowen.protocol.errors import UserError


class LogLevel(StrEnum):
    """How much a node says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Grouping(StrEnum):
    """What a line of the books is about."""

    DAY = "day"
    VARIANT = "variant"
    CHANNEL = "channel"


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command(rich_help_panel="Sell")(serve)
    app.command(rich_help_panel="Sell")(status)
    app.command(rich_help_panel="Sell")(settle)
    app.command(rich_help_panel="Sell")(bench)
    app.command(rich_help_panel="Sell")(earnings)
    app.command(rich_help_panel="Sell")(withdraw)
    app.command(rich_help_panel="Sell")(payout)


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


def bench(
    prefill: Annotated[int, typer.Option(min=16, help="Tokens of a prompt, about.")] = 512,
    decode: Annotated[int, typer.Option(min=8, help="Longest answer, in tokens.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Prompts that each job reads.")] = 3,
    settings: Sets = None,
    home: HomeAt = None,
    as_json: Json = False,
) -> int:
    """Measure speed, energy and quality of what is for sale, and propose prices."""
    from rowen.cli.benching import bench_all
    from rowen.provider.bench import BenchSettings

    wanted = BenchSettings(
        prefill_units=prefill, decode_units=decode, decode_units_least=2 * decode, rounds=rounds
    )
    return bench_all(home_of(home), tuple(settings or ()), wanted, as_json=as_json)


def earnings(
    by: Annotated[Grouping, typer.Option(help="What a line is about.")] = Grouping.DAY,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="First day, such as 2026-11-01.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="Last day.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="For a spreadsheet.")] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Say what was earned, what is settled, and what gas and power took of it."""
    node = node_of(home)
    from rowen.cli.earning import show_earnings

    return show_earnings(
        node, password_file, by=by.value, since=since, until=until, as_csv=as_csv, as_json=as_json
    )


def withdraw(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send it without asking.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be sent.")
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Send the credit to the payout address."""
    node = node_of(home)
    from rowen.cli.withdrawing import withdraw_credit

    return withdraw_credit(node, password_file, is_sure=yes, is_dry=dry_run, as_json=as_json)


def payout(
    address: Annotated[
        str | None, typer.Argument(metavar="0x…", help="A cold address to use from now on.")
    ] = None,
    of: Annotated[
        str, typer.Option(metavar="PROVIDER", help="Another provider's: 0x… or multiaddress.")
    ] = "",
    veto: Annotated[
        bool,
        typer.Option("--veto", help="Refuse the address that waits, as the one in force."),
    ] = False,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Put the one that waits in force; anybody may, when due."),
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Show where earnings go, or change it; every change but the first waits for a delay."""
    node = node_of(home)
    if address and (of or veto or apply):
        raise UserError("an address is asked for by its own provider: leave the options away")
    if of or veto or apply:
        from rowen.cli.payouts import decide_payout

        action: Literal["payout-veto", "payout-apply"] | None = (
            "payout-veto" if veto else "payout-apply" if apply else None
        )
        return decide_payout(node, password_file, of, action, as_json=as_json)
    from rowen.cli.withdrawing import set_payout

    return set_payout(node, password_file, address, as_json=as_json)
