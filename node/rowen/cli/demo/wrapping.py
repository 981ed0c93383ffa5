"""Wraps a text whose end is not known yet."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from rowen.cli.people import harmless


class Wrapper:
    """Writes pieces as they come, breaks lines between words, and indents them.

    A word is written once it is whole, so a line never has to be taken back.
    """

    def __init__(self, console: Console, *, indent: str, width: int) -> None:
        """Starts empty.

        Args:
            console: Where to write.
            indent: Before every line.
            width: Columns after the indent.
        """
        self._console = console
        self._indent = indent
        self._width = width
        self._column = 0
        # The word so far: pieces with their styles.
        self._word: list[tuple[str, str]] = []
        self._is_spaced = False

    def write(self, text: str, style: str = "") -> None:
        """Takes a piece."""
        for part in re.findall(r"\n|[^\S\n]+|\S+", text):
            if part == "\n":
                self._flush()
                if self._column:
                    self._end_line()
            elif part.isspace():
                self._flush()
                self._is_spaced = True
            else:
                self._word.append((part, style))

    def finish(self) -> None:
        """Writes what is left and ends the line."""
        self._flush()
        if self._column:
            self._end_line()

    def _flush(self) -> None:
        if not self._word:
            return
        length = sum(cell_len(part) for part, _ in self._word)
        space = 1 if self._is_spaced and self._column else 0
        if self._column and self._column + space + length > self._width:
            self._end_line()
            space = 0
        if not self._column:
            self._put(self._indent, "")
        self._put(" " * space, "")
        for part, style in self._word:
            self._put(part, style)
        self._column += space + length
        self._word.clear()
        self._is_spaced = False

    def _end_line(self) -> None:
        self._put("\n", "")
        self._column = 0
        self._is_spaced = False

    def _put(self, text: str, style: str) -> None:
        # Not as markup: brackets are the answer's own.
        self._console.print(Text(harmless(text), style=style), end="", soft_wrap=True)
        self._console.file.flush()
