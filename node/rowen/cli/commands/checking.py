"""``audit``, ``demo``, ``doctor`` and ``support-bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowen.cli.options import HomeAt, Json, PasswordFile, Sets, home_of, node_of

audit_group = typer.Typer(help="Export evidence and check it.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command(rich_help_panel="Start here")(demo)
    app.command(rich_help_panel="Check")(doctor)
    app.command("support-bundle", rich_help_panel="Check")(support_bundle)
    app.add_typer(audit_group, name="audit", rich_help_panel="Check")


@audit_group.command("export")
def audit_export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle's folder.")],
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="0x…", help="Only this channel, unproven; may be repeated."),
    ] = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Write this provider's receipts, vouchers and chain proofs as an evidence bundle."""
    node = node_of(home)
    from rowen.cli.exporting import export_bundle

    return export_bundle(node, password_file, directory, tuple(channel or ()), as_json=as_json)


@audit_group.command("verify")
def audit_verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle's folder.")],
    chain_id: Annotated[int | None, typer.Option(min=1, help="The chain it must be on.")] = None,
    escrow: Annotated[
        str | None, typer.Option(metavar="0x…", help="The contract it must be about.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="0x…", help="Whose earnings it must show.")
    ] = None,
    block_hash: Annotated[
        str | None, typer.Option(metavar="0x…", help="The block its proofs must lead to.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Check a bundle offline. Exit code: 0 verified, 1 failed, 2 malformed, 3 undetermined."""
    from rowen.cli.verifying import verify_bundle

    return verify_bundle(directory, chain_id, escrow, provider, block_hash, as_json=as_json)


@audit_group.command("report")
def audit_report(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Bundles; else this client's own journal."),
    ] = None,
    journal: Annotated[
        bool, typer.Option("--journal", help="This client's own journal beside the bundles.")
    ] = False,
    submit: Annotated[
        bool, typer.Option("--submit", help="Report what is proved; else only say what it costs.")
    ] = False,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Find what a provider's own signatures prove against it, and have it slashed."""
    node = node_of(home)
    from rowen.cli.convicting import report_fraud

    return report_fraud(
        node,
        password_file,
        tuple(bundles or ()),
        with_journal=journal,
        submits=submit,
        as_json=as_json,
    )


def doctor(
    settings: Sets = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Find what is wrong with a node; exit code 1 when something has to be mended."""
    from rowen.cli.doctor.command import run_doctor

    return run_doctor(home_of(home), tuple(settings or ()), password_file, as_json=as_json)


def support_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new .tar.gz.")],
    settings: Sets = None,
    home: HomeAt = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> int:
    """Collect what helps others to help: settings, doctor, status, metrics, logs; no secrets."""
    from rowen.cli.supporting import write_support_bundle

    return write_support_bundle(
        home_of(home), tuple(settings or ()), password_file, file, as_json=as_json
    )


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep homes, logs and evidence in a new folder."),
    ] = None,
    as_json: Json = False,
) -> int:
    """An owner, a developer and an auditor on this machine, with a real model and chain."""
    from rowen.cli.demo.command import run_demo

    return run_demo(keep, as_json=as_json)
