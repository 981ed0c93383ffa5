"""``init``, ``config``, ``keys``, ``models``, ``devnet``, ``version``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowen.cli.options import HomeAt, Json, PasswordFile, Sets, home_of

config_group = typer.Typer(help="Look at the settings in force.", no_args_is_help=True)
keys_group = typer.Typer(help="See, take in and copy the node's keys.", no_args_is_help=True)
models_group = typer.Typer(help="Fetch and check model files.", no_args_is_help=True)
devnet_group = typer.Typer(
    help="Run a local chain with test dollars and the escrow.", invoke_without_command=True
)

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="operator, wallet or session.")]
KeyFile = Annotated[Path, typer.Argument(metavar="FILE", help="An Ethereum keystore, version 3.")]
FilePassword = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Holds that file's password. [else asked for]"),
]
ModelName = Annotated[str, typer.Argument(metavar="[NAME]", help="As in `rowen models list`.")]


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command(rich_help_panel="Start here")(init)
    app.add_typer(config_group, name="config", rich_help_panel="Look and set up")
    app.add_typer(keys_group, name="keys", rich_help_panel="Look and set up")
    app.add_typer(models_group, name="models", rich_help_panel="Look and set up")
    app.add_typer(devnet_group, name="devnet", rich_help_panel="Look and set up")
    app.command(rich_help_panel="Look and set up")(version)


def init(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; take the defaults.")
    ] = False,
    rpc: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="JSON-RPC endpoint; may be repeated.")
    ] = None,
    chain_id: Annotated[int | None, typer.Option(help="EIP-155 id of the chain.")] = None,
    escrow: Annotated[
        str | None, typer.Option(metavar="0x…", help="Address of the RowenEscrow contract.")
    ] = None,
    deployment: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take chain and contracts from a deployment record."),
    ] = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Make keys and a commented rowen.toml. Twice is harmless: nothing is ever overwritten."""
    from rowen.cli.initialise import Chosen, initialise

    chosen = Chosen(rpc=tuple(rpc or ()), chain_id=chain_id, escrow=escrow, deployment=deployment)
    return initialise(home_of(home), chosen, password_file, asks=not yes, as_json=as_json)


@config_group.command("show")
def config_show(
    origin: Annotated[
        bool, typer.Option("--origin", help="Say where each value comes from.")
    ] = False,
    settings: Sets = None,
    home: HomeAt = None,
    as_json: Json = False,
) -> int:
    """Print every setting in force."""
    from rowen.cli.looking import show_config

    return show_config(home_of(home), tuple(settings or ()), with_origin=origin, as_json=as_json)


@keys_group.command("list")
def keys_list(home: HomeAt = None, as_json: Json = False) -> int:
    """List the keys and their addresses."""
    from rowen.cli.key_files import list_keys

    return list_keys(home_of(home), as_json=as_json)


@keys_group.command("import")
def keys_import(
    name: KeyName,
    file: KeyFile,
    file_password: FilePassword = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Take in a key that another wallet made; none that is here is overwritten."""
    from rowen.cli.key_files import import_key

    return import_key(home_of(home), name, file, file_password, password_file, as_json=as_json)


@keys_group.command("export")
def keys_export(
    name: KeyName,
    file: KeyFile,
    file_password: FilePassword = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Copy a key for another wallet, encrypted with a password of its own."""
    from rowen.cli.key_files import export_key

    return export_key(home_of(home), name, file, file_password, password_file, as_json=as_json)


def version(as_json: Json = False) -> int:
    """Print the version."""
    from rowen.cli.looking import show_version

    return show_version(as_json=as_json)


@models_group.command("list")
def models_list(home: HomeAt = None, as_json: Json = False) -> int:
    """List the models that the embedded engine can run."""
    from rowen.cli.model_files import list_models

    return list_models(home_of(home), as_json=as_json)


@models_group.command("pull")
def models_pull(name: ModelName = "", home: HomeAt = None, as_json: Json = False) -> int:
    """Fetch a model and check its hash; does nothing if it is there."""
    from rowen.cli.model_files import pull_model

    return pull_model(home_of(home), name, as_json=as_json)


@models_group.command("verify")
def models_verify(name: ModelName = "", home: HomeAt = None, as_json: Json = False) -> int:
    """Check a model file against the hash it must have."""
    from rowen.cli.model_files import verify_model

    return verify_model(home_of(home), name, as_json=as_json)


@devnet_group.callback()
def devnet(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8545,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keeps the chain between runs.")
    ] = None,
    fund: Annotated[
        list[str] | None,
        typer.Option(metavar="0x…", help="Give $1,000 and gas at the start; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Run a local chain with test dollars and the escrow, until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return 0
    from rowen.cli.devnets import run_devnet

    return run_devnet(port, state, tuple(fund or ()), as_json=as_json)


@devnet_group.command("fund")
def devnet_fund(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="0x…")],
    usd: Annotated[str, typer.Option(metavar="N", help="Test dollars to add.")] = "1000",
    home: HomeAt = None,
    as_json: Json = False,
) -> int:
    """Give an address test dollars and gas on the running devnet."""
    from rowen.cli.devnets import fund_address

    return fund_address(home_of(home), address, usd, as_json=as_json)
