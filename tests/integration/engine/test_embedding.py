"""Vectors of texts: what every engine that makes them must do."""

from __future__ import annotations

import math
import operator
from array import array
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.integration.engine.recordings import RECORDINGS
from tests.integration.engine.replay import Replay, replay
from tests.integration.engine.servers import llama_spec

from rowen.engine.base import Engine, Finished, Piece
from rowen.engine.llama import open_llama
from rowen.engine.models import SMOLLM2
from rowen.engine.openai_http import HttpEngine
from rowen.engine.opening import HttpSpec, open_http
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import ChatInput, EmbeddingsInput, Finish, Kind, Message
from rowen.protocol.vectors import Vector, read_vector
from rowen.testing.engine import SCRIPTED, VECTOR_NUMBERS, ScriptedEngine

Open = Callable[[], AbstractAsyncContextManager[Engine]]
PATIENCE_S = 60
CONTEXT_UNITS = 64
# The first two say the same; so a vector of one is nearer to the other than to the third.
TEXTS = ("The cat sat on the mat.", "A cat was sitting on a mat.", "Interest rates rose by 2 %.")


@pytest.fixture(params=["scripted", "llama", "http"])
def open_engine(request: pytest.FixtureRequest) -> Open:
    """Opens a fresh engine that makes vectors of texts of up to 64 tokens."""
    if request.param == "scripted":

        @asynccontextmanager
        async def scripted() -> AsyncIterator[Engine]:
            yield ScriptedEngine(
                info=replace(
                    SCRIPTED,
                    kinds=(Kind.EMBEDDINGS,),
                    context_units=CONTEXT_UNITS,
                    item_units_max=VECTOR_NUMBERS,
                )
            )

        return scripted
    model_file: Path = request.getfixturevalue("model_file")
    if request.param == "http":
        log_file = request.getfixturevalue("tmp_path") / "llama.log"
        spec = llama_spec(model_file, log_file, context_units=CONTEXT_UNITS, embeds=True)
        return lambda: open_http(spec)
    return lambda: open_llama(
        model_file,
        model=SMOLLM2.model,
        precision=SMOLLM2.precision,
        weights_digest=SMOLLM2.weights_digest,
        concurrency=1,
        context_units=CONTEXT_UNITS,
        embeds=True,
    )


async def run(
    engine: Engine, job: EmbeddingsInput, output_units_max: int = 10_000
) -> tuple[list[Piece], Finished]:
    """Runs a job and checks what holds of every one."""
    with trio.fail_after(PATIENCE_S):
        async with engine.generate(job, output_units_max) as items:
            *told, end = [item async for item in items]
    assert isinstance(end, Finished)
    pieces = [piece for piece in told if isinstance(piece, Piece)]
    assert len(pieces) == len(told)
    for piece in pieces:
        assert piece.units == len(read_vector(piece.text.removesuffix("\n")))
        assert piece.input_units > 0
    assert end.output_units == sum(piece.units for piece in pieces) <= output_units_max
    assert end.input_units == sum(piece.input_units for piece in pieces)
    return pieces, end


async def count(engine: Engine, job: EmbeddingsInput) -> int:
    return await engine.count_input(job)


def vectors_of(pieces: list[Piece]) -> list[Vector]:
    return [read_vector(piece.text[:-1]) for piece in pieces]


def dot(left: Vector, right: Vector) -> float:
    return math.fsum(map(operator.mul, left, right))


def cosine(left: Vector, right: Vector) -> float:
    return dot(left, right) / math.sqrt(dot(left, left) * dot(right, right))


async def test_each_text_gets_a_vector_and_a_count_of_its_own(open_engine: Open) -> None:
    """In order, and the same whatever stands beside it."""
    async with open_engine() as engine:
        assert engine.info.kinds == (Kind.EMBEDDINGS,)
        job = EmbeddingsInput(TEXTS)
        assert await engine.count_input(job) >= 1
        pieces, end = await run(engine, job)
        assert end.finish is Finish.STOP
        assert {piece.units for piece in pieces} == {engine.info.item_units_max}
        assert len({piece.text for piece in pieces}) == len(TEXTS)
        for text, piece in zip(TEXTS, pieces, strict=True):
            alone, _ = await run(engine, EmbeddingsInput((text,)))
            assert alone == [piece]


async def test_texts_that_say_the_same_are_near_each_other(
    model_file: Path, tmp_path: Path
) -> None:
    """The embedded engine and the server agree, and make more of a text than a hash."""
    told = []
    engines: list[AbstractAsyncContextManager[Engine]] = [
        open_llama(
            model_file,
            model="m",
            precision="p",
            weights_digest=SMOLLM2.weights_digest,
            context_units=CONTEXT_UNITS,
            embeds=True,
        ),
        open_http(llama_spec(model_file, tmp_path / "log", context_units=64, embeds=True)),
    ]
    for opened in engines:
        async with opened as engine:
            pieces, _ = await run(engine, EmbeddingsInput(TEXTS))
            cat, sitting, rates = vectors_of(pieces)
            assert cosine(cat, sitting) > cosine(cat, rates)
            told.append(vectors_of(pieces))
    for mine, theirs in zip(*told, strict=True):
        assert cosine(mine, theirs) == pytest.approx(1, abs=1e-3)


async def test_what_does_not_fit_is_not_begun(open_engine: Open) -> None:
    """An item comes whole or not at all; the job ends before the one that is too much."""
    async with open_engine() as engine:
        (first, *_), _ = await run(engine, EmbeddingsInput(TEXTS))
        pieces, end = await run(engine, EmbeddingsInput(TEXTS), first.units * 2 + 1)
        assert (len(pieces), end.finish) == (2, Finish.LENGTH)
        none, end = await run(engine, EmbeddingsInput(TEXTS), first.units - 1)
        assert (none, end.finish, end.input_units) == ([], Finish.LENGTH, 0)


async def test_a_text_that_is_too_long_is_said_so(open_engine: Open) -> None:
    async with open_engine() as engine:
        job = EmbeddingsInput(("short", "word " * 600))
        # By the count, where the engine has one beforehand; else by the answer.
        ask = run if isinstance(engine, ScriptedEngine) else count
        with pytest.raises(UserError):
            await ask(engine, job)


async def test_an_engine_for_vectors_is_not_asked_to_chat(open_engine: Open) -> None:
    async with open_engine() as engine:
        with pytest.raises(UserError, match="not asked for chat"):
            await engine.count_input(ChatInput((Message("user", "hi"),)))


async def test_memory_is_given_back_and_vectors_are_the_same_again(open_engine: Open) -> None:
    async with open_engine() as engine:
        job = EmbeddingsInput(TEXTS[:1])
        before, _ = await run(engine, job)
        assert await engine.release() or await engine.stop()
        with pytest.raises(Unavailable):
            await run(engine, job)
        await engine.wake()
        assert await run(engine, job) == (
            before,
            Finished(Finish.STOP, before[0].input_units, 0, before[0].units),
        )


# --- other servers, as they answer

VLLM = RECORDINGS["vllm"]


@asynccontextmanager
async def vectors(answer: Any, **answers: Any) -> AsyncIterator[tuple[HttpEngine, Replay]]:
    """A vLLM that serves a model for vectors: it has no completions and no chat."""
    played = {**VLLM.answers, "POST /v1/embeddings": answer, **answers}
    async with replay(played, ['{"error":{"message":"no chat here"}}'], []) as server:
        server.chat_status = 400
        with trio.fail_after(PATIENCE_S):
            async with open_http(
                HttpSpec(name="engine", kind="vllm", url=server.url, start_s=5)
            ) as engine:
                yield engine, server


def embedding(vector: object, **usage: Any) -> tuple[int, Any]:
    told = {"object": "embedding", "index": 0, "embedding": vector}
    used = {"prompt_tokens": 5, "total_tokens": 5} | usage
    return 200, {"object": "list", "data": [told], "model": "m", "usage": used}


ENCODED = b64encode(array("f", [0.5, -2.0]).tobytes()).decode()


@pytest.mark.parametrize(
    "vector", [ENCODED, [0.5, -2.0], [0.5, -2]], ids=["base64", "float", "int"]
)
async def test_vectors_are_read_as_base64_and_as_numbers(vector: object) -> None:
    """The dialects differ in whether they heed what was asked for."""
    async with vectors(embedding(vector)) as (engine, server):
        assert engine.info.kinds == (Kind.EMBEDDINGS,)
        pieces, end = await run(engine, EmbeddingsInput(("a", "b")))
        assert [list(found) for found in vectors_of(pieces)] == [[0.5, -2.0]] * 2
        assert (end.input_units, end.output_units) == (10, 4)
        asked = server.bodies("/v1/embeddings")[-2:]
        assert [body["input"] for body in asked] == [["a"], ["b"]]
        assert {body["encoding_format"] for body in asked} == {"base64"}


@pytest.mark.parametrize(
    "answer",
    [
        embedding([]),
        embedding("AAAA"),
        embedding("not base64"),
        embedding(["a"]),
        embedding([1e39]),
        embedding(b64encode(array("f", [math.inf]).tobytes()).decode()),
        embedding([0.5], prompt_tokens=0),
        (200, {"data": [], "usage": {"prompt_tokens": 1}}),
        (200, "hello"),
        (500, {"error": {"message": "CUDA out of memory"}}),
    ],
    ids=range(10),
)
async def test_an_engine_whose_vector_is_none_is_not_billed_by(answer: Any) -> None:
    async with vectors(embedding([0.5])) as (engine, server):
        server.answers["POST /v1/embeddings"] = answer
        with pytest.raises(Unavailable):
            await run(engine, EmbeddingsInput(("a",)))


async def test_what_writes_text_is_sold_for_that_unless_its_owner_says_otherwise() -> None:
    """Many engines make vectors of any model; one product has one unit."""
    recording = replace(VLLM, answers={**VLLM.answers, "POST /v1/embeddings": embedding([0.5])})
    async with replay(recording.answers, recording.chat, recording.completion) as server:
        spec = HttpSpec(name="engine", kind="vllm", url=server.url, start_s=5)
        for wanted, kinds in [
            ((), (Kind.CHAT, Kind.COMPLETION)),
            ((Kind.COMPLETION,), (Kind.COMPLETION,)),
            ((Kind.EMBEDDINGS,), (Kind.EMBEDDINGS,)),
        ]:
            async with open_http(replace(spec, kinds=wanted)) as engine:
                assert engine.info.kinds == kinds
        del server.answers["POST /v1/embeddings"]
        with pytest.RaisesGroup(UserError, flatten_subgroups=True):
            async with open_http(replace(spec, kinds=(Kind.EMBEDDINGS,))):
                pass
