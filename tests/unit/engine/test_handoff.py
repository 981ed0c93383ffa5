"""From an engine's thread to trio, without a channel."""

from __future__ import annotations

import threading

import pytest
import trio

from rowen.engine.base import Finished, Piece
from rowen.engine.handoff import Handoff
from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import Finish

END = Finished(Finish.STOP, 1, 0, 1)
PATIENCE_S = 30


def nothing() -> None:
    return None


async def test_a_reader_gets_all_items_of_a_busy_writer_in_order() -> None:
    """No wake-up is lost, however the thread and the reader interleave."""
    handoff = Handoff()
    over = trio.Event()

    def write() -> None:
        for number in range(5_000):
            handoff.put((Piece(str(number), 1),))
        handoff.put((END,))
        handoff.end(over.set)

    with trio.fail_after(PATIENCE_S):
        threading.Thread(target=write).start()
        items = [item async for item in handoff]
        await over.wait()
    pieces = [item for item in items if isinstance(item, Piece)]
    assert items == [*pieces, END]
    assert "".join(piece.text for piece in pieces) == "".join(map(str, range(5_000)))
    assert sum(piece.units for piece in pieces) == 5_000


async def test_what_waits_is_read_at_once_up_to_a_limit() -> None:
    """A reader that lags catches up in few, larger steps."""
    handoff = Handoff()
    handoff.put(tuple(Piece("x" * 1024, 1) for _ in range(20)))
    handoff.put((END,))
    assert [getattr(item, "units", None) async for item in handoff] == [8, 8, 4, None]


async def test_a_sleeping_reader_is_woken_by_a_single_item() -> None:
    handoff = Handoff()
    heard: list[object] = []

    async def read() -> None:
        heard.append(await anext(handoff))

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(handoff.put, (Piece("late", 1),))
    assert heard == [Piece("late", 1)]


async def test_a_cancelled_reader_loses_nothing() -> None:
    handoff = Handoff()
    with trio.move_on_after(0):
        await anext(handoff)
    handoff.put((Piece("kept", 1),))
    with trio.move_on_after(0):
        await anext(handoff)
    assert await anext(handoff) == Piece("kept", 1)


async def test_a_failure_comes_after_the_pieces_before_it() -> None:
    handoff = Handoff()
    handoff.put((Piece("said", 1),))
    handoff.fail(Unavailable("gone"))
    handoff.end(nothing)
    assert await anext(handoff) == Piece("said", 1)
    with pytest.raises(Unavailable, match="gone"):
        await anext(handoff)
    with pytest.raises(StopAsyncIteration):
        await anext(handoff)


async def test_an_end_without_a_reason_is_a_failure() -> None:
    """Silence must not look like a complete answer: it would be billed as one."""
    handoff = Handoff()
    handoff.end(nothing)
    with pytest.raises(Unavailable, match="without saying why"):
        await anext(handoff)


def test_a_writer_that_outlives_trio_is_no_error() -> None:
    async def make() -> Handoff:
        handoff = Handoff()
        handoff.end(nothing)
        return handoff

    trio.run(make).end(nothing)
