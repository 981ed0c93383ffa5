"""Vectors as they travel: a line of hexadecimal, eight digits a number."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from rowen.protocol.errors import PeerError
from rowen.protocol.jobs import Kind
from rowen.protocol.units import ITEM_ENDS, NUMBER_DIGITS

Vector = tuple[float, ...]
"""Numbers, each exactly a float32."""


def vector_text(numbers: Sequence[float]) -> str:
    """The line of a vector, its end included."""
    return struct.pack(f">{len(numbers)}f", *numbers).hex() + ITEM_ENDS[Kind.EMBEDDINGS]


def read_vector(line: str) -> Vector:
    """The numbers of a line, without its end.

    Raises:
        PeerError: It is none, or holds what is no number.
    """
    if not line or len(line) % NUMBER_DIGITS:
        raise PeerError(f"a vector of {len(line)} digits")
    try:
        raw = bytes.fromhex(line)
        numbers: Vector = struct.unpack(f">{len(line) // NUMBER_DIGITS}f", raw)
    except (ValueError, struct.error) as error:
        raise PeerError("a vector that is not hexadecimal") from error
    if not all(map(math.isfinite, numbers)):
        raise PeerError("a vector with an infinite number, or none")
    return numbers
