"""``chain``: the contracts themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowen.cli.options import HomeAt, Json, PasswordFile, home_of

chain_group = typer.Typer(help="Deploy the contracts and check them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.add_typer(chain_group, name="chain", rich_help_panel="Check")


@chain_group.command("deploy")
def chain_deploy(
    token: Annotated[str, typer.Option(metavar="0x…", help="The one ERC-20 it takes.")],
    unlock_delay: Annotated[
        int, typer.Option(metavar="S", help="From asking for a channel's rest to taking it.")
    ] = 6 * 3600,
    payout_delay: Annotated[
        int, typer.Option(metavar="S", help="Until another payout address takes over.")
    ] = 48 * 3600,
    min_lock: Annotated[
        str, typer.Option(metavar="USD", help="The least a channel is opened with.")
    ] = "1",
    unbond_delay: Annotated[
        int, typer.Option(metavar="S", help="From asking for a bond back to getting it.")
    ] = 14 * 86_400,
    penalty: Annotated[str, typer.Option(metavar="USD", help="What one offence costs.")] = "100",
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was deployed there.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would stand where, and send nothing.")
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Deploy escrow and stake with this home's wallet; twice is harmless."""
    from rowen.cli.deploying import Constants, deploy_contracts

    constants = Constants(
        token=token,
        unlock_delay_s=unlock_delay,
        payout_delay_s=payout_delay,
        min_lock=min_lock,
        unbond_delay_s=unbond_delay,
        penalty=penalty,
    )
    return deploy_contracts(
        home_of(home), password_file, constants, record, is_plan=plan, as_json=as_json
    )


@chain_group.command("verify")
def chain_verify(
    record: Annotated[
        Path,
        typer.Argument(metavar="RECORD", help="Such as contracts/deployments/8453.json."),
    ],
    home: HomeAt = None,
    as_json: Json = False,
) -> int:
    """Compare a deployment with this version's build; exit code 1 if anything differs."""
    from rowen.cli.deploying import verify_contracts

    return verify_contracts(home_of(home), record, as_json=as_json)
