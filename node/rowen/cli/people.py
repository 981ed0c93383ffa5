"""How things look to people: short addresses, dollars, small tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rowen.protocol.amounts import TOKEN_DECIMALS, format_usd

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from rowen.cli.documents import Transaction


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


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> Table:
    """Columns without lines.

    Args:
        header: Titles.
        rows: Texts.
        right: For each column ``r`` or ``l``; missing means ``l``.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for position, title in enumerate(header):
        is_right = right[position : position + 1] == "r"
        made.add_column(title, justify="right" if is_right else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def facts(screen: Console, pairs: Iterable[tuple[str, str]], *, indent: int = 0) -> None:
    """Name and value, one pair a line, values aligned."""
    known = list(pairs)
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        screen.print(" " * indent + name.ljust(width), style="dim", end="  ", soft_wrap=True)
        # Unbroken: values are addresses and commands, to be copied.
        screen.print(value, soft_wrap=True)
