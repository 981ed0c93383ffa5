"""How things look to people: short addresses, dollars, small tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from rowen.protocol.amounts import TOKEN_DECIMALS, format_usd

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    from rowen.cli.documents import Transaction

_GAP: Final = 2
"""Spaces between columns."""


def short(text: str) -> str:
    """An address or hash as far as a person compares it: ``0x71C7…976F``."""
    return text if len(text) <= 13 else f"{text[:6]}…{text[-4:]}"


def harmless(text: str) -> str:
    """A stranger's text without what a terminal would obey; line breaks stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def dollars(units: int | str) -> str:
    """Token units as dollars."""
    return format_usd(int(units))


def column_dollars(units: int | str) -> str:
    """Token units as dollars to the last digit, so that a column of them aligns."""
    whole, part = divmod(int(units), 10**TOKEN_DECIMALS)
    return f"${whole:,}.{part:0{TOKEN_DECIMALS}d}"


def price(per_million: int | str) -> str:
    """A price per million tokens."""
    return f"{dollars(per_million)} per million"


def joules(energy_mj: int) -> str:
    """Energy as people read it: ``12.3 J``, ``4.56 kWh``."""
    if energy_mj >= 3_600_000_000:
        return f"{energy_mj / 3_600_000_000:.2f} kWh"
    if energy_mj >= 3_600_000:
        return f"{energy_mj / 3_600_000:.2f} Wh"
    return f"{energy_mj / 1000:.1f} J"


def counted(count: int, noun: str) -> str:
    """``1 receipt``, ``2 receipts``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def to_copy(screen: Console, text: str) -> None:
    """A command on a line of its own, indented; never broken, or it could not be copied."""
    screen.print(f"  {text}", soft_wrap=True)


def transaction(screen: Console, done: Transaction) -> None:
    """A transaction, on two lines of which the hash has one."""
    screen.print(f"  {done.hash}", style="dim", soft_wrap=True)
    screen.print(f"  {done.gas_used:,} gas, block {done.block}", style="dim")


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = ""
) -> RenderableType:
    """Columns without lines; on a terminal too narrow for them, each row as a list.

    Args:
        header: Titles.
        rows: Texts.
        right: For each column ``r`` or ``l``; missing means ``l``.
    """
    return _Columns(header, list(rows), right)


class _Columns:
    """What ``table`` makes; rich asks it for lines once it knows how wide the terminal is."""

    def __init__(self, header: Sequence[str], rows: list[Sequence[str]], right: str) -> None:
        self._header = header
        self._rows = rows
        self._right = right

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        width = min(self._width(), options.max_width)
        return Measurement(width, width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Any]:
        if self._width() <= options.max_width:
            yield self._table()
        else:
            yield from self._lists()

    def _width(self) -> int:
        from rich.cells import cell_len

        columns = zip(self._header, *self._rows, strict=True)
        return sum(max(map(cell_len, column)) + _GAP for column in columns) - _GAP

    def _table(self) -> Table:
        from rich.table import Table

        made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
        for position, title in enumerate(self._header):
            is_right = self._right[position : position + 1] == "r"
            made.add_column(title, justify="right" if is_right else "left", no_wrap=True)
        for row in self._rows:
            made.add_row(*row)
        return made

    def _lists(self) -> Iterator[Text]:
        from rich.text import Text

        width = max(map(len, self._header))
        for number, row in enumerate(self._rows):
            if number:
                yield Text()
            for title, cell in zip(self._header, row, strict=True):
                if cell:
                    title_text = (title.ljust(width + _GAP), "dim")
                    yield Text.assemble(title_text, cell, overflow="fold")


def facts(screen: Console, pairs: Iterable[tuple[str, str]], *, indent: int = 0) -> None:
    """Name and value, one pair a line, values aligned."""
    known = list(pairs)
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        screen.print(" " * indent + name.ljust(width), style="dim", end="  ", soft_wrap=True)
        # Unbroken: values are addresses and commands, to be copied.
        screen.print(value, soft_wrap=True)
