"""The contract ABI's encoding, and calls as values. Pure; needs no web3.

As much of the ABI as our contracts use: static words, ``bytes`` and ``string``, tuples, and
arrays of any length. Types are written as in a function's signature, such as
``(address,uint96)[]``. Addresses are 20 bytes, ``bytes32`` 32, all ``uint`` ints.

Source: https://docs.soliditylang.org/en/v0.8.37/abi-spec.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, TypeVar, cast

from rowen.protocol.ids import ADDRESS_BYTES, keccak

R_co = TypeVar("R_co", covariant=True)

WORD: Final = 32
_TEXTS: Final = ("bytes", "string")


@dataclass(frozen=True, slots=True)
class Call(Generic[R_co]):
    """One call of a contract's function; the generated modules beside this one make them.

    Attributes:
        name: Of the function.
        kinds: Types of its arguments.
        values: Its arguments.
        returns: Types of what it returns; ``R_co`` is nothing, the one value or a tuple.
    """

    name: str
    kinds: tuple[str, ...]
    values: tuple[Any, ...]
    returns: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """Call data: selector and arguments.

        Raises:
            ValueError: An argument does not fit its type.
        """
        return selector(self.name, self.kinds) + encode(self.kinds, self.values)

    def read(self, raw: bytes) -> R_co:
        """What the call returned.

        Raises:
            ValueError: It is no such thing.
        """
        values = decode(self.returns, raw)
        return cast(R_co, None if not values else values[0] if len(values) == 1 else values)


@cache
def selector(name: str, kinds: tuple[str, ...]) -> bytes:
    """First four bytes of a function's call data, or of an error's return data."""
    return keccak(f"{name}({','.join(kinds)})".encode())[:4]


@cache
def is_dynamic(kind: str) -> bool:
    """Whether the encoding has an offset in the value's place."""
    if kind.startswith("(") and kind.endswith(")"):
        return any(map(is_dynamic, members(kind)))
    return kind.endswith("[]") or kind in _TEXTS


@cache
def members(kind: str) -> tuple[str, ...]:
    """The types in a tuple's parentheses."""
    found, depth, start = [], 0, 1
    for position, letter in enumerate(kind):
        depth += (letter == "(") - (letter == ")")
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            found.append(kind[start:position])
            start = position + 1
    return tuple(found)


def encode(kinds: Sequence[str], values: Sequence[Any]) -> bytes:
    """Values one after another: heads, then what the heads point to.

    Raises:
        ValueError: A value does not fit its type.
    """
    tails: list[bytes] = []
    heads: list[bytes] = []
    encoded = [_encode_one(kind, value) for kind, value in zip(kinds, values, strict=True)]
    at = sum(
        WORD if is_dynamic(kind) else len(part) for kind, part in zip(kinds, encoded, strict=True)
    )
    for kind, part in zip(kinds, encoded, strict=True):
        if is_dynamic(kind):
            heads.append(at.to_bytes(WORD, "big"))
            tails.append(part)
            at += len(part)
        else:
            heads.append(part)
    return b"".join(heads + tails)


def _encode_one(kind: str, value: Any) -> bytes:
    if kind.endswith("[]"):
        inner = [kind[:-2]] * len(value)
        return len(value).to_bytes(WORD, "big") + encode(inner, value)
    if kind.startswith("("):
        return encode(members(kind), value)
    if kind in _TEXTS:
        raw = value.encode() if isinstance(value, str) else value
        return len(raw).to_bytes(WORD, "big") + raw + bytes(-len(raw) % WORD)
    return _word(kind, value)


def _word(kind: str, value: int | bytes) -> bytes:
    if kind.startswith("uint") or kind == "bool":
        bits = 1 if kind == "bool" else int(kind.removeprefix("uint"))
        if not isinstance(value, int) or not 0 <= value < 1 << bits:
            raise ValueError(f"{value!r} is outside {kind}")
        return value.to_bytes(WORD, "big")
    size = ADDRESS_BYTES if kind == "address" else int(kind.removeprefix("bytes"))
    if not isinstance(value, bytes) or len(value) != size:
        raise ValueError(f"{value!r:.80} is no {kind}")
    return value.rjust(WORD, b"\0") if kind == "address" else value.ljust(WORD, b"\0")


def decode(kinds: Sequence[str], raw: bytes) -> tuple[Any, ...]:
    """Words and texts that a function returned; nothing of ours returns tuples or arrays.

    Raises:
        ValueError: They are not there, or hold a value outside their type.
    """
    return tuple(_decode_each(kinds, raw))


def _decode_each(kinds: Sequence[str], raw: bytes) -> Iterator[Any]:
    for position, kind in enumerate(kinds):
        word = _slice(raw, WORD * position, WORD)
        if kind not in _TEXTS:
            yield read_word(kind, word)
            continue
        at = int.from_bytes(word, "big")
        size = int.from_bytes(_slice(raw, at, WORD), "big")
        text = _slice(raw, at + WORD, size)
        yield text.decode() if kind == "string" else text


def _slice(raw: bytes, at: int, size: int) -> bytes:
    if at + size > len(raw):
        raise ValueError(f"{len(raw)} bytes end before {at} + {size}")
    return raw[at : at + size]


def read_word(kind: str, word: bytes) -> int | bytes:
    """One static value.

    Raises:
        ValueError: The word holds more than the type can.
    """
    value: int | bytes
    if kind.startswith("uint"):
        value = int.from_bytes(word, "big")
    elif kind == "bool":
        value = bool(int.from_bytes(word, "big"))
    elif kind == "address":
        value = word[WORD - ADDRESS_BYTES :]
    else:
        value = word[: int(kind.removeprefix("bytes"))]
    if _word(kind, value) != word:
        raise ValueError(f"0x{word.hex()} is no {kind}")
    return value
