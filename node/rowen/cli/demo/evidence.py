"""The demo's evidence: exported from live providers, judged when everything else is off."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import trio

from rowen.cli.demo.acts import asked, require
from rowen.cli.demo.stage import Stage
from rowen.cli.demo_document import DemoAudit, DemoProvider
from rowen.cli.documents import BlockReference, ExportDocument, VerdictDocument
from rowen.cli.exporting import document_of, verify_command
from rowen.protocol.errors import Unavailable
from rowen.protocol.evidence import Manifest

EXPORT_S: Final = 60.0
AUDIT_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Bundle:
    """One provider's evidence, and what an auditor knows without it.

    Attributes:
        provider: Whose.
        path: The folder.
        pins: The manifest with the block's hash as the demo's own node tells it.
    """

    provider: DemoProvider
    path: Path
    pins: ExportDocument


async def export_all(stage: Stage) -> list[Bundle]:
    """Has every provider write its bundle."""
    folder = stage.folder / "bundle"
    folder.mkdir()
    bundles = []
    with stage.limit(EXPORT_S, "exporting the evidence"):
        for player in stage.players:
            path = folder / player.process.name
            answer = await asked(player, "export", path=str(path))
            manifest = document_of(path, msgspec.convert(answer, Manifest))
            bundles.append(Bundle(player.shown, path, await _pinned(stage, manifest)))
    return bundles


async def audit_all(bundles: list[Bundle], *, is_kept: bool) -> list[DemoAudit]:
    """Judges every bundle with the command that anybody would use."""
    audits: dict[str, DemoAudit] = {}

    async def judge(bundle: Bundle) -> None:
        audits[bundle.provider.address] = await _judge(bundle, is_kept=is_kept)

    try:
        with trio.fail_after(AUDIT_S):
            async with trio.open_nursery() as nursery:
                for bundle in bundles:
                    nursery.start_soon(judge, bundle)
    except trio.TooSlowError as error:
        raise Unavailable(f"the audits took over {AUDIT_S:g} s") from error
    return [audits[bundle.provider.address] for bundle in bundles]


async def _pinned(stage: Stage, manifest: ExportDocument) -> ExportDocument:
    """The manifest with facts that do not come from it: what our own node says of the block."""
    require(manifest.block is not None, "a bundle has no proof of the chain")
    assert manifest.block is not None
    number = manifest.block.number
    (block,) = await stage.buyer.escrow.blocks(number, number)
    domain = stage.devnet.deployment.domain
    return msgspec.structs.replace(
        manifest,
        chain_id=domain.chain_id,
        block=BlockReference(number=number, hash="0x" + block.hash.hex()),
    )


async def _judge(bundle: Bundle, *, is_kept: bool) -> DemoAudit:
    command = verify_command(bundle.path, bundle.pins)
    done = await trio.run_process(
        [sys.executable, "-m", "rowen.cli", *command[1:], "--json"],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        verdict = msgspec.json.decode(done.stdout, type=VerdictDocument)
    except msgspec.DecodeError as error:
        said = (done.stderr or done.stdout).decode(errors="replace")[-1000:]
        raise Unavailable(f"the audit of {bundle.provider.name} ended badly: {said}") from error
    require(
        done.returncode == verdict.exit_code,
        f"the auditor says {verdict.status} and exits with {done.returncode}",
    )
    return DemoAudit(
        provider=bundle.provider.address,
        path=str(bundle.path) if is_kept else None,
        command=command,
        verdict=verdict,
    )
