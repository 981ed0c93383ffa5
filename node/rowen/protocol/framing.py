"""Frames on a byte stream: the outermost layer of the job protocol.

    length  4 bytes, big-endian: how many bytes follow, 1 to `FRAME_BYTES_MAX`
    kind    1 byte, see `Kind`
    body    length - 1 bytes

The codec is pure: bytes in, frames out. A length is judged as soon as its four bytes
are there and before anything is allocated for the frame, so a peer cannot make us
reserve memory it has not sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from rowen.protocol.errors import PeerError

FRAME_BYTES_MAX: Final = 1 << 20
"""Largest value of the length field: the kind byte and the body, 1 MiB."""

BODY_BYTES_MAX: Final = FRAME_BYTES_MAX - 1
"""Largest body that fits in one frame."""

_LENGTH: Final = Struct("!I")
_HEADER: Final = Struct("!IB")
_LENGTH_BYTES: Final = _LENGTH.size
_HEADER_BYTES: Final = _HEADER.size


class Kind(IntEnum):
    """What a frame is for."""

    DATA = 0
    """A message of the layer above."""
    HEARTBEAT = 1
    """Says only that the sender lives. No body, no answer."""
    END = 2
    """The sender will send nothing more. No body. A stream that stops without it was cut."""


DATA: Final = int(Kind.DATA)
HEARTBEAT: Final = int(Kind.HEARTBEAT)
END: Final = int(Kind.END)


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        kind: A `Kind`, kept a plain int because this is the hot path.
        body: The message; empty for HEARTBEAT and END.
    """

    kind: int
    body: bytes


def encode_frames(bodies: Iterable[bytes]) -> bytes:
    """Return DATA frames with `bodies`, back to back, ready for one write.

    Raises:
        ValueError: A body is longer than `BODY_BYTES_MAX`.
    """
    parts: list[bytes] = []
    for body in bodies:
        length = len(body) + 1
        if length > FRAME_BYTES_MAX:
            raise ValueError(f"frame body of {len(body)} bytes; the most is {BODY_BYTES_MAX}")
        parts.append(_HEADER.pack(length, DATA))
        parts.append(body)
    return b"".join(parts)


def encode_control(kind: Kind) -> bytes:
    """Return the whole HEARTBEAT or END frame."""
    if kind is Kind.DATA:
        raise ValueError("a DATA frame has a body: use encode_frames")
    return _HEADER.pack(1, kind)


class FrameDecoder:
    """Turns any fragmentation of a byte stream back into frames.

    Holds at most one incomplete frame. After an error the stream is out of step and the
    decoder must not be fed again.

    Args:
        limit: Largest acceptable length field.
    """

    __slots__ = ("_limit", "_pending")

    def __init__(self, limit: int = FRAME_BYTES_MAX) -> None:
        self._limit = limit
        self._pending = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes held of a frame that is not complete yet."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream and return the frames they complete, in order.

        Raises:
            PeerError: A length is 0 or over the limit, a kind is unknown, or a control
                frame has a body.
        """
        pending = self._pending
        source: bytes | bytearray = data
        if pending:
            pending += data
            source = pending

        frames: list[Frame] = []
        at = 0
        end = len(source)
        while end - at >= _LENGTH_BYTES:
            (length,) = _LENGTH.unpack_from(source, at)
            if not 0 < length <= self._limit:
                raise PeerError(f"frame length {length}; expected 1 to {self._limit}")
            stop = at + _LENGTH_BYTES + length
            if stop > end:
                break
            frames.append(
                _frame(source[at + _LENGTH_BYTES], bytes(source[at + _HEADER_BYTES : stop]))
            )
            at = stop

        if source is pending:
            del pending[:at]
        elif at < end:
            pending += data[at:]
        return frames


def _frame(kind: int, body: bytes) -> Frame:
    if kind != DATA:
        if kind > END:
            raise PeerError(f"frame kind {kind}; expected 0 to {END}")
        if body:
            raise PeerError(f"{Kind(kind).name} frame with {len(body)} bytes; expected none")
    return Frame(kind, body)
