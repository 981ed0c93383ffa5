"""``rowen audit export``: the daemon writes the bundle, or this process when none runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rowen.cli.documents import BlockReference, ExportDocument
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.passwords import password_for
from rowen.cli.people import counted, to_copy
from rowen.cli.runner import run_async
from rowen.config import load_config
from rowen.home import Home
from rowen.protocol.errors import UserError
from rowen.protocol.evidence import CHANNELS, ORDERS, RECEIPTS, VOUCHERS, Manifest
from rowen.protocol.ids import format_address
from rowen.provider.asking import ask_as


def export_bundle(
    home: Home,
    password_file: Path | None,
    directory: Path,
    channels: Sequence[str],
    *,
    as_json: bool,
) -> int:
    """Writes the bundle, about all channels or about the named ones.

    Raises:
        UserError: The folder's parent is not there, or something else is in its place.
    """
    config = load_config(home.config)
    only = [channel_of(text) for text in channels]
    # The daemon's working directory is not ours.
    path = directory.expanduser().absolute()
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} does not exist: make it, or choose another folder")

    async def work() -> int:
        manifest = await ask_as(home, Manifest, "export", path=str(path), channels=list(channels))
        if manifest is None:
            from rowen.cli.bundles import write_bundle
            from rowen.provider.till import open_till

            async with open_till(home, config, password_for(home, password_file)) as till:
                manifest = await write_bundle(till, path, config.chain, only)
        document = document_of(path, manifest)
        show(document, as_json=as_json, for_people=lambda screen: _print_export(screen, document))
        return Exit.OK

    return run_async(work)


def channel_of(text: str) -> bytes:
    """A channel's id, 32 bytes, from what a person copies.

    Raises:
        UserError: It is none.
    """
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise UserError(f"{text!r} is no channel id: expected 0x and 64 hexadecimal digits")
    return raw


def document_of(path: Path, manifest: Manifest) -> ExportDocument:
    """A bundle's manifest as a document."""
    block = manifest.block
    return ExportDocument(
        path=str(path),
        chain_id=manifest.chain_id,
        escrow=format_address(manifest.domain.escrow),
        provider=format_address(manifest.provider_address),
        block=BlockReference(number=block.number, hash=block.hash) if block else None,
        channels=manifest.files[CHANNELS].records,
        orders=manifest.files[ORDERS].records,
        receipts=manifest.files[RECEIPTS].records,
        vouchers=manifest.files[VOUCHERS].records,
    )


def verify_command(path: Path | str, manifest: ExportDocument) -> list[str]:
    """The command line that checks the bundle against everything an auditor can pin."""
    command = ["rowen", "audit", "verify", str(path)]
    command += ["--chain-id", str(manifest.chain_id), "--escrow", manifest.escrow]
    command += ["--provider", manifest.provider]
    if manifest.block is not None:
        command += ["--block-hash", manifest.block.hash]
    return command


def _print_export(screen: Console, document: ExportDocument) -> None:
    screen.print(f"Wrote {document.path}", style="bold")
    screen.print(
        f"  {counted(document.channels, 'channel')}, {counted(document.orders, 'order')}, "
        f"{counted(document.receipts, 'receipt')}, {counted(document.vouchers, 'voucher')}"
    )
    if document.block is None:
        screen.print("  without a proof of the chain: an audit will be undetermined")
    else:
        screen.print(f"  proven at block {document.block.number} {document.block.hash}")
    screen.print("Anyone can check it, offline; take the pins from a node that you trust:")
    to_copy(screen, shlex.join(verify_command(document.path, document)))
