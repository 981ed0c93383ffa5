"""The frame codec: pure, so everything about it can be tried."""

from __future__ import annotations

import contextlib
import itertools
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen.protocol.errors import PeerError
from rowen.protocol.framing import (
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    Frame,
    FrameDecoder,
    Kind,
    encode_control,
    encode_frames,
)

bodies = st.lists(st.binary(max_size=300), max_size=12)
frames = st.lists(
    st.one_of(
        st.binary(max_size=300).map(lambda body: Frame(Kind.DATA, body)),
        st.sampled_from([Frame(Kind.HEARTBEAT, b""), Frame(Kind.END, b"")]),
    ),
    max_size=12,
)


def encode(frame: Frame) -> bytes:
    if frame.kind == Kind.DATA:
        return encode_frames([frame.body])
    return encode_control(Kind(frame.kind))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(frames, st.lists(st.integers(min_value=0)))
def test_any_cutting_of_the_stream_gives_the_same_frames(
    sent: list[Frame], places: list[int]
) -> None:
    """TCP keeps order and nothing else."""
    decoder = FrameDecoder()
    got: list[Frame] = []
    for piece in cut(b"".join(map(encode, sent)), places):
        got += decoder.feed(piece)
    assert got == sent
    assert decoder.pending_bytes == 0


@given(bodies)
def test_byte_by_byte_gives_the_same_frames(sent: list[bytes]) -> None:
    decoder = FrameDecoder()
    got = [frame.body for byte in encode_frames(sent) for frame in decoder.feed(bytes([byte]))]
    assert got == sent


@given(bodies)
def test_several_bodies_in_one_write_are_several_frames(sent: list[bytes]) -> None:
    assert encode_frames(sent) == b"".join(encode_frames([body]) for body in sent)


def test_the_bytes_are_as_documented() -> None:
    """Length counts the kind byte; big-endian."""
    assert encode_frames([b"ab"]) == bytes.fromhex("00000003006162")
    assert encode_frames([b""]) == bytes.fromhex("0000000100")
    assert encode_control(Kind.HEARTBEAT) == bytes.fromhex("0000000101")
    assert encode_control(Kind.END) == bytes.fromhex("0000000102")


@given(st.integers(min_value=FRAME_BYTES_MAX + 1, max_value=2**32 - 1), st.binary(max_size=9))
def test_an_oversize_length_is_rejected_before_anything_is_allocated(
    length: int, rest: bytes
) -> None:
    """The four length bytes alone decide; nothing of the frame need have come."""
    with pytest.raises(PeerError, match=str(length)):
        FrameDecoder().feed(struct.pack("!I", length) + rest)


@given(st.integers(min_value=20, max_value=63), st.sampled_from("<>"))
def test_a_length_in_eight_bytes_reserves_nothing(exponent: int, order: str) -> None:
    """However a prefix is read, memory grows only with bytes that came, up to 2^63 and back."""
    data = struct.pack(f"{order}Q", 1 << exponent) * 2
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        with contextlib.suppress(PeerError):
            decoder.feed(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()
    assert decoder.pending_bytes <= len(data)


def test_a_length_is_judged_when_its_last_byte_comes() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"\xff\xff\xff") == []
    with pytest.raises(PeerError):
        decoder.feed(b"\xff")


def test_the_largest_frame_passes_and_one_more_byte_does_not() -> None:
    body = bytes(BODY_BYTES_MAX)
    assert FrameDecoder().feed(encode_frames([body])) == [Frame(Kind.DATA, body)]
    with pytest.raises(ValueError, match=str(BODY_BYTES_MAX)):
        encode_frames([body + b"x"])


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        struct.pack("!IB", 1, 3),
        struct.pack("!IB", 1, 255),
        struct.pack("!IB", 2, Kind.HEARTBEAT) + b"x",
        struct.pack("!IB", 2, Kind.END) + b"x",
    ],
    ids=["empty", "kind 3", "kind 255", "heartbeat with a body", "end with a body"],
)
def test_a_malformed_frame_is_the_peers_fault(data: bytes) -> None:
    with pytest.raises(PeerError):
        FrameDecoder().feed(data)


@given(st.lists(st.binary(max_size=40)))
def test_garbage_never_raises_anything_else(pieces: list[bytes]) -> None:
    decoder = FrameDecoder(limit=64)
    try:
        for piece in pieces:
            decoder.feed(piece)
            assert decoder.pending_bytes <= 64 + 4
    except PeerError:
        pass
