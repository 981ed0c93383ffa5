"""Makes a coarser precision of a model: the same GGUF file with fewer bits in its weights."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path

# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_Q4_1 = 3
_ALIGNMENT = 32

# A block of Q4_1: scale and minimum, two bytes each, then 32 weights of four bits.
_BLOCK_WEIGHTS, _BLOCK_BYTES, _HEAD_BYTES = 32, 20, 4


class _Header:
    """Reads what stands before the weights, front to back."""

    def __init__(self, raw: bytes) -> None:
        self.at = 4
        self._raw = raw
        _version, self.tensors, self.keys = self.numbers("<IQQ")

    def numbers(self, shape: str) -> tuple[int, ...]:
        found = struct.unpack_from(shape, self._raw, self.at)
        self.at += struct.calcsize(shape)
        return found

    def text(self) -> bytes:
        (size,) = self.numbers("<Q")
        self.at += size
        return self._raw[self.at - size : self.at]

    def skip(self, kind: int) -> None:
        if kind == _STRING:
            self.text()
        elif kind == _ARRAY:
            inner, count = self.numbers("<IQ")
            for _ in range(count):
                self.skip(inner)
        else:
            self.at += _SIZES[kind]


def _weights(raw: bytes) -> Iterator[tuple[int, int]]:
    """Where the tensors in Q4_1 begin and end."""
    header = _Header(raw)
    for _ in range(header.keys):
        header.text()
        (kind,) = header.numbers("<I")
        header.skip(kind)
    found = []
    for _ in range(header.tensors):
        header.text()
        (dimensions,) = header.numbers("<I")
        shape = header.numbers(f"<{dimensions}Q")
        kind, offset = header.numbers("<IQ")
        if kind == _Q4_1:
            found.append((offset, prod(shape) // _BLOCK_WEIGHTS * _BLOCK_BYTES))
    start = -(-header.at // _ALIGNMENT) * _ALIGNMENT
    for offset, size in found:
        yield start + offset, start + offset + size


def coarsen(file: Path, to: Path) -> None:
    """Writes a copy whose weights have 8 values instead of 16; their mean stays as it was."""

    def nearest(weight: int) -> int:
        return weight // 4 * 4 + (0 if weight % 4 < 2 else 3)

    table = bytes(nearest(byte >> 4) << 4 | nearest(byte & 0xF) for byte in range(256))
    raw = bytearray(file.read_bytes())
    for begin, end in list(_weights(bytes(raw))):
        for place in range(begin + _HEAD_BYTES, begin + _BLOCK_BYTES):
            raw[place:end:_BLOCK_BYTES] = raw[place:end:_BLOCK_BYTES].translate(table)
    to.write_bytes(raw)
