"""``rowen serve``: one provider until it is told to end."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import msgspec
import trio
from rich.console import Console

# Imported for its time only: before trio runs, Ctrl-C ends an import of seconds at once.
import rowen.p2p.host  # noqa: F401 - see above
from rowen.cli.acting import act_for
from rowen.cli.documents import ServingDocument
from rowen.cli.exporting import channel_of
from rowen.cli.output import show
from rowen.cli.passwords import password_for
from rowen.cli.people import facts, harmless
from rowen.cli.runner import run_async
from rowen.cli.settling import variant_of, variants_table
from rowen.config import ChainConfig, load_config
from rowen.home import Home
from rowen.log import set_up_logs
from rowen.protocol.ids import format_address
from rowen.provider.daemon import Daemon, open_daemon, report_variant
from rowen.provider.questions import Acting, Exporting, question


def serve_node(
    home: Home,
    flags: tuple[str, ...],
    password_file: Path | None,
    *,
    level: str,
    on_leash: bool,
    as_json: bool,
) -> int:
    """Serves until interrupted, broken or, on a leash, let go of."""
    set_up_logs(level, as_json=as_json)
    config = load_config(home.config, flags=flags)
    password = password_for(home, password_file)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            if on_leash:
                nursery.start_soon(_cancel_at_end_of_input, nursery.cancel_scope)
            async with (
                open_daemon(home, config, password) as daemon,
                trio.open_nursery() as running,
            ):
                export = question(Exporting, partial(_export, daemon, config.chain))
                till = daemon.till
                act = question(Acting, partial(act_for, till.wallet, till.escrow, config.chain))
                # Whoever reads that we serve may ask us something in the next moment.
                await running.start(daemon.run, home, {"export": export, "act": act})
                document = _document(daemon)
                show(document, as_json=as_json, for_people=lambda s: _introduce(s, document))

    return run_async(work)


async def _cancel_at_end_of_input(scope: trio.CancelScope) -> None:
    """Whoever started us holds the other end, and the kernel lets go of it however they end."""
    async with trio.lowlevel.FdStream(sys.stdin.fileno()) as stream:
        while await stream.receive_some(1024):
            pass
    scope.cancel()


async def _export(daemon: Daemon, chain: ChainConfig, asked: Exporting) -> msgspec.Struct:
    # In a thread: the first time this imports what proves the chain, and jobs are running.
    bundles = await trio.to_thread.run_sync(import_module, "rowen.cli.bundles")
    only = [channel_of(text) for text in asked.channels]
    path = Path(asked.path)
    manifest: msgspec.Struct = await bundles.write_bundle(daemon.till, path, chain, only)
    return manifest


def _document(daemon: Daemon) -> ServingDocument:
    domain = daemon.till.escrow.deployment.domain
    return ServingDocument(
        address=format_address(daemon.till.key.address),
        peer_id=daemon.network.peer_id,
        addresses=list(daemon.network.addresses),
        variants=[
            variant_of(report_variant(shelf)) for shelf in daemon.provider.stock.shelves.values()
        ],
        chain_id=domain.chain_id,
        escrow=format_address(domain.escrow),
        watch=daemon.watch.address,
    )


def _introduce(screen: Console, document: ServingDocument) -> None:
    names = ", ".join(f"{sold.model}:{sold.precision}" for sold in document.variants)
    screen.print(f"Serving {harmless(names)}; Ctrl-C ends it.", style="bold")
    pairs = [
        ("provider", document.address),
        ("chain", f"{document.chain_id}, escrow {document.escrow}"),
    ]
    if document.watch:
        pairs.append(("watch", f"{document.watch}/readyz?verbose, /metrics"))
    pairs += [("listening", address) for address in document.addresses]
    facts(screen, pairs, indent=2)
    screen.print(variants_table(document.variants))
    screen.print(
        "Clients need the line with the address, and `rowen channel open` with it.", style="dim"
    )
