"""Engines that owners run anyway, behind OpenAI's HTTP: vLLM, SGLang, llama.cpp, Ollama, NIM, Ray.

What differs between them is in ``dialects``. Every answer is streamed, so that closing the
connection cancels it; counts are our own, reconciled with what the engine reports.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import httpx
import structlog
import trio

from rowen.engine.base import EngineInfo, Finished, Piece
from rowen.engine.chat_stream import ChatReader, path_of, text_request, turns_of, usage_of_probe
from rowen.engine.completion import (
    CompletionReader,
    completion_request,
    refusal_text,
    split_continuation,
)
from rowen.engine.dialects import Counting, Dialect
from rowen.engine.discovery import ask, perform
from rowen.engine.embedding import embedding_request, read_embedding, sum_fitting
from rowen.engine.http_stream import AnswerStream, post
from rowen.engine.items import ItemByItem
from rowen.engine.sse import EventReader
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import (
    ChatInput,
    CompletionInput,
    EmbeddingsInput,
    JobInput,
    ModelInput,
    OcrInput,
    TextInput,
    kind_of,
)

log = structlog.get_logger("rowen.engine")

CHECK_S = 5.0
CHECK_DOWN_S = 1.0
CONTROL_S = 120.0
# Tokens the engine has made but nobody took are the engine's to hold; silence is not.
SILENCE_S_MAX = 300.0
SALT_BYTES = 32


class Reader(Protocol):
    """What turns events of one answer into pieces."""

    def read(self, event: bytes) -> tuple[Piece | Finished, ...]:
        """Reads one event."""


class HttpEngine:
    """One model of a server; see ``rowen.engine.base.Engine`` for what its methods promise.

    Args:
        info: What it runs.
        client: To the server; its base URL and key are set.
        dialect: Which server it is.
        served: The model's name there.
    """

    def __init__(
        self, info: EngineInfo, client: httpx.AsyncClient, dialect: Dialect, served: str
    ) -> None:
        self._info = info
        self._client = client
        key = client.headers.get("Authorization", "").removeprefix("Bearer ")
        self._address = (str(client.base_url).rstrip("/"), key)
        self._dialect = dialect
        self._served = served
        # "The salt should be random, protected from access by 3rd parties" (vLLM's cache_salt).
        self._secret = secrets.token_bytes(SALT_BYTES)
        self._places = trio.CapacityLimiter(info.concurrency)
        self._rendered: dict[tuple[bytes, TextInput], list[int]] = {}
        self.is_up = False
        self.is_awake = True

    @property
    def info(self) -> EngineInfo:
        """What runs here."""
        return self._info

    @property
    def is_ready(self) -> bool:
        """Whether it answered when last asked, and was not put to sleep."""
        return self.is_up and self.is_awake

    async def count_input(self, job: JobInput, *, tenant: bytes = b"") -> int:
        """Tokens of the prompt, in the way the dialect knows."""
        job = self._check(job)
        if isinstance(job, EmbeddingsInput):
            if self._dialect.counting is not Counting.TEMPLATE:
                # Each text's count comes with its vector.
                return len(job.texts)
            counts = [len(await self._tokens(text)) for text in job.texts]
            return sum_fitting(counts, self._info.context_units)
        match self._dialect.counting:
            case Counting.TEMPLATE:
                tokens = await self._render(job)
                self._rendered[tenant, job] = tokens
                while len(self._rendered) > self._info.concurrency:
                    del self._rendered[next(iter(self._rendered))]
                return len(tokens)
            case Counting.TOKENIZE:
                question: dict[str, object] = {"model": self._served}
                if isinstance(job, CompletionInput):
                    question["prompt"] = job.prompt
                else:
                    question |= {"messages": turns_of(job), "add_generation_prompt": True}
                question |= self._continuation(job)
                answer = await ask(self._client, "/tokenize", question)
                return _whole(answer, "count")
            case Counting.PROBE:
                return await self._probe(job, tenant)

    @asynccontextmanager
    async def generate(
        self, job: JobInput, output_units_max: int, *, tenant: bytes = b""
    ) -> AsyncIterator[AsyncIterator[Piece | Finished]]:
        """Starts the job; leaving the context closes its connection."""
        if output_units_max < 1:
            raise UserError(f"a job must allow at least 1 output token, not {output_units_max}")
        job = self._check(job)
        holder = object()
        await self._places.acquire_on_behalf_of(holder)
        try:
            if isinstance(job, EmbeddingsInput):
                yield ItemByItem(job.texts, self._embed, output_units_max)
                return
            path, body, reader = await self._request(job, output_units_max, tenant)
            async with self._stream(path, body) as answer:
                yield _Answer(answer, reader)
        finally:
            self._places.release_on_behalf_of(holder)

    async def release(self) -> bool:
        """Has the engine sleep, if it can; it serves nobody from then on."""
        if not self.is_awake:
            return True
        if self._dialect.sleep is None:
            return False
        self.is_awake = False
        try:
            done = await self._perform_sleep()
        except Unavailable as error:
            log.warning("the engine does not sleep", engine=self._served, why=str(error))
            done = False
        self.is_awake = not done
        return done

    async def stop(self) -> bool:
        """It is its owner's to stop; asked to sleep again at most."""
        return await self.release()

    async def wake(self) -> None:
        """Wakes it, if it was put to sleep."""
        if not self.is_awake and self._dialect.wake is not None:
            if not await perform(
                self._client, self._dialect.wake, self._served, timeout_s=CONTROL_S
            ):
                raise Unavailable("the engine does not wake up")
            self.is_awake = True
        await self.check()
        if not self.is_up:
            raise Unavailable("the engine does not answer")

    async def check(self) -> None:
        """Asks whether it is up, and remembers the answer."""
        was_up = self.is_up
        try:
            await ask(self._client, self._dialect.ready)
            self.is_up = True
        except (Unavailable, UserError) as error:
            # The reason is the engine's own words, never an input.
            self.is_up = False
            if was_up:
                log.warning("the engine is down", engine=self._served, why=str(error))
        if self.is_up and not was_up:
            log.info("the engine is up", engine=self._served)

    async def watch(self) -> None:
        """Keeps ``is_ready`` true to life, until cancelled."""
        while True:
            await trio.sleep(CHECK_S if self.is_ready else CHECK_DOWN_S)
            await self.check()

    # --- inside

    async def _perform_sleep(self) -> bool:
        assert self._dialect.sleep is not None
        if not await perform(self._client, self._dialect.sleep, self._served, timeout_s=CONTROL_S):
            return False
        asleep = self._dialect.asleep
        return asleep is None or await perform(
            self._client, asleep, self._served, timeout_s=CONTROL_S
        )

    def _check(self, job: JobInput) -> ModelInput:
        if not self.is_awake:
            raise Unavailable("the engine has given its memory back")
        if kind_of(job) not in self._info.kinds or isinstance(job, OcrInput):
            raise UserError(f"this engine is not asked for {kind_of(job)}: it does not do that")
        if isinstance(job, ChatInput) and job.messages[0].role == "assistant":
            raise UserError("a conversation cannot begin with the assistant's answer")
        if _is_continued(job) and self._dialect.continuation is None:
            raise UserError("this engine cannot continue an answer begun elsewhere")
        return job

    async def _embed(self, text: str) -> Piece:
        question = embedding_request(text, self._served)
        answer = await ask(self._client, "/v1/embeddings", question, timeout_s=SILENCE_S_MAX)
        return read_embedding(answer)

    def _continuation(self, job: TextInput) -> dict[str, object]:
        return dict(self._dialect.continuation or {}) if _is_continued(job) else {}

    def _extra(self, job: TextInput, tenant: bytes) -> dict[str, object]:
        extra = {**self._dialect.extra, **self._continuation(job)}
        if self._dialect.salt:
            extra[self._dialect.salt] = hmac.new(self._secret, tenant, hashlib.sha256).hexdigest()
        return extra

    async def _request(
        self, job: TextInput, output_units_max: int, tenant: bytes
    ) -> tuple[str, bytes, Reader]:
        if self._dialect.counting is Counting.TEMPLATE:
            tokens = self._rendered.pop((tenant, job), None) or await self._render(job)
            room = self._info.context_units - len(tokens)
            if room < 1:
                raise UserError(
                    f"the input has {len(tokens)} tokens; with its answer it must fit in "
                    f"{self._info.context_units}"
                )
            # Its slots also serve its owner: whatever they remember may be somebody else's.
            body = completion_request(
                tokens, job, min(output_units_max, room), slot=-1, may_reuse=False
            )
            return "/v1/completions", body, CompletionReader()
        body = text_request(
            job,
            output_units_max,
            model=self._served,
            extra=self._extra(job, tenant),
            has_running_usage=self._dialect.has_running_usage,
        )
        return path_of(job), body, ChatReader(output_units_max)

    @asynccontextmanager
    async def _stream(self, path: str, body: bytes) -> AsyncIterator[AnswerStream]:
        url, key = self._address
        async with post(url + path, body, api_key=key, silence_s_max=SILENCE_S_MAX) as answer:
            if answer.status != httpx.codes.OK:
                said = refusal_text(await answer.refusal())
                fault = UserError if 400 <= answer.status < 500 else Unavailable
                raise fault(f"the engine answers with {answer.status}: {said}")
            yield answer

    async def _probe(self, job: TextInput, tenant: bytes) -> int:
        body = text_request(
            job,
            1,
            model=self._served,
            extra=self._extra(job, tenant),
            has_running_usage=self._dialect.has_running_usage,
        )
        events: list[bytes] = []
        async with self._stream(path_of(job), body) as answer:
            reader = EventReader()
            while raw := await answer.receive():
                events += reader.feed(raw)
        return usage_of_probe(events)

    async def _render(self, job: TextInput) -> list[int]:
        if isinstance(job, CompletionInput):
            text = job.prompt
        else:
            turns, begun = split_continuation(job.messages)
            messages = [{"role": turn.role, "content": turn.content} for turn in turns]
            rendered = await ask(self._client, "/apply-template", {"messages": messages})
            text = str(rendered["prompt"]) + begun
        return await self._tokens(text)

    async def _tokens(self, text: str) -> list[int]:
        question = {"content": text, "add_special": True, "parse_special": True}
        tokens: list[int] = (await ask(self._client, "/tokenize", question))["tokens"]
        return tokens


class _Answer:
    """The items of one answer; what arrives together is joined."""

    def __init__(self, answer: AnswerStream, reader: Reader) -> None:
        self._answer = answer
        self._events = EventReader()
        self._reader = reader
        self._items: deque[Piece | Finished] = deque()
        self._failure: Unavailable | None = None
        self._is_over = False

    def __aiter__(self) -> _Answer:
        return self

    async def __anext__(self) -> Piece | Finished:
        if self._is_over:
            raise StopAsyncIteration
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._items:
            if self._failure is not None:
                self._is_over = True
                raise self._failure
            await self._receive()
        item = self._items.popleft()
        self._is_over = isinstance(item, Finished)
        return item

    async def _receive(self) -> None:
        try:
            raw = await self._answer.receive()
            if not raw:
                self._failure = Unavailable("the engine ended its answer without saying why")
            for event in self._events.feed(raw):
                for item in self._reader.read(event):
                    self._add(item)
                    if isinstance(item, Finished):
                        return
        except Unavailable as error:
            # What came before it is delivered first.
            self._failure = error

    def _add(self, item: Piece | Finished) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(item, Piece) and isinstance(last, Piece):
            self._items[-1] = Piece(last.text + item.text, last.units + item.units)
        else:
            self._items.append(item)


def _is_continued(job: JobInput) -> bool:
    return isinstance(job, ChatInput) and job.messages[-1].role == "assistant"


def _whole(answer: object, key: str) -> int:
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, int) or value < 0:
        raise Unavailable(f"the engine's answer has no {key}")
    return value
