"""What only the fakes can do."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rowen.engine.base import Finished, Piece
from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import ChatInput, Finish, Message
from rowen.testing.engine import ScriptedEngine, seeded_answer
from rowen.testing.null_engine import NullEngine


def job(begun: str | None = None, stop: tuple[str, ...] = ()) -> ChatInput:
    messages = [Message(role="user", content="Say it.")]
    if begun is not None:
        messages.append(Message(role="assistant", content=begun))
    return ChatInput(messages=tuple(messages), stop=stop)


async def items_of(
    engine: ScriptedEngine | NullEngine, what: ChatInput, units: int = 99
) -> list[Piece | Finished]:
    async with engine.generate(what, units) as items:
        return [item async for item in items]


async def test_the_script_is_cut_into_pieces_of_the_size_asked() -> None:
    engine = ScriptedEngine("one two  three\n", piece_units=2)
    assert await items_of(engine, job()) == [
        Piece("one two", 2),
        Piece("  three\n", 2),
        Piece("", 1),
        Finished(Finish.STOP, 10, 0, 5),
    ]


async def test_a_stop_text_costs_the_tokens_it_took_to_recognise_it() -> None:
    engine = ScriptedEngine("one two three four")
    assert await items_of(engine, job(stop=("o th", "never"))) == [
        Piece("one", 1),
        Piece(" tw", 1),
        Piece("", 1),
        Finished(Finish.STOP, 10, 0, 3),
    ]


async def test_a_capped_answer_has_no_end_of_turn() -> None:
    engine = ScriptedEngine("one two three")
    assert await items_of(engine, job(), 3) == [
        Piece("one", 1),
        Piece(" two", 1),
        Piece(" three", 1),
        Finished(Finish.LENGTH, 10, 0, 3),
    ]


async def test_delays_pass_on_trios_clock(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine("one two", first_delay_s=100, delay_s=10)
    await items_of(engine, job())
    assert trio.current_time() - autojump_clock.current_time() == 0
    started = trio.current_time()
    await items_of(engine, job())
    assert trio.current_time() - started == 120


async def test_it_fails_where_it_is_told_to_and_works_again_after() -> None:
    engine = ScriptedEngine("one two")
    engine.fail_at = 1
    async with engine.generate(job(), 9) as items:
        assert await anext(items) == Piece("one", 1)
        with pytest.raises(Unavailable, match="piece 1"):
            await anext(items)
    engine.fail_at = None
    assert len(await items_of(engine, job())) == 4
    assert (engine.counters.failed, engine.counters.finished) == (1, 1)


async def test_it_hangs_until_it_is_cancelled(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine("one two")
    engine.hang_at = 1
    with trio.move_on_after(3600) as scope:
        await items_of(engine, job())
    assert scope.cancelled_caught
    assert (engine.counters.cancelled, engine.counters.running) == (1, 0)


async def test_jobs_beyond_its_concurrency_wait(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine("one two", first_delay_s=1)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(items_of, engine, job())
    assert engine.counters.running_max == engine.info.concurrency == 2
    assert engine.counters.started == engine.counters.finished == 5


def test_a_seeded_answer_is_the_same_wherever_it_is_continued() -> None:
    """Two providers with one script agree about the whole answer."""
    assert seeded_answer(job()) == seeded_answer(job(begun="a field"))


@pytest.mark.parametrize("rate_per_s", [None, 50.0])
async def test_a_null_engine_says_as_much_as_it_may(
    rate_per_s: float | None, autojump_clock: MockClock
) -> None:
    engine = NullEngine(200, rate_per_s=rate_per_s)
    started = trio.current_time()
    *pieces, end = await items_of(engine, job(), 1000)
    assert end == Finished(Finish.STOP, 10, 0, 200)
    assert "".join(piece.text for piece in pieces) == " word" * 200
    assert len(pieces) == (200 if rate_per_s else 1)
    assert trio.current_time() - started == pytest.approx(199 / rate_per_s if rate_per_s else 0)
    assert (await items_of(engine, job(), 7))[-1] == Finished(Finish.LENGTH, 10, 0, 7)
