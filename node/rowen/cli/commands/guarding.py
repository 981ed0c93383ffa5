"""``stake``: what stands behind a provider's receipts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rowen.cli.options import HomeAt, Json, PasswordFile, node_of

stake_group = typer.Typer(help="A provider's bond.", no_args_is_help=True)


class KeyOf(StrEnum):
    """Which key of this home sends the transaction."""

    OPERATOR = "operator"
    WALLET = "wallet"


Whose = Annotated[
    str, typer.Argument(metavar="[PROVIDER]", help="0x… or multiaddress; else this home's own.")
]
Provider = Annotated[
    str, typer.Option(metavar="ADDR", help="0x… or multiaddress; else this home's own.")
]
Key = Annotated[KeyOf, typer.Option(help="Which key of this home sends it.")]
Dollars = Annotated[str, typer.Argument(metavar="USD", help="Such as 100 or 0.50.")]


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.add_typer(stake_group, name="stake", rich_help_panel="Sell")


@stake_group.command("status")
def stake_status(provider: Whose = "", home: HomeAt = None, as_json: Json = False) -> int:
    """Say what a provider has at stake."""
    node = node_of(home)
    from rowen.cli.staking import show_stake

    return show_stake(node, provider, as_json=as_json)


@stake_group.command("bond")
def stake_bond(
    usd: Dollars,
    provider: Provider = "",
    key: Key = KeyOf.WALLET,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Add to a bond; it becomes the provider's, and comes back only to its payout address."""
    node = node_of(home)
    from rowen.cli.staking import change_stake

    return change_stake(
        node, password_file, "stake-bond", provider, key.value, usd, as_json=as_json
    )


@stake_group.command("unbond")
def stake_unbond(
    usd: Dollars,
    provider: Provider = "",
    key: Key = KeyOf.OPERATOR,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Ask for part of the bond back; `rowen stake withdraw` takes it after the delay.

    Asking for more later starts the delay anew for all of it.
    """
    node = node_of(home)
    from rowen.cli.staking import change_stake

    return change_stake(
        node, password_file, "stake-unbond", provider, key.value, usd, as_json=as_json
    )


@stake_group.command("cancel")
def stake_cancel(
    provider: Provider = "",
    key: Key = KeyOf.OPERATOR,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Take the request back; the whole bond counts again."""
    node = node_of(home)
    from rowen.cli.staking import change_stake

    return change_stake(node, password_file, "stake-cancel", provider, key.value, as_json=as_json)


@stake_group.command("withdraw")
def stake_withdraw(
    provider: Provider = "",
    key: Key = KeyOf.OPERATOR,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Send what was asked back to the payout address, once the delay has passed; anybody may."""
    node = node_of(home)
    from rowen.cli.staking import change_stake

    return change_stake(node, password_file, "stake-withdraw", provider, key.value, as_json=as_json)
