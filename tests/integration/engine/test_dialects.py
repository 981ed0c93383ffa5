"""Each engine's words, played back to the adapter: what is sent, read, counted and freed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from tests.integration.engine.recordings import RECORDINGS, Recording, delta, events, tail, usage
from tests.integration.engine.replay import Replay, replay

from rowen.engine.base import Finished, Piece
from rowen.engine.dialects import DIALECTS
from rowen.engine.openai_http import HttpEngine
from rowen.engine.opening import HttpSpec, open_http
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import ChatInput, CompletionInput, Finish, JobInput, Kind, Message

PATIENCE_S = 60
VLLM = RECORDINGS["vllm"]
OLLAMA = RECORDINGS["ollama"]


def chat(*, begun: str | None = None) -> ChatInput:
    messages = [Message("user", "Name a dessert.")]
    if begun is not None:
        messages.append(Message("assistant", begun))
    return ChatInput(messages=tuple(messages), temperature=0.5, top_p=0.9, seed=7, stop=("!",))


def spec_of(recording: Recording, url: str) -> HttpSpec:
    return HttpSpec(
        name="engine",
        kind=recording.kind,
        url=url,
        api_key="k",
        context_units=recording.context_units,
        start_s=5,
    )


@asynccontextmanager
async def attached(
    recording: Recording, **answers: Any
) -> AsyncIterator[tuple[HttpEngine, Replay]]:
    """The adapter before a played engine."""
    played = replay({**recording.answers, **answers}, recording.chat, recording.completion)
    async with played as server:
        with trio.fail_after(PATIENCE_S):
            async with open_http(spec_of(recording, server.url)) as engine:
                yield engine, server


async def run(engine: HttpEngine, job: JobInput, units: int = 20) -> tuple[str, int, Finished]:
    async with engine.generate(job, units, tenant=b"t") as items:
        *pieces, end = [item async for item in items]
    assert isinstance(end, Finished)
    said = [piece for piece in pieces if isinstance(piece, Piece)]
    assert len(said) == len(pieces)
    return "".join(p.text for p in said), sum(p.units for p in said), end


@pytest.fixture(params=sorted(RECORDINGS))
def recording(request: pytest.FixtureRequest) -> Recording:
    return RECORDINGS[request.param]


def test_every_dialect_is_played_here_or_run_for_real() -> None:
    """llama.cpp's server, also in plain OpenAI words, runs in ``test_managed``."""
    assert set(RECORDINGS) | {"llamacpp", "openai"} == set(DIALECTS)


async def test_what_it_serves_is_found(recording: Recording) -> None:
    async with attached(recording) as (engine, server):
        info = engine.info
        found = (info.model, info.precision, info.build, info.context_units)
        assert found == recording.expected
        assert engine.is_ready
        assert all(key == "Bearer k" for _, _, key in server.asked)


async def test_an_answer_is_read_and_counted_to_the_token(recording: Recording) -> None:
    """Whether the count is told with every chunk or at the end only."""
    async with attached(recording) as (engine, server):
        assert await engine.count_input(chat()) == 11
        text, units, end = await run(engine, chat())
        assert (text, units) == ("Plum tart", 4)
        assert end == Finished(Finish.STOP, 11, recording.cached_units, 4)
        sent = server.bodies("/v1/chat/completions")[-1]
        assert sent["stream"] is True
        assert sent["stream_options"]["include_usage"] is True
        assert (sent["max_tokens"], sent["temperature"], sent["top_p"]) == (20, 0.5, 0.9)
        assert (sent["seed"], sent["stop"]) == (7, ["!"])


async def test_a_text_is_gone_on_with_where_the_engine_does_that(recording: Recording) -> None:
    """As it is: no template, no turns. Ollama would put its template around it."""
    job = CompletionInput("Name a", temperature=0.5, top_p=0.9, seed=7, stop=("!",))
    async with attached(recording) as (engine, server):
        if recording.kind == "ollama":
            assert engine.info.kinds == (Kind.CHAT,)
            assert not server.bodies("/v1/completions")
            with pytest.raises(UserError, match="not asked for completion"):
                await engine.count_input(job)
            return
        assert engine.info.kinds == (Kind.CHAT, Kind.COMPLETION)
        assert await engine.count_input(job) == 11
        for counted in server.bodies("/tokenize"):
            assert counted["prompt"] == "Name a"
        text, units, end = await run(engine, job)
        assert (text, units) == ("Plum tart", 4)
        assert end == Finished(Finish.STOP, 11, recording.cached_units, 4)
        sent = server.bodies("/v1/completions")[-1]
        assert (sent["prompt"], "messages" in sent) == ("Name a", False)
        assert (sent["max_tokens"], sent["temperature"], sent["top_p"]) == (20, 0.5, 0.9)
        assert (sent["seed"], sent["stop"], len(sent["cache_salt"])) == (7, ["!"], 64)
        assert "continue_final_message" not in sent


async def test_an_engine_without_completions_does_not_offer_them() -> None:
    async with attached(replace(VLLM, completion=[])) as (engine, server):
        assert engine.info.kinds == (Kind.CHAT,)
        server.answers["POST /v1/completions"] = (501, {"error": {"message": "not here"}})
        with pytest.raises(UserError, match="not asked for completion"):
            async with engine.generate(CompletionInput("Name a"), 5):
                pass


async def test_clients_do_not_share_a_prefix_cache_where_the_engine_can_part_them(
    recording: Recording,
) -> None:
    """Threat 60: a salt for each, which nobody else can know."""
    async with attached(recording) as (engine, server):
        for tenant in (b"a", b"b", b"a"):
            async with engine.generate(chat(), 5, tenant=tenant) as items:
                assert [item async for item in items]
        salts = [body.get("cache_salt") for body in server.bodies("/v1/chat/completions")]
    if DIALECTS[recording.kind].salt:
        assert salts[0] == salts[2] != salts[1]
        assert all(len(salt) == 64 for salt in salts)
    else:
        # Said in docs/threats.md: Ollama has no such field.
        assert recording.kind == "ollama"


async def test_an_answer_begun_elsewhere_is_continued(recording: Recording) -> None:
    async with attached(recording) as (engine, server):
        await run(engine, chat(begun="Pl"))
        sent = server.bodies("/v1/chat/completions")[-1]
        assert sent["messages"][-1] == {"role": "assistant", "content": "Pl"}
        if recording.kind != "ollama":
            assert sent["continue_final_message"] is True


async def test_leaving_closes_the_connection(recording: Recording) -> None:
    """That is how these engines are told to stop."""
    async with attached(recording) as (engine, server):
        server.hangs = True
        server.chat = server.chat[:2]
        async with engine.generate(chat(), 5) as items:
            assert isinstance(await anext(items), Piece)
        await server.left.wait()


@pytest.mark.parametrize("kind", ["vllm", "sglang", "ollama"])
async def test_memory_is_given_back_and_taken_again(kind: str) -> None:
    async with attached(RECORDINGS[kind]) as (engine, server):
        before = len(server.asked)
        ready = [engine.is_ready]
        assert await engine.release()
        ready.append(engine.is_ready)
        with pytest.raises(Unavailable):
            await engine.count_input(chat())
        if kind == "ollama":
            server.answers["POST /api/generate"] = (200, {"done": True, "done_reason": "load"})
        await engine.wake()
        assert [*ready, engine.is_ready] == [True, False, True]
        asked = [(name, body) for name, body, _ in server.asked[before:]]
    assert asked[: len(SLEEPS[kind])] == SLEEPS[kind]


SLEEPS: dict[str, list[tuple[str, Any]]] = {
    "vllm": [("POST /sleep?level=1", {}), ("GET /is_sleeping", None), ("POST /wake_up", {})],
    "sglang": [("POST /release_memory_occupation", {}), ("POST /resume_memory_occupation", {})],
    "ollama": [
        ("POST /api/generate", {"model": "llama3.2:latest", "keep_alive": 0, "stream": False}),
        ("POST /api/generate", {"model": "llama3.2:latest", "stream": False}),
    ],
}


async def test_an_engine_started_without_sleep_says_so() -> None:
    """VLLM answers 404 unless it was started for it: the memory is not free."""
    async with attached(VLLM) as (engine, server):
        del server.answers["POST /sleep?level=1"]
        assert not await engine.release()
        assert engine.is_ready
        server.answers["POST /sleep?level=1"] = (200, "")
        server.answers["GET /is_sleeping"] = (200, {"is_sleeping": False})
        assert not await engine.release()


async def test_what_was_thought_is_part_of_the_answer() -> None:
    """It was computed, counted and is paid for; so the client gets to see it."""
    thinking = events(
        delta(role="assistant", content=""),
        delta(reasoning_content="Hm, "),
        delta(reasoning="plums?"),
        delta(content="Plums", finish_reason="stop"),
        tail(usage(11, 3)),
    )
    async with attached(replace(OLLAMA, chat=thinking)) as (engine, _):
        text, units, _ = await run(engine, chat())
    assert (text, units) == ("<think>Hm, plums?</think>Plums", 3)


@pytest.mark.parametrize(
    ("chunks", "told"),
    [
        ([delta(content="a"), delta(content="b"), tail(usage(1, 1))], "reports 1 tokens after 2"),
        ([delta(content="a", finish_reason="stop")], "without its usage"),
        ([delta(content="a"), tail(usage(1, 1))], "without a reason"),
        ([delta(content="a", finish_reason="tool_calls"), tail(usage(1, 1))], "unknown reason"),
        ([delta(content="a"), {"error": {"message": "CUDA out of memory"}}], "out of memory"),
        ([delta(content="a"), tail(usage(1, 21))], "21 tokens, 20 were asked for"),
    ],
)
async def test_an_engine_that_contradicts_itself_is_not_billed_by(
    chunks: list[dict[str, Any]], told: str
) -> None:
    """What it said before is delivered; then the job fails, and its last part is free."""
    async with (
        attached(replace(OLLAMA, chat=events(*chunks))) as (engine, _),
        engine.generate(chat(), 20) as items,
    ):
        with pytest.raises(Unavailable, match=told):
            _ = [item async for item in items]


async def test_a_stream_that_breaks_off_is_no_answer() -> None:
    cut_short = replace(OLLAMA, chat=OLLAMA.chat[:1])
    async with attached(cut_short) as (engine, _), engine.generate(chat(), 20) as items:
        assert await anext(items) == Piece("Plum", 1)
        with pytest.raises(Unavailable, match="without saying why"):
            await anext(items)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, UserError), (422, UserError), (500, Unavailable), (503, Unavailable)],
)
async def test_a_refusal_says_who_must_act(status: int, error: type[Exception]) -> None:
    async with attached(OLLAMA) as (engine, server):
        server.chat, server.chat_status = ['{"error":{"message":"no such luck"}}'], status
        with pytest.raises(error, match="no such luck"):
            async with engine.generate(chat(), 20):
                pass


async def test_an_engine_that_falls_silent_is_not_ready_until_it_is_back() -> None:
    async with attached(VLLM) as (engine, server):
        server.answers["GET /health"] = (503, "loading")
        await engine.check()
        assert not engine.is_ready
        server.answers["GET /health"] = (200, "")
        await engine.check()
        assert engine.is_ready


async def test_pieces_that_arrive_together_are_read_at_once() -> None:
    """A reader that lags catches up in one step."""
    joined = replace(VLLM, chat=["".join(VLLM.chat)])
    async with attached(joined) as (engine, _), engine.generate(chat(), 20) as items:
        assert await anext(items) == Piece("Plum tart", 4)
        assert isinstance(await anext(items), Finished)
