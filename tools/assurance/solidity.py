"""Solidity cut into tokens and statements: as much of the language as changing it takes.

Not a parser. It knows comments, strings, brackets and where statements begin, and the compiler
judges the rest: a change that makes no sense does not compile, and is not counted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
    | (?P<string> (?:hex)?"[^"]*" )
    | (?P<number> 0x[0-9a-fA-F]+ | \d[\d_]*(?:e\d+)? )
    | (?P<name> [A-Za-z_$][\w$]* )
    | (?P<sign> <<= | >>= | => | := | == | != | <= | >= | && | \|\|
              | << | >> | \+\+ | -- | \+= | -= | [^\s\w] )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Token:
    """One word of the source.

    Attributes:
        kind: ``string``, ``number``, ``name`` or ``sign``; comments are left out.
        text: As it stands.
        start: Offset of its first character.
    """

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Offset after its last character."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, the head of a block (`if (…)`), or a function's header.

    Attributes:
        scope: Contract and function, ``RowenEscrow.claim``; outside of functions, ``RowenEscrow``.
        kind: ``header``, ``field``, ``head``, ``plain`` or ``assembly``.
        tokens: Without the semicolon or brace that ends it.
        end: Offset after the semicolon, or after the last token where there is none.
    """

    scope: str
    kind: str
    tokens: tuple[Token, ...]
    end: int


def tokens_of(source: str) -> list[Token]:
    """All tokens but comments, in order."""
    return [
        Token(match.lastgroup or "", match.group(), match.start())
        for match in _TOKEN.finditer(source)
        if match.lastgroup != "comment"
    ]


def closing(tokens: list[Token] | tuple[Token, ...], index: int) -> int:
    """The index of the bracket that closes the one at `index`."""
    depth = 0
    for here in range(index, len(tokens)):
        if tokens[here].text in _OPENING:
            depth += 1
        elif tokens[here].text in _CLOSING:
            depth -= 1
            if depth == 0:
                return here
    raise ValueError(f"nothing closes the bracket at {tokens[index].start}")


def statements_of(source: str) -> list[Statement]:
    """Every statement of every contract and library in the file; interfaces have none."""
    tokens = tokens_of(source)
    found: list[Statement] = []
    index = 0
    while index < len(tokens):
        if tokens[index].text in ("contract", "library") and tokens[index + 1].kind == "name":
            name = tokens[index + 1].text
            opening = next(i for i in range(index, len(tokens)) if tokens[i].text == "{")
            end = closing(tokens, opening)
            found += _members(source, name, tokens[opening + 1 : end])
            index = end
        index += 1
    return found


def _members(source: str, contract: str, tokens: list[Token]) -> Iterator[Statement]:
    """The fields and functions between a contract's braces."""
    index = 0
    while index < len(tokens):
        begin, end = index, _ending(tokens, index)
        words = tuple(tokens[begin:end])
        index = end + 1
        if words[0].text in ("function", "constructor"):
            name = words[1].text if words[0].text == "function" else "constructor"
            scope = f"{contract}.{name}"
            yield Statement(scope, "header", words, words[-1].end)
            if tokens[end].text == "{":
                index = closing(tokens, end) + 1
                yield from _body(source, scope, tokens[end + 1 : index - 1])
        elif tokens[end].text == "{":
            index = closing(tokens, end) + 1
        elif words[0].text not in ("using", "event", "error"):
            yield Statement(contract, "field", words, tokens[end].end)


def _body(
    source: str, scope: str, tokens: list[Token], is_assembly: bool = False
) -> Iterator[Statement]:
    """The statements between a block's braces, those of inner blocks included."""
    index = 0
    while index < len(tokens):
        if tokens[index].text in "{}":
            index += 1
            continue
        find = _ending_in_assembly if is_assembly else _ending
        end = find(tokens, index)
        words = tuple(tokens[index:end])
        opens = end < len(tokens) and tokens[end].text == "{"
        if opens:
            yield Statement(scope, "head", words, words[-1].end)
            inner_end = closing(tokens, end)
            inner = tokens[end + 1 : inner_end]
            yield from _body(source, scope, inner, is_assembly or words[0].text == "assembly")
            index = inner_end + 1
        elif is_assembly:
            yield Statement(scope, "assembly", words, words[-1].end)
            index = end
        else:
            yield Statement(scope, "plain", words, tokens[end].end)
            index = end + 1


def _ending(tokens: list[Token], index: int) -> int:
    """Where the statement at `index` ends: its semicolon, or the brace of its block."""
    while tokens[index].text not in (";", "{"):
        index = closing(tokens, index) + 1 if tokens[index].text in "([" else index + 1
    return index


def _ending_in_assembly(tokens: list[Token], index: int) -> int:
    """Without semicolons, a call or an assignment ends with its last bracket or its one word."""
    while index < len(tokens) and tokens[index].text != "{":
        if index + 1 < len(tokens) and tokens[index + 1].text == "(":
            return closing(tokens, index + 1) + 1
        is_operand = tokens[index].text not in ("let", ":=", "if", "for", ",", ".")
        continues = index + 1 < len(tokens) and tokens[index + 1].text in (":=", ",", ".", "{")
        if is_operand and not continues:
            return index + 1
        index += 1
    return index
