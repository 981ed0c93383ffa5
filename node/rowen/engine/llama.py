"""llama.cpp inside this process, through ``xllamacpp``.

Answers come by callbacks in a thread per generation. llama.cpp's server insists on a listener,
so it gets a Unix socket in a directory only this user can enter: no port is open, on loopback
or elsewhere, and nothing but this process can reach the engine. The socket serves the two
questions that have no callback: rendering a conversation and turning it into tokens.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import msgspec
import outcome
import trio

from rowen.engine.base import EngineInfo, Finished, Piece
from rowen.engine.completion import (
    CompletionReader,
    completion_request,
    refusal_text,
    split_continuation,
)
from rowen.engine.embedding import embedding_request, read_embedding, sum_fitting
from rowen.engine.handoff import Handoff
from rowen.engine.items import ItemByItem
from rowen.engine.llama_server import (
    CONCURRENCY_MAX,
    LlamaServer,
    build_name,
    load_server,
    socket_file,
)
from rowen.engine.models import verify
from rowen.engine.scoring import Scores, read_score, score_request
from rowen.engine.slots import Slots
from rowen.home import scratch
from rowen.protocol.errors import RowenError, Unavailable, UserError
from rowen.protocol.jobs import (
    CompletionInput,
    EmbeddingsInput,
    JobInput,
    Kind,
    ModelInput,
    OcrInput,
    TextInput,
    kind_of,
)

# How long leaving a generation waits for its thread: one prefill batch of a slow model.
CANCEL_S_MAX = 10.0


class _Prompt(msgspec.Struct):
    prompt: str


class _Tokens(msgspec.Struct):
    tokens: list[int]


@asynccontextmanager
async def open_llama(
    model_file: Path,
    *,
    model: str,
    precision: str,
    weights_digest: bytes,
    threads: int = 1,
    concurrency: int = 2,
    context_units: int = 2048,
    embeds: bool = False,
) -> AsyncIterator[LlamaEngine]:
    """Loads a model and serves it until the block ends; it is ready when the block begins.

    Loading cannot be interrupted: a cancellation takes effect when it is done.

    Args:
        model_file: A GGUF file.
        model: Name a client asks for.
        precision: Quantisation in the field's words.
        weights_digest: SHA-256 the file must have, 32 bytes. llama.cpp is not hardened against
            hostile files, so one that differs is never given to it.
        threads: CPU threads for the model.
        concurrency: Jobs served at the same time, 1 to 16; more wait their turn.
        context_units: Largest input + output of one job, in tokens; of vectors, the largest text.
        embeds: Whether it makes vectors of texts, and nothing else.

    Raises:
        UserError: The file is missing, not the expected one, or not a model that fits; or there
            is no place for temporary files.
    """
    if not 1 <= concurrency <= CONCURRENCY_MAX:
        raise UserError(f"engine concurrency must be 1 to {CONCURRENCY_MAX}, not {concurrency}")
    with scratch() as directory:
        listen_file = socket_file(directory)
        # A second lock, should the directory ever be opened to others of the same user.
        key = secrets.token_urlsafe(32)
        start = partial(
            load_server, model_file, listen_file, key, threads, concurrency, context_units, embeds
        )

        async def load() -> LlamaServer:
            # Each time: between two lives of the engine the file may have been replaced.
            await verify(model_file, weights_digest)
            return await trio.to_thread.run_sync(start)

        info = EngineInfo(
            model=model,
            precision=precision,
            weights_digest=weights_digest,
            build=build_name(),
            context_units=context_units,
            concurrency=concurrency,
            kinds=(Kind.EMBEDDINGS,) if embeds else (Kind.CHAT, Kind.COMPLETION),
        )
        # No connection is kept: the server would close it at a moment of its own choosing.
        transport = httpx.AsyncHTTPTransport(
            uds=listen_file, limits=httpx.Limits(max_keepalive_connections=0)
        )
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://engine",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=None,  # noqa: S113 - timeouts belong to our callers
        ) as client:
            engine = LlamaEngine(info, client, load)
            try:
                await engine.wake()
                if embeds:
                    await engine.measure_vectors()
                yield engine
            finally:
                await engine._unload()


class LlamaEngine:
    """One loaded model; see ``rowen.engine.base.Engine`` for what its methods promise."""

    def __init__(
        self,
        info: EngineInfo,
        client: httpx.AsyncClient,
        load: Callable[[], Awaitable[LlamaServer]],
    ) -> None:
        self._info = info
        # Empty when unloaded. A list, so that a thread can drop the last reference.
        self._loaded: list[LlamaServer] = []
        self._load = load
        self._loading = trio.Lock()
        self._client = client
        # llama.cpp cannot cancel what waits in its own queue, so nothing ever waits there.
        self._limiter = trio.CapacityLimiter(info.concurrency)
        self._slots = Slots(info.concurrency)
        # Counted and not yet generated, oldest first; at most as many as there are slots.
        self._rendered: dict[tuple[bytes, TextInput], list[int]] = {}

    @property
    def info(self) -> EngineInfo:
        """What runs here."""
        return self._info

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded."""
        return bool(self._loaded)

    async def count_input(self, job: JobInput, *, tenant: bytes = b"") -> int:
        """Tokens of the prompt as the engine will render it, without generating."""
        job = self._check(job)
        if isinstance(job, EmbeddingsInput):
            counts = [len(await self._tokens(text)) for text in job.texts]
            return sum_fitting(counts, self._info.context_units)
        tokens = await self._render(job)
        # Kept for the job that most likely follows: rendering takes milliseconds of its start.
        self._rendered[tenant, job] = tokens
        while len(self._rendered) > self._info.concurrency:
            del self._rendered[next(iter(self._rendered))]
        return len(tokens)

    @asynccontextmanager
    async def generate(
        self, job: JobInput, output_units_max: int, *, tenant: bytes = b""
    ) -> AsyncIterator[AsyncIterator[Piece | Finished]]:
        """Starts the job; leaving the context frees its slot."""
        if output_units_max < 1:
            raise UserError(f"a job must allow at least 1 output token, not {output_units_max}")
        job = self._check(job)
        if isinstance(job, EmbeddingsInput):
            holder = object()
            await self._limiter.acquire_on_behalf_of(holder)
            try:
                yield ItemByItem(job.texts, self._embed, output_units_max)
            finally:
                self._limiter.release_on_behalf_of(holder)
            return
        tokens = self._rendered.pop((tenant, job), None) or await self._render(job)
        room = self._info.context_units - len(tokens)
        if room < 1:
            raise UserError(
                f"the input has {len(tokens)} tokens; with its answer it must fit in "
                f"{self._info.context_units}"
            )
        handoff = Handoff()
        over = trio.Event()
        await self._limiter.acquire_on_behalf_of(handoff)
        if not self._loaded:
            self._limiter.release_on_behalf_of(handoff)
            raise _unloaded()
        slot, may_reuse = self._slots.take(tenant)
        request = completion_request(
            tokens, job, min(output_units_max, room), slot=slot, may_reuse=may_reuse
        )

        def on_end() -> None:
            self._slots.give_back(slot)
            self._limiter.release_on_behalf_of(handoff)
            over.set()

        def deliver(result: outcome.Outcome[None]) -> None:
            if isinstance(result, outcome.Error):
                handoff.fail(result.error)
            handoff.end(on_end)

        # Not to_thread: that would need a nursery around the caller's block, which wraps the
        # caller's own exceptions in groups.
        complete = partial(_complete, self._loaded[0], request, handoff)
        trio.lowlevel.start_thread_soon(complete, deliver)
        del complete
        try:
            yield handoff
        finally:
            handoff.is_cancelled = True
            with trio.CancelScope(deadline=trio.current_time() + CANCEL_S_MAX, shield=True):
                await over.wait()

    async def score(self, text: str) -> Scores:
        """See ``Scorer``. One question a token; others may ask in between."""
        body = await self._ask("/tokenize", {"content": text, "add_special": True})
        tokens = msgspec.json.decode(body, type=_Tokens).tokens
        if len(tokens) > self._info.context_units:
            raise UserError(
                f"the text has {len(tokens)} tokens, the context holds {self._info.context_units}"
            )
        found = []
        me = object()
        await self._limiter.acquire_on_behalf_of(me)
        slot, _ = self._slots.take(b"score")
        try:
            for end in range(1, len(tokens)):
                request = score_request(tokens[:end], tokens[end], slot=slot)
                answer = await trio.to_thread.run_sync(self._one_answer, request)
                found.append(read_score(answer, tokens[end]))
        finally:
            self._slots.give_back(slot)
            self._limiter.release_on_behalf_of(me)
        return Scores(tuple(tokens), tuple(found))

    def _one_answer(self, request: bytes) -> bytes:
        """Asks for a completion that is not streamed; in a thread."""
        answers: list[bytes] = []

        def on_chunk(chunk: bytes) -> bool:
            answers.append(bytes(chunk))
            return False

        try:
            self._loaded[0].handle_completions(request, on_chunk)
        except IndexError as error:
            raise _unloaded() from error
        except (RuntimeError, ValueError) as error:
            raise Unavailable(f"the engine failed: {error}") from error
        return b"".join(answers)

    def _check(self, job: JobInput) -> ModelInput:
        if kind_of(job) not in self._info.kinds or isinstance(job, OcrInput):
            raise UserError(f"this engine is not asked for {kind_of(job)}: it does not do that")
        return job

    async def measure_vectors(self) -> None:
        """Learns from one how long they are."""
        piece = await self._embed("1")
        self._info = replace(self._info, item_units_max=piece.units)

    async def _embed(self, text: str) -> Piece:
        body = await self._ask("/v1/embeddings", embedding_request(text, self._info.model))
        return read_embedding(msgspec.json.decode(body))

    async def _render(self, job: TextInput) -> list[int]:
        if isinstance(job, CompletionInput):
            return await self._tokens(job.prompt)
        turns, begun = split_continuation(job.messages)
        if not turns:
            raise UserError("a conversation cannot begin with the assistant's answer")
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        body = await self._ask("/apply-template", {"messages": messages})
        return await self._tokens(msgspec.json.decode(body, type=_Prompt).prompt + begun)

    async def _tokens(self, text: str) -> list[int]:
        # The flags that llama.cpp uses for completions and chat completions of its own.
        body = await self._ask(
            "/tokenize", {"content": text, "add_special": True, "parse_special": True}
        )
        return msgspec.json.decode(body, type=_Tokens).tokens

    async def _ask(self, path: str, question: dict[str, object]) -> bytes:
        if not self._loaded:
            raise _unloaded()
        try:
            response = await self._client.post(path, content=msgspec.json.encode(question))
        except httpx.TransportError as error:
            raise Unavailable(f"the engine does not answer {path}: {error!r}") from error
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise Unavailable(f"the engine is not ready: {refusal_text(response.content)}")
        if response.status_code != httpx.codes.OK:
            # Both questions depend on nothing but the input, so asking again will not help.
            raise UserError(f"the input cannot be rendered: {refusal_text(response.content)}")
        return response.content

    async def release(self) -> bool:
        """Unloads the model; llama.cpp has no lighter sleep."""
        await self._unload()
        return True

    async def stop(self) -> bool:
        """Unloads the model; jobs that are still busy keep it until they notice."""
        return await self.release()

    async def wake(self) -> None:
        """Verifies and loads the model; loading cannot be interrupted once begun."""
        async with self._loading:
            if not self._loaded:
                # Not into a local: the last reference must be the one that `_unload` drops.
                self._loaded.append(await self._load())
                self._slots = Slots(self._info.concurrency)

    async def _unload(self) -> None:
        # The destructor joins llama.cpp's threads, all idle: a generation that is still busy
        # holds a reference of its own, and then it is the last to leave that frees the model.
        with trio.CancelScope(shield=True):
            async with self._loading:
                await trio.to_thread.run_sync(self._loaded.clear)


def _complete(server: LlamaServer, request: bytes, handoff: Handoff) -> None:
    """Runs one completion to its end, in a thread of its own."""
    reader = CompletionReader()

    def on_chunk(chunk: bytes) -> bool:
        """Takes one chunk; a true answer makes llama.cpp cancel the completion."""
        if handoff.is_cancelled:
            return True
        try:
            handoff.put(reader.read(chunk))
        except RowenError as error:
            handoff.fail(error)
            return True
        return False

    try:
        server.handle_completions(request, on_chunk)
    except (RuntimeError, ValueError) as error:
        failure = Unavailable(f"the engine failed: {error}")
        failure.__cause__ = error
        handoff.fail(failure)


def _unloaded() -> Unavailable:
    return Unavailable("the engine is closed, or has given its memory back")
