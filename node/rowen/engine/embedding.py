"""OpenAI's embeddings: one text asked for at a time, so that each has a count of its own."""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64decode
from collections.abc import Sequence
from typing import Annotated

import msgspec

from rowen.engine.base import Piece
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.vectors import vector_text

NUMBERS_MAX = 65_536

_Number = Annotated[float, msgspec.Meta(ge=-3.4028234663852886e38, le=3.4028234663852886e38)]


class _Vector(msgspec.Struct, frozen=True):
    # Base64 of little-endian float32s when the engine knows what it was asked for.
    embedding: str | tuple[_Number, ...]


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int


class _Answer(msgspec.Struct, frozen=True):
    data: tuple[_Vector, ...]
    usage: _Usage


def embedding_request(text: str, model: str) -> dict[str, object]:
    """Asks for the vector of one text."""
    return {"model": model, "input": [text], "encoding_format": "base64"}


def sum_fitting(counts: Sequence[int], context_units: int) -> int:
    """Tokens of all texts, given those of each.

    Raises:
        UserError: One does not fit.
    """
    longest = max(counts)
    if longest > context_units:
        raise UserError(
            f"text {counts.index(longest) + 1} has {longest} tokens, at most {context_units} fit"
        )
    return sum(counts)


def read_embedding(answer: object) -> Piece:
    """The vector in a decoded answer as a piece of output, counted.

    Raises:
        Unavailable: The engine speaks another language, or its vector has no value.
    """
    try:
        found = msgspec.convert(answer, _Answer)
        (vector,) = found.data
        numbers = _numbers(vector.embedding)
    except ValueError as error:
        raise Unavailable(f"the engine's answer is no embedding of one text: {error}") from error
    if not 1 <= len(numbers) <= NUMBERS_MAX or not all(map(math.isfinite, numbers)):
        raise Unavailable(f"the engine's vector of {len(numbers)} numbers is none")
    if found.usage.prompt_tokens < 1:
        raise Unavailable("the engine does not report its usage, so nothing can be billed by it")
    return Piece(vector_text(numbers), len(numbers), found.usage.prompt_tokens)


def _numbers(told: str | Sequence[float]) -> array[float]:
    if isinstance(told, str):
        numbers = array("f", b64decode(told, validate=True))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers
    return array("f", told)
