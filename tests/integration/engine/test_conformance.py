"""What every engine must do; the fake in ``rowen.testing`` and llama.cpp pass the same tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from tests.integration.engine.servers import llama_spec

from rowen.engine.base import Engine, Finished, Piece
from rowen.engine.llama import open_llama
from rowen.engine.models import SMOLLM2
from rowen.engine.opening import open_http
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import ChatInput, CompletionInput, Finish, JobInput, Kind, Message
from rowen.testing.engine import SCRIPTED, ScriptedEngine

Open = Callable[..., AbstractAsyncContextManager[Engine]]

# Bound on what may hang, not a measurement: a shared machine may be a hundred times slower.
PATIENCE_S = 60


@pytest.fixture(params=["scripted", "llama", "http"])
def open_engine(request: pytest.FixtureRequest) -> Open:
    """Opens a fresh engine that takes two jobs at a time, of 512 tokens each unless told else."""
    if request.param == "scripted":

        @asynccontextmanager
        async def scripted(context_units: int = 512) -> AsyncIterator[Engine]:
            yield ScriptedEngine(delay_s=0.001, info=replace(SCRIPTED, context_units=context_units))

        return scripted
    model_file: Path = request.getfixturevalue("model_file")
    if request.param == "http":
        log_file = request.getfixturevalue("tmp_path") / "llama.log"

        def http(context_units: int = 512) -> AbstractAsyncContextManager[Engine]:
            return open_http(llama_spec(model_file, log_file, context_units=context_units))

        return http

    def llama(context_units: int = 512) -> AbstractAsyncContextManager[Engine]:
        return open_llama(
            model_file,
            model=SMOLLM2.model,
            precision=SMOLLM2.precision,
            weights_digest=SMOLLM2.weights_digest,
            context_units=context_units,
        )

    return llama


def chat(
    content: str = "Name three fruits.",
    *,
    begun: str | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    stop: tuple[str, ...] = (),
) -> ChatInput:
    """One question, and the beginning of its answer if there is one."""
    messages = [Message(role="user", content=content)]
    if begun is not None:
        messages.append(Message(role="assistant", content=begun))
    return ChatInput(messages=tuple(messages), temperature=temperature, seed=seed, stop=stop)


async def run(
    engine: Engine, job: JobInput, output_units_max: int = 24
) -> tuple[list[Piece], Finished]:
    """Runs a job to its end and checks what holds of every job."""
    with trio.fail_after(PATIENCE_S):
        async with engine.generate(job, output_units_max) as items:
            *pieces, end = [item async for item in items]
    assert isinstance(end, Finished)
    said = [piece for piece in pieces if isinstance(piece, Piece)]
    assert len(said) == len(pieces), "Finished comes once, at the end"
    assert all(piece.text or piece.units for piece in said)
    assert sum(piece.units for piece in said) == end.output_units <= output_units_max
    assert 0 <= end.cached_units <= end.input_units
    return said, end


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


async def test_one_job_tells_the_same_in_every_way_it_is_asked(open_engine: Open) -> None:
    """Counts agree before and after; equal seeds give equal answers, whatever else runs."""
    async with open_engine() as engine:
        job = chat(temperature=0.8, seed=7)
        expected_units = await engine.count_input(job)
        pieces, end = await run(engine, job)
        assert end.input_units == expected_units
        assert text(pieces)

        answers: list[str] = []

        async def again(other: ChatInput) -> None:
            answers.append(text((await run(engine, other))[0]) if other == job else "")
            if other != job:
                await run(engine, other)

        # More at once than the engine has slots for.
        async with trio.open_nursery() as nursery:
            for other in (job, chat("Say hello."), job):
                nursery.start_soon(again, other)
        assert [answer for answer in answers if answer] == [text(pieces)] * 2

        others = {text((await run(engine, chat(temperature=0.8, seed=seed)))[0]) for seed in (8, 9)}
        assert others != {text(pieces)}, "the seed must matter"


async def test_an_answer_ends_for_the_reason_it_gives(open_engine: Open) -> None:
    """A full answer stops, a capped one has reached its length, a stop text is not part of it."""
    async with open_engine() as engine:
        whole, end = await run(engine, chat(), 400)
        assert end.finish is Finish.STOP

        capped, end = await run(engine, chat(), 5)
        assert (end.finish, end.output_units) == (Finish.LENGTH, 5)
        assert text(whole).startswith(text(capped))

        # In the middle of a word, so that a token straddles the end.
        stop = text(whole)[9:12]
        stopped, end = await run(engine, chat(stop=("never said", stop)), 400)
        assert end.finish is Finish.STOP
        assert text(stopped) == text(whole)[: text(whole).index(stop)]


async def test_an_unfinished_answer_is_continued_where_it_was_cut(open_engine: Open) -> None:
    """A client resumes elsewhere from the text it has, and gets what it would have got."""
    async with open_engine() as engine:
        whole, end = await run(engine, chat(), 400)
        for cut in range(0, len(whole) - 1, 2):
            begun = text(whole[:cut])
            rest, rest_end = await run(engine, chat(begun=begun), 400)
            assert begun + text(rest) == text(whole), f"cut after {cut} pieces"
            assert rest_end.finish is end.finish
            # What was paid for as output is paid for as input now; nothing is counted twice.
            assert rest_end.input_units - end.input_units == cut
            assert rest_end.output_units == end.output_units - cut


async def test_a_text_is_gone_on_with_as_it_is(open_engine: Open) -> None:
    """No template is put around it, and more of it is gone on with in the same way."""
    async with open_engine() as engine:
        assert engine.info.kinds == (Kind.CHAT, Kind.COMPLETION)
        prompt = "Once upon a time"
        job = CompletionInput(prompt)
        bare_units = await engine.count_input(job)
        assert bare_units < await engine.count_input(chat(prompt))
        whole, end = await run(engine, job)
        assert end.input_units == bare_units
        for cut in range(0, len(whole) - 1, 5):
            begun = text(whole[:cut])
            rest, rest_end = await run(engine, CompletionInput(prompt + begun), 24 - cut)
            assert begun + text(rest) == text(whole), f"cut after {cut} pieces"
            assert rest_end.input_units - end.input_units == cut
        stop = text(whole)[9:12]
        stopped, end = await run(engine, CompletionInput(prompt, stop=(stop,)))
        assert end.finish is Finish.STOP
        assert text(stopped) == text(whole)[: text(whole).index(stop)]


async def test_leaving_a_job_early_frees_its_slot(open_engine: Open) -> None:
    """As many abandoned jobs as there are slots do not keep the next one waiting."""
    async with open_engine() as engine:
        for _ in range(engine.info.concurrency + 1):
            with trio.fail_after(PATIENCE_S):
                async with engine.generate(chat("Tell a long story."), 400) as items:
                    assert isinstance(await anext(items), Piece)
        # By cancellation, while a reader waits.
        for _ in range(engine.info.concurrency + 1):
            with trio.move_on_after(0.05):
                async with engine.generate(chat("Tell a long story."), 400) as items:
                    async for _item in items:
                        pass
        _, end = await run(engine, chat())
        assert end.output_units


async def test_the_callers_own_errors_pass_through(open_engine: Open) -> None:
    """An error in the block arrives as it is, not wrapped in a group, and the slot is free."""
    async with open_engine() as engine:
        with pytest.raises(ZeroDivisionError):
            async with engine.generate(chat(), 24):
                raise ZeroDivisionError
        await run(engine, chat(), 3)


async def test_a_slow_reader_gets_everything(open_engine: Open) -> None:
    """Pieces wait for a reader that sleeps longer than the whole answer takes."""
    async with open_engine() as engine:
        pieces, _ = await run(engine, chat())
        async with engine.generate(chat(), 24) as items:
            first = await anext(items)
            await trio.sleep(0.5)
            late = [first, *[item async for item in items]]
        assert text([item for item in late if isinstance(item, Piece)]) == text(pieces)
        assert isinstance(late[-1], Finished)


async def test_input_that_cannot_be_served_says_why(open_engine: Open) -> None:
    """A person can act on each of these."""
    async with open_engine() as engine:
        too_long = chat("word " * engine.info.context_units)
        assert await engine.count_input(too_long) > engine.info.context_units
        with pytest.raises(UserError, match="must fit in"):
            await run(engine, too_long)
        with pytest.raises(UserError, match="at least 1"):
            await run(engine, chat(), 0)
        alone = ChatInput(messages=(Message(role="assistant", content="I"),))
        with pytest.raises(UserError, match="cannot begin"):
            await engine.count_input(alone)
        with pytest.raises(UserError, match="cannot begin"):
            await run(engine, alone)


async def test_an_engine_gives_its_memory_back_and_comes_again(open_engine: Open) -> None:
    """Between release and wake it serves nobody; each may be asked twice."""
    async with open_engine() as engine:
        ready = [engine.is_ready]
        whole, _ = await run(engine, chat())
        for give_back in (engine.release, engine.stop):
            # Not every engine can sleep; one of ours can always be ended.
            assert await give_back() or await engine.stop()
            assert await give_back() or await engine.stop()
            ready.append(engine.is_ready)
            with pytest.raises(Unavailable):
                await engine.count_input(chat())
            with pytest.raises(Unavailable):
                await run(engine, chat())
            await engine.wake()
            await engine.wake()
            ready.append(engine.is_ready)
            again, _ = await run(engine, chat())
            assert text(again) == text(whole)
        assert ready == [True, False, True, False, True]


async def test_an_answer_never_outgrows_the_context(open_engine: Open) -> None:
    """The cap on output is lowered to the room that is left, and reaching it is no failure."""
    async with open_engine(context_units=64) as engine:
        job = chat("Tell a very long story about the sea.")
        room = engine.info.context_units - await engine.count_input(job)
        _, end = await run(engine, job, 400)
        if end.finish is Finish.LENGTH:
            assert end.output_units == room
        else:
            assert end.output_units < room
