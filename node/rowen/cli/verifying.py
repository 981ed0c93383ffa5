"""``rowen audit verify``: judges a bundle without network, account or trust in who made it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from rowen.auditor.collection import verify_all
from rowen.auditor.verdict import Pins, Status, Verdict, lines
from rowen.cli.output import console, write_json
from rowen.protocol.errors import UserError
from rowen.protocol.ids import parse_address

_COLOURS = {
    Status.VERIFIED: "bold green",
    Status.FAILED: "bold red",
    Status.MALFORMED: "bold red",
    Status.UNDETERMINED: "bold yellow",
}


def verify_bundle(
    directory: Path,
    chain_id: int | None,
    escrow: str | None,
    provider: str | None,
    block_hash: str | None,
    *,
    as_json: bool,
) -> int:
    """Prints the verdict and returns its exit code.

    Raises:
        UserError: A pin is malformed.
    """
    pins = Pins(
        chain_id=chain_id,
        escrow=None if escrow is None else parse_address(escrow),
        provider=None if provider is None else parse_address(provider),
        block_hash=None if block_hash is None else _hash(block_hash),
    )
    verdict = judge(directory, pins)
    if as_json:
        write_json(verdict.to_json())
    else:
        print_verdict(console(), verdict)
    return verdict.exit_code


def judge(directory: Path, pins: Pins) -> Verdict:
    """Judges the bundle in a folder, or all bundles in it; opens no socket."""
    return verify_all(directory, pins)


def print_verdict(screen: Console, verdict: Verdict, *, indent: int = 0) -> None:
    """The auditor's own lines, the conclusion in its colour."""
    for number, line in enumerate(lines(verdict)):
        style = _COLOURS[verdict.status] if number == 0 else ""
        screen.print(Text(" " * indent + line, style=style))


def _hash(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 32 or len(text) != 66:
        raise UserError(f"{text!r} is not a block hash: expected 0x and 64 hexadecimal digits")
    return raw
