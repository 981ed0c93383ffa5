"""The ways a contract is broken on purpose: source in, mutants out, nothing run.

Each operator looks at one statement and names spans to replace. A mutant's id is made of what is
changed and where, by function and not by line, so that an explanation written for it survives edits
elsewhere in the file.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tools.assurance.solidity import Statement, Token, closing, statements_of

Change = tuple[str, int, int, str]
"""Operator, first offset, offset after the last, what stands there instead."""

SIGNS = {
    **{"<": ["<="], "<=": ["<"], ">": [">="], ">=": [">"], "==": ["!="], "!=": ["=="]},
    **{"&&": ["||"], "||": ["&&"], "!": [""], "++": ["--"], "+=": ["-=", "="], "-=": ["+=", "="]},
    **{"+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["/"]},
    **{"<<": [">>"], ">>": ["<<"], "&": ["|"], "|": ["&"], "^": ["|"]},
}
KINDS_OF_SIGN = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), "comparison"),
    **dict.fromkeys(("&&", "||", "!"), "logic"),
    **dict.fromkeys(("<<", ">>", "&", "|", "^"), "bits"),
}
OPCODES = {
    **{"add": "sub", "sub": "add", "mul": "div", "div": "mul", "mod": "div"},
    **{"shl": "shr", "shr": "shl", "and": "or", "or": "and", "xor": "or"},
    **{"gt": "lt", "lt": "gt", "eq": "lt"},
}
NAMES = {"true": "false", "false": "true", "storage": "memory"}
TYPE = re.compile(r"address|bool|bytes\d*|string|u?int\d*")
LOCATIONS = ("memory", "storage", "calldata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change to one file.

    Attributes:
        file: Path below `contracts/`.
        scope: Contract and function.
        operator: What kind of change it is.
        before: The statement, on one line.
        after: The same, changed.
        start: Offset of the first character replaced.
        end: Offset after the last.
        replacement: What stands there instead.
        id: Twelve hexadecimal digits over all but the offsets.
    """

    file: str
    scope: str
    operator: str
    before: str
    after: str
    start: int
    end: int
    replacement: str
    id: str

    def apply(self, source: str) -> str:
        """The whole file with the change made."""
        return source[: self.start] + self.replacement + source[self.end :]

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.id} {self.scope}: {self.before}  ⟶  {self.after}"


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file, in the order of the source."""
    seen: Counter[str] = Counter()
    found = []
    for statement in statements_of(source):
        first = statement.tokens[0].start
        for operator, start, end, replacement in _changes(statement):
            before = " ".join(source[first : statement.end].split())
            changed = source[first:start] + replacement + source[end : statement.end]
            after = " ".join(changed.split()) or "(nothing)"
            key = f"{file}\n{statement.scope}\n{operator}\n{before}\n{after}"
            # The same change of the same words twice in one function: told apart by their order.
            seen[key] += 1
            name = hashlib.sha256(f"{key}\n{seen[key]}".encode()).hexdigest()[:12]
            found.append(
                Mutant(
                    file=file,
                    scope=statement.scope,
                    operator=operator,
                    before=before,
                    after=after,
                    start=start,
                    end=end,
                    replacement=replacement,
                    id=name,
                )
            )
    return found


def _changes(statement: Statement) -> Iterator[Change]:
    """Every change that one statement offers."""
    operators: dict[str, list[Callable[[Statement], Iterator[Change]]]] = {
        "header": [_guard],
        "field": [_literal, _sign],
        "head": [_literal, _sign, _condition, _opcode, _sender],
        "plain": [_literal, _sign, _condition, _removal, _branches, _word, _sender, _swap],
        "assembly": [_literal, _opcode, _removal],
    }
    for operator in operators[statement.kind]:
        yield from operator(statement)


def _replace(operator: str, token: Token, replacement: str) -> Change:
    return operator, token.start, token.end, replacement


def _literal(statement: Statement) -> Iterator[Change]:
    """A number becomes its neighbour and zero; a string loses its last character."""
    for token in statement.tokens:
        if token.kind == "number":
            number = int(token.text.replace("_", ""), 0)
            width = len(token.text) - 2
            written = f"0x{number + 1:0{width}x}" if token.text.startswith("0x") else number + 1
            yield _replace("constant", token, str(written))
            if number > 1 and statement.kind != "field":
                yield _replace("constant", token, "0")
        elif token.kind == "string" and len(token.text) > 2 and "memory-safe" not in token.text:
            yield _replace("constant", token, token.text[:-2] + '"')


def _sign(statement: Statement) -> Iterator[Change]:
    """An operator becomes another."""
    tokens = statement.tokens
    for index, token in enumerate(tokens):
        if statement.kind == "head" and tokens[0].text == "for" and token.text == "++":
            continue  # a loop that runs backwards for ever proves nothing
        for other in SIGNS.get(token.text, []) if token.kind == "sign" else []:
            is_unary = index == 0 or tokens[index - 1].text in ("(", ",", "=", "return")
            if token.text in "+-" and is_unary:
                continue
            yield _replace(KINDS_OF_SIGN.get(token.text, "arithmetic"), token, other)


def _condition(statement: Statement) -> Iterator[Change]:
    """An `if` always, and never."""
    tokens = statement.tokens
    if tokens[0].text == "if" and tokens[1].text == "(":
        end = closing(tokens, 1)
        for always in ("true", "false"):
            yield "condition", tokens[2].start, tokens[end].start, always


def _removal(statement: Statement) -> Iterator[Change]:
    """A statement is left out: a check, an event, an effect. The rest needs the declarations."""
    tokens = statement.tokens
    first = tokens[0].text
    if first in ("return", "revert", "if", "for", "let", "try"):
        return
    if first not in ("emit", "delete") and _is_declaration(tokens):
        return
    operator = {"require": "check removed", "emit": "event removed"}.get(first, "removal")
    yield operator, tokens[0].start, statement.end, ""


def _is_declaration(tokens: tuple[Token, ...]) -> bool:
    """`uint96 x = …`, `Bond memory b = …`, `(address a, …) = …`."""
    at = 1 if tokens[0].text == "(" else 0
    following = tokens[at + 1] if len(tokens) > at + 1 else None
    if following is None or following.kind != "name":
        return False
    return bool(TYPE.fullmatch(tokens[at].text)) or tokens[at].kind == "name"


def _branches(statement: Statement) -> Iterator[Change]:
    """`a ? b : c` gives c where it gave b."""
    tokens = statement.tokens
    for index, token in enumerate(tokens):
        if token.text != "?":
            continue
        colon = _skip_to(tokens, index + 1, ":")
        end = _skip_to(tokens, colon + 1, ",)")
        yes = _text(tokens[index + 1 : colon])
        no = _text(tokens[colon + 1 : end])
        yield "branches", tokens[index + 1].start, tokens[end - 1].end, f"{no} : {yes}"


def _skip_to(tokens: tuple[Token, ...], index: int, ends: str) -> int:
    """The first of `ends` at this depth, or the end."""
    while index < len(tokens) and tokens[index].text not in ends:
        index = closing(tokens, index) + 1 if tokens[index].text in "([{" else index + 1
    return index


def _text(tokens: tuple[Token, ...]) -> str:
    """The tokens written out, with spaces that change nothing."""
    return " ".join(token.text for token in tokens)


def _word(statement: Statement) -> Iterator[Change]:
    """Truth turns, and a pointer to storage becomes a copy, whose changes are lost."""
    for token in statement.tokens:
        if token.kind == "name" and token.text in NAMES:
            yield _replace("word", token, NAMES[token.text])


def _sender(statement: Statement) -> Iterator[Change]:
    """Who calls becomes who pays the gas."""
    tokens = statement.tokens
    for index, token in enumerate(tokens[:-2]):
        if token.text == "msg" and tokens[index + 2].text == "sender":
            yield "sender", token.start, tokens[index + 2].end, "tx.origin"


def _swap(statement: Statement) -> Iterator[Change]:
    """Two neighbouring arguments of a call change places. Those that compile are good mutants."""
    tokens = statement.tokens
    for index in range(1, len(tokens)):
        is_call = tokens[index].text == "(" and tokens[index - 1].kind == "name"
        if not is_call or tokens[index - 1].text in ("if", "for", "returns", "require"):
            continue
        end = closing(tokens, index)
        cuts = [index]
        while (cut := _skip_to(tokens, cuts[-1] + 1, ",")) < end:
            cuts.append(cut)
        cuts.append(end)
        parts = [tokens[a + 1 : b] for a, b in pairwise(cuts)]
        for one, two in pairwise(parts):
            if one and two and _text(one) != _text(two):
                swapped = f"{_text(two)}, {_text(one)}"
                yield "swap", one[0].start, two[-1].end, swapped


def _opcode(statement: Statement) -> Iterator[Change]:
    """An instruction becomes another of the same arity, and a condition its opposite."""
    tokens = statement.tokens
    is_head = statement.kind == "head" and tokens[0].text == "if" and tokens[1].text != "("
    if is_head:
        condition = _text(tokens[1:])
        yield "condition", tokens[1].start, tokens[-1].end, f"iszero({condition})"
    if is_head or statement.kind == "assembly":
        for token, after in pairwise(tokens):
            if token.text in OPCODES and after.text == "(":
                yield _replace("opcode", token, OPCODES[token.text])


def _guard(statement: Statement) -> Iterator[Change]:
    """The lock against reentrancy is left off."""
    for token in statement.tokens:
        if token.text == "nonReentrant":
            yield _replace("guard removed", token, "")
