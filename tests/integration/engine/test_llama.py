"""What only the embedded engine promises."""

from __future__ import annotations

import hashlib
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import psutil
import pytest
import trio

from rowen.engine.base import EngineInfo, Finished, Piece
from rowen.engine.llama import LlamaEngine, open_llama
from rowen.engine.llama_server import BATCH_UNITS
from rowen.engine.models import SMOLLM2
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import ChatInput, Kind, Message

PATIENCE_S = 60


def chat(content: str = "Name three fruits.") -> ChatInput:
    return ChatInput(messages=(Message(role="user", content=content),))


def open_small(
    model_file: Path, digest: bytes = SMOLLM2.weights_digest, concurrency: int = 1
) -> AbstractAsyncContextManager[LlamaEngine]:
    return open_llama(
        model_file,
        model=SMOLLM2.model,
        precision=SMOLLM2.precision,
        weights_digest=digest,
        concurrency=concurrency,
        context_units=512,
    )


def only_directory_in(parent: str) -> tuple[Path, int]:
    """The one directory in ``parent``, and its permissions."""
    (directory,) = Path(parent).iterdir()
    return directory, stat.S_IMODE(directory.stat().st_mode)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A place for all temporary directories; its name is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="t-") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield directory


async def test_nothing_but_this_process_can_reach_the_engine(
    model_file: Path, temporary: str
) -> None:
    """No port is open, the socket's directory is closed to others, and asking needs a key."""
    async with open_small(model_file):
        sockets = psutil.Process().net_connections("inet")
        assert [found for found in sockets if found.status == psutil.CONN_LISTEN] == []
        directory, permissions = only_directory_in(temporary)
        assert permissions == 0o700
        transport = httpx.AsyncHTTPTransport(uds=str(directory / "llama.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://engine") as stranger:
            for path in ("/tokenize", "/v1/chat/completions"):
                assert (await stranger.post(path, json={"content": "x"})).status_code == 401
    assert not await trio.Path(directory).exists()


@pytest.fixture
def caught() -> Iterator[list[int]]:
    """Signals that reach handlers installed before the engine is opened."""
    numbers: list[int] = []
    handled = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(one, lambda number, _: numbers.append(number)) for one in handled]
    yield numbers
    for one, handler in zip(handled, before, strict=True):
        signal.signal(one, handler)


async def test_ctrl_c_still_belongs_to_us(caught: list[int], model_file: Path) -> None:
    """Older versions of xllamacpp put C++ handlers in the place of Python's."""
    async with open_small(model_file):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert caught == [signal.SIGINT, signal.SIGTERM]


async def test_an_engine_that_is_closed_at_once_is_closed(model_file: Path) -> None:
    """The destructor of xllamacpp waits for ever for a loop that had not begun."""
    for _ in range(5):
        async with open_small(model_file):
            pass


async def test_the_offer_names_what_runs(model_file: Path) -> None:
    async with open_small(model_file) as engine:
        assert engine.info.build.startswith("llama.cpp 1")
        assert engine.info == EngineInfo(
            model="smollm2-135m-instruct",
            precision="q4_1",
            weights_digest=SMOLLM2.weights_digest,
            build=engine.info.build,
            context_units=512,
            concurrency=1,
            kinds=(Kind.CHAT, Kind.COMPLETION),
        )


async def test_leaving_during_prefill_does_not_wait_for_its_end(model_file: Path) -> None:
    """A long prompt is given up between two batches: the cache holds what was read by then."""
    async with open_small(model_file) as engine:
        job = chat("word " * 200)
        assert await engine.count_input(job) > 6 * BATCH_UNITS
        async with engine.generate(job, 1):
            pass
        async with engine.generate(job, 1) as items:
            *_, end = [item async for item in items]
        assert isinstance(end, Finished)
        assert end.cached_units <= 3 * BATCH_UNITS


async def test_a_prefix_used_before_is_counted_as_cached(model_file: Path) -> None:
    async with open_small(model_file) as engine:
        ends: list[Finished] = []
        for _ in range(2):
            async with engine.generate(chat(), 2) as items:
                *_, end = [item async for item in items]
            assert isinstance(end, Finished)
            ends.append(end)
        assert ends[0].cached_units == 0
        # The last token is read again, to predict from it.
        assert ends[1].cached_units == ends[1].input_units - 1


async def test_one_clients_input_never_speeds_up_anothers(model_file: Path) -> None:
    """Threat 60: whoever repeats another's prompt is told of no cache, however the slots fall."""
    async with open_small(model_file) as engine:

        async def cached(tenant: bytes) -> int:
            async with engine.generate(chat(), 2, tenant=tenant) as items:
                *_, end = [item async for item in items]
            assert isinstance(end, Finished)
            return end.cached_units

        assert [await cached(tenant) for tenant in (b"a", b"b", b"a", b"a")][:3] == [0, 0, 0]
        # Its own it may use.
        assert await cached(b"a") > 0


async def test_released_weights_leave_memory_and_come_back(model_file: Path) -> None:
    """The file is mapped while the model is loaded, so its mapping tells."""

    def is_mapped() -> bool:
        return any(found.path == str(model_file) for found in psutil.Process().memory_maps())

    async with open_small(model_file) as engine:
        async with engine.generate(chat(), 8) as items:
            before = [item async for item in items]
        assert is_mapped()
        assert await engine.release()
        assert not is_mapped()
        await engine.wake()
        async with engine.generate(chat(), 8) as items:
            assert [item async for item in items] == before


async def test_characters_of_many_tokens_arrive_whole(model_file: Path) -> None:
    async with open_small(model_file) as engine:
        async with engine.generate(chat("Repeat exactly: 🦄🦄 日本語"), 40) as items:
            pieces = [item async for item in items if isinstance(item, Piece)]
        assert any(piece.units > 1 for piece in pieces)
        assert not any("\ufffd" in piece.text for piece in pieces)


async def test_earlier_answers_are_turns_and_only_the_last_is_continued(model_file: Path) -> None:
    """Two answers in a row: the first is complete, the second goes on; white space is kept."""
    question, first = chat().messages[0], Message(role="assistant", content="Plums.")
    async with open_small(model_file) as engine:
        counts = [
            await engine.count_input(ChatInput(messages=messages))
            for messages in (
                (question,),
                (question, Message(role="assistant", content="")),
                (question, Message(role="assistant", content="Plums.")),
                (question, Message(role="assistant", content="Plums.\n")),
                (question, first, Message(role="assistant", content="")),
            )
        ]
    assert counts[0] == counts[1] < counts[2] < counts[3] < counts[4]


async def test_a_closed_engine_is_unavailable(model_file: Path) -> None:
    async with open_small(model_file) as engine:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await engine.count_input(chat())
    with pytest.raises(Unavailable, match="closed"):
        async with engine.generate(chat(), 1):
            pass


async def test_other_weights_are_never_given_to_llama_cpp(tmp_path: Path, model_file: Path) -> None:
    with pytest.raises(UserError, match="rowen models pull"):
        async with open_small(tmp_path / "missing.gguf"):
            pass
    with pytest.raises(UserError, match="expected 0000"):
        async with open_small(model_file, bytes(32)):
            pass


async def test_a_file_that_is_no_model_is_refused_and_the_process_lives(tmp_path: Path) -> None:
    """As when somebody computes the digest of the wrong file."""
    file = tmp_path / "letter.gguf"
    content = b"GGUF, dear reader"
    await trio.Path(file).write_bytes(content)
    with pytest.raises(UserError, match=r"llama\.cpp cannot load .*letter\.gguf"):
        async with open_small(file, hashlib.sha256(content).digest()):
            pass


async def test_more_jobs_than_a_batch_has_room_for_are_refused(model_file: Path) -> None:
    with pytest.raises(UserError, match="1 to 16, not 17"):
        async with open_small(model_file, concurrency=17):
            pass


class FakeServer:
    """Stands for ``xllamacpp.Server``; says what it is told to and then fails."""

    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self._chunks = chunks
        self._error = error

    def handle_completions(self, prompt: bytes, callback: Callable[[bytes], bool]) -> None:
        for chunk in self._chunks:
            if callback(chunk):
                return
        if self._error:
            raise self._error


async def loaded(server: FakeServer, client: httpx.AsyncClient) -> LlamaEngine:
    """An engine around it, ready."""

    async def load() -> FakeServer:
        await trio.lowlevel.checkpoint()
        return server

    engine = LlamaEngine(INFO, client, load)
    await engine.wake()
    return engine


INFO = EngineInfo(
    model="m",
    precision="p",
    weights_digest=bytes(32),
    build="b",
    context_units=9,
    concurrency=1,
    kinds=(Kind.CHAT,),
)
PLUM = b'{"choices":[{"text":"Plum"}],"timings":{"predicted_n":1}}'


def render(request: httpx.Request) -> httpx.Response:
    """Answers what the engine asks before it generates."""
    if request.url.path == "/tokenize":
        return httpx.Response(200, json={"tokens": [1, 2, 3]})
    return httpx.Response(200, json={"prompt": "x"})


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (FakeServer([PLUM], RuntimeError("std::bad_alloc")), "std::bad_alloc"),
        (FakeServer([PLUM, b'{"error":{"message":"decode failed"}}', PLUM]), "decode failed"),
        (FakeServer([PLUM, b"{", PLUM]), "no completion"),
        (FakeServer([PLUM]), "without saying why"),
    ],
)
async def test_an_engine_that_dies_in_the_middle_is_unavailable(
    server: FakeServer, told: str
) -> None:
    """What it said before is delivered, the slot is free after."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(render), base_url="http://engine")
    async with client:
        engine = await loaded(server, client)
        for _ in range(2):
            with trio.fail_after(PATIENCE_S):
                async with engine.generate(chat(), 5) as items:
                    assert await anext(items) == Piece("Plum", 1)
                    with pytest.raises(Unavailable, match=told):
                        await anext(items)


@pytest.mark.parametrize(
    ("status", "error"), [(503, Unavailable), (400, UserError), (500, UserError)]
)
async def test_a_refusal_to_render_says_who_must_act(status: int, error: type[Exception]) -> None:
    """While it loads, asking again helps; a template that rejects the input will do so again."""
    transport = httpx.MockTransport(
        lambda _: httpx.Response(status, json={"error": {"message": "roles must alternate"}})
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        with pytest.raises(error, match="roles must alternate"):
            await (await loaded(FakeServer([]), client)).count_input(chat())


async def test_a_counted_job_is_rendered_once_and_then_forgotten() -> None:
    """Counting happens just before generating; more counts than slots do not pile up."""
    asked: list[str] = []

    def count(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return render(request)

    transport = httpx.MockTransport(count)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        engine = await loaded(FakeServer([PLUM]), client)
        for job in (chat("first"), chat("second")):
            await engine.count_input(job)
        assert len(asked) == 4
        for job, asked_in_all in ((chat("second"), 4), (chat("second"), 6), (chat("first"), 8)):
            async with engine.generate(job, 1):
                assert len(asked) == asked_in_all
