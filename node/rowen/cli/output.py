"""Where results go: one JSON document for programs, calm lines for people, errors apart."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from rowen.cli.documents import ErrorDocument, Fault, FaultKind
from rowen.cli.people import harmless

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 160
"""Columns where there is no terminal: wide enough that nobody's log breaks an address."""


def print_json(document: msgspec.Struct) -> None:
    """Writes one document to standard output, on one line."""
    write_json(msgspec.json.encode(document) + b"\n")


def write_json(encoded: bytes) -> None:
    """Writes a document to standard output; JSON is UTF-8 whatever the terminal speaks."""
    sys.stdout.flush()
    sys.stdout.buffer.write(encoded)
    sys.stdout.buffer.flush()


def console(*, stderr: bool = False) -> Console:
    """Colours on a terminal, plain text elsewhere or with ``NO_COLOR``."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        # Whoever reads a pipe wants each line when it is said.
        stream.reconfigure(line_buffering=True)
    width = None if stream.isatty() else PLAIN_WIDTH
    # On a terminal lines break between words; elsewhere they stay whole, to be searched.
    return Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not stream.isatty(),
        width=width,
    )


def show(document: msgspec.Struct, *, as_json: bool, for_people: Callable[[Console], None]) -> None:
    """The result of a command, in the form that was asked for."""
    if as_json:
        print_json(document)
    else:
        for_people(console())


def show_error(kind: FaultKind, message: str, *, as_json: bool, reason: str | None = None) -> None:
    """What went wrong: the document for a program, one line on standard error for a person."""
    if as_json:
        print_json(ErrorDocument(error=Fault(kind=kind, message=message, reason=reason)))
        return
    screen = console(stderr=True)
    screen.print("error: ", style="bold red", end="")
    # It may quote what a peer said.
    screen.print(harmless(message))
