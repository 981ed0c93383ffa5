"""The tables of docs/protocol.md that are made from the code.

Run ``python -m tests.unit.protocol.doc_tables`` after a change of the protocol.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
from tests.interop.make_vectors import example_messages
from tests.unit.protocol import build, test_buyer_table, test_seller_table

from rowen.protocol import buyer_channel, jobs, messages, offers, seller_channel
from rowen.protocol.errors import Reason
from rowen.protocol.statements import Statement

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "protocol.md"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _states(states: type[Enum], events: Iterable[type], cells: Mapping[Any, str]) -> str:
    head = ["event", *(f"**{state.name}**" for state in states)]
    rows = [[event.__name__, *(cells[state, event] for state in states)] for event in events]
    return _table(head, rows)


def seller_states() -> str:
    """What each event does to a job at the provider."""
    cells = {}
    for pair, line in test_seller_table.TABLE.items():
        if line == test_seller_table.NEVER:
            cells[pair] = "cannot happen"
        elif line[1] == test_seller_table.SAME:
            cells[pair] = "ignored"
        else:
            cells[pair] = f"→ {line[0].name}: {line[1]}"
    return _states(seller_channel.JobState, test_seller_table.EVENTS, cells)


def buyer_states() -> str:
    """What each event does to a job at the client."""
    cells = {}
    for (state, event), (then, effects) in test_buyer_table.TABLE.items():
        if then == test_buyer_table.PEER:
            cell = "the provider's fault"
        elif then == state and not effects:
            cell = "ignored"
        else:
            name = "over" if then == test_buyer_table.GONE else then.name
            cell = f"→ {name}" + (f": {effects}" if effects else "")
        cells[state, event] = cell
    return _states(buyer_channel.JobState, test_buyer_table.EVENTS, cells)


def statement_types() -> str:
    """EIP-712 type strings and their hashes."""
    blocks = [_statement(type(statement)) for statement in build.STATEMENTS]
    return "\n\n".join(blocks)


def _statement(kind: type[Statement]) -> str:
    name, _, inside = kind.TYPE.removesuffix(")").partition("(")
    fields = ",\n    ".join(inside.split(","))
    return f"```\n{name}(\n    {fields}\n)\ntype hash 0x{kind.TYPE_HASH.hex()}\n```"


def _limit(kind: Any) -> str:
    """A msgspec type in words."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return " or ".join(_limit(part) for part in kind.types)
    if isinstance(kind, msgspec.inspect.NoneType):
        return "nil"
    if isinstance(kind, msgspec.inspect.IntType):
        assert kind.le is not None, "an int on the wire has bounds"
        return f"int {kind.ge} … {_power(kind.le)}"
    if isinstance(kind, msgspec.inspect.BytesType):
        if kind.min_length == kind.max_length:
            return f"bin {kind.max_length}"
        return f"bin ≤ {kind.max_length}"
    if isinstance(kind, msgspec.inspect.StrType):
        least = f"{kind.min_length} … " if kind.min_length else "≤ "
        return "str" if kind.max_length is None else f"str {least}{kind.max_length}"
    if isinstance(kind, msgspec.inspect.FloatType):
        least = f"≥ {kind.ge}" if kind.gt is None else f"> {kind.gt}"
        return f"float64 {least}, ≤ {kind.le}"
    if isinstance(kind, msgspec.inspect.VarTupleType):
        least = f"{kind.min_length} … " if kind.min_length else "≤ "
        return f"array {least}{kind.max_length} of ({_limit(kind.item_type)})"
    if isinstance(kind, msgspec.inspect.LiteralType):
        return " or ".join(f"`{value}`" for value in kind.values)
    return f"`{kind.cls.__name__}`"


def _power(value: int) -> str:
    exponent = (value + 1).bit_length() - 1
    return f"2^{exponent} − 1" if value + 1 == 1 << exponent and exponent > 16 else str(value)


def _fields(kind: type[msgspec.Struct]) -> list[list[str]]:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    tag = [[f"`{info.tag_field}`", f"`{info.tag}`"]] if info.tag_field else []
    return tag + [[f"`{field.encode_name}`", _limit(field.type)] for field in info.fields]


def message_fields() -> str:
    """Keys of each message, in their order."""
    kinds = dict.fromkeys(type(said) for said in example_messages())
    parts: list[type[msgspec.Struct]] = [messages.Signed, *kinds, jobs.ChatInput, jobs.Message]
    parts += [jobs.CompletionInput, jobs.EmbeddingsInput, jobs.OcrInput]
    parts += [offers.OfferContent]
    parts += [offers.VariantContent, offers.ClaimContent, offers.RunContent]
    return "\n\n".join(
        f"**{kind.__name__}**\n\n" + _table(["key", "value"], _fields(kind)) for kind in parts
    )


def reasons() -> str:
    """The words of a refusal."""
    return ", ".join(f"`{reason.value}`" for reason in Reason)


BLOCKS = {
    "statements": statement_types,
    "messages": message_fields,
    "reasons": reasons,
    "provider states": seller_states,
    "client states": buyer_states,
}


def _around(block: str) -> Callable[[re.Match[str]], str]:
    """Puts a block between the marks that were found; as it is, backslashes too."""
    return lambda marks: f"{marks[1]}\n{block}\n\n{marks[2]}"


def refreshed(text: str) -> str:
    """The document with every block made anew."""
    for name, make in BLOCKS.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, _around(make()), text, flags=re.DOTALL)
        assert count == 1, f"the document has {count} blocks named {name}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(refreshed(DOCUMENT.read_text()))
