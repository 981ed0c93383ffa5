"""Events out of bytes, however these are cut."""

from __future__ import annotations

import pytest

from rowen.engine.sse import EVENT_BYTES_MAX, EventReader
from rowen.protocol.errors import Unavailable

STREAM = (
    b': ping\r\n\r\ndata: {"a":1}\n\nevent: x\ndata:two\ndata: lines\n\nid: 3\n\ndata: [DONE]\n\n'
)


def test_events_are_the_same_wherever_the_bytes_are_cut() -> None:
    for cut in range(1, len(STREAM)):
        reader = EventReader()
        found = reader.feed(STREAM[:cut]) + reader.feed(STREAM[cut:])
        assert found == [b'{"a":1}', b"two\nlines", b"[DONE]"]


def test_an_event_without_end_does_not_fill_the_memory() -> None:
    reader = EventReader()
    assert reader.feed(b"x" * EVENT_BYTES_MAX) == []
    with pytest.raises(Unavailable, match="more than"):
        reader.feed(b"x")
