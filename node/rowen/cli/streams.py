"""Standard streams as machines really have them: closed, full, cut off, or short of Unicode.

What cannot be written to standard output ends the command with a message; what cannot be
written to standard error is lost, because no log is worth a node that stops.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from rowen.protocol.errors import Unavailable, UserError


class NobodyReads(Exception):
    """Whoever read our standard output has enough, as ``head`` has."""


class OutputFailed(Unavailable):
    """Standard output cannot be written, on a full disk for example."""


def prepare() -> None:
    """Gives the process three standard streams that fail as this module says; once, at start."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            # Or else the next file to be opened, a journal perhaps, would get what is printed.
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = _text(_Output(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Log(2, "wb", closefd=False), sys.stderr)


def discard_output() -> None:
    """Takes what is still to be written to standard output as written."""
    with suppress(OSError, ValueError):
        # Python writes it when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def require_text(arguments: Sequence[str]) -> None:
    """Names go into documents and messages, which are UTF-8.

    Raises:
        UserError: An argument, or a variable of ours, is something else.
    """
    ours = {name: value for name, value in os.environ.items() if name.startswith("ROWEN_")}
    for name, text in [*(("the command line", each) for each in arguments), *ours.items()]:
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise UserError(f"{name} holds {text!a}, which is not UTF-8")


def _text(raw: io.FileIO, standard: TextIO | None) -> io.TextIOWrapper:
    is_terminal = raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=standard.encoding if standard else "utf-8",
        # A character that the terminal has not is shown as its number.
        errors="backslashreplace",
        line_buffering=is_terminal or raw.fileno() == 2,
    )


class _Output(io.FileIO):
    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except BrokenPipeError as error:
            raise NobodyReads from error
        except OSError as error:
            raise OutputFailed(f"cannot write to standard output: {error.strerror}") from error


class _Log(io.FileIO):
    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
