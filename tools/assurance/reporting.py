"""What the tools say: one line each, and why one of them failed."""

import sys
import time
from dataclasses import dataclass


class AssuranceFailed(Exception):
    """A tool found something, or could not do its work. The message says what and where."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one tool has to say.

    Attributes:
        figures: What ran and what came of it, on one line.
        faults: Each thing that must not be; none if all is well.
    """

    figures: str
    faults: tuple[str, ...] = ()


class Progress:
    """A line that tells how far a tool is: over and over on a terminal, else once a minute."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._last_s = time.monotonic()

    def show(self, text: str) -> None:
        """Says where the tool is now."""
        if sys.stderr.isatty():
            print(f"\r  {self._tool:<8} {text:<60}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._last_s >= 60:
            self._last_s = time.monotonic()
            print(f"  {self._tool:<8} {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clears the line."""
        if sys.stderr.isatty():
            print(f"\r{'':<72}\r", end="", file=sys.stderr, flush=True)
