"""Vectors as they travel: a line of hexadecimal, eight digits a number."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable

from rowen.protocol.errors import PeerError
from rowen.protocol.jobs import Kind
from rowen.protocol.units import ITEM_ENDS, NUMBER_DIGITS

_END = ITEM_ENDS[Kind.EMBEDDINGS]


def vector_text(numbers: Iterable[float]) -> str:
    """The line of a vector, its end included."""
    packed = array("f", numbers)
    if sys.byteorder == "little":
        packed.byteswap()
    return packed.tobytes().hex() + _END


def read_vector(line: str) -> array[float]:
    """The numbers of a line, without its end.

    Raises:
        PeerError: It is none, or holds what is no number.
    """
    if not line or len(line) % NUMBER_DIGITS:
        raise PeerError(f"a vector of {len(line)} digits")
    try:
        numbers = array("f", bytes.fromhex(line))
    except ValueError as error:
        raise PeerError("a vector that is not hexadecimal") from error
    if sys.byteorder == "little":
        numbers.byteswap()
    if not all(map(math.isfinite, numbers)):
        raise PeerError("a vector with an infinite number, or none")
    return numbers
