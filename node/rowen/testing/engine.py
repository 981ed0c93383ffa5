"""An engine that answers from a script.

It keeps the promises of ``rowen.engine.base.Engine`` and passes the conformance tests that the
real engine passes. Its time is trio's, so a test with an autojump clock never waits.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate

import trio

from rowen.engine.base import EngineInfo, Finished, Piece
from rowen.engine.completion import split_continuation
from rowen.engine.embedding import sum_fitting
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import (
    CompletionInput,
    EmbeddingsInput,
    Finish,
    JobInput,
    Kind,
    OcrInput,
    TextInput,
    kind_of,
)
from rowen.protocol.vectors import vector_text

SCRIPTED = EngineInfo(
    model="scripted",
    precision="none",
    weights_digest=sha256(b"scripted").digest(),
    build="scripted 1",
    context_units=2048,
    concurrency=2,
    kinds=(Kind.CHAT, Kind.COMPLETION),
)

_WORDS = ("a", "field", "gives", "one", "more", "crop", "before", "winter", "and", "its", "owner")
_SEEDED_WORDS = 40
VECTOR_NUMBERS = 4
# A template costs tokens of its own: a few for every turn, and some that open the answer.
_TURN_UNITS = 4
_TOKEN = re.compile(r"\s*\S+|\s+\Z")


def tokens_of(text: str) -> list[str]:
    """The fake tokens of a text: words with the white space before them."""
    return _TOKEN.findall(text)


def scripted_vector(text: str) -> list[float]:
    """Four numbers that follow from a text, each exactly a float32."""
    digest = sha256(text.encode()).digest()
    return [byte / 256 for byte in digest[:VECTOR_NUMBERS]]


def seeded_answer(job: JobInput) -> str:
    """Forty words that follow from the input and, above temperature 0, from the seed.

    Of a text only its first word matters, so that one with more of its completion has the same.
    """
    assert not isinstance(job, EmbeddingsInput | OcrInput), "lists have answers of their own"
    if isinstance(job, CompletionInput):
        said, before = tokens_of(job.prompt)[0], " "
    else:
        turns, _ = split_continuation(job.messages)
        said, before = repr([(turn.role, turn.content) for turn in turns]), ""
    rng = random.Random(f"{said}{job.seed if job.temperature else ''}")
    return before + " ".join(rng.choice(_WORDS) for _ in range(_SEEDED_WORDS))


@dataclass(slots=True)
class Counters:
    """What a scripted engine has been asked to do; every job started ends in one of three ways."""

    started: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    running: int = 0
    running_max: int = 0


class ScriptedEngine:
    """Answers from a script.

    A job whose last turn is the assistant's is continued after that text. Like llama.cpp, the
    engine samples an end-of-turn token that counts one unit and has no text.

    Args:
        answer: Whole answer to a job, without regard to where a continuation begins.
        info: What the engine claims to run; its ``concurrency`` and ``context_units`` are kept.
        piece_units: Tokens per piece, ≥ 1.
        first_delay_s: From the start to the first piece.
        delay_s: Before each further piece.
        cached_units: Input tokens said to come from a cache, as far as there are so many.

    Attributes:
        fail_at: Raise ``Unavailable`` instead of the piece of this index; None never does.
        hang_at: Stay silent for ever instead of the piece of this index; None never does.
        counters: Jobs so far.
        holds_memory: Whether it is loaded and awake.
        can_release: Whether ``release`` works; False plays an engine without sleep.
        can_stop: Whether ``stop`` works; False plays an engine of somebody else's.
    """

    def __init__(
        self,
        answer: Callable[[JobInput], str] | str = seeded_answer,
        *,
        info: EngineInfo = SCRIPTED,
        piece_units: int = 1,
        first_delay_s: float = 0.0,
        delay_s: float = 0.0,
        cached_units: int = 0,
    ) -> None:
        self._answer = answer
        self._info = info
        self._piece_units = piece_units
        self._first_delay_s = first_delay_s
        self._delay_s = delay_s
        self._cached_units = cached_units
        self._slots = trio.CapacityLimiter(info.concurrency)
        self.fail_at: int | None = None
        self.hang_at: int | None = None
        self.counters = Counters()
        self.holds_memory = True
        self.can_release = True
        self.can_stop = True

    @property
    def info(self) -> EngineInfo:
        """What it claims to run."""
        return self._info

    @property
    def is_ready(self) -> bool:
        """Whether its memory was not taken from it."""
        return self.holds_memory

    async def count_input(self, job: JobInput, *, tenant: bytes = b"") -> int:
        """Words of all turns, plus four for each turn and for the answer."""
        await trio.lowlevel.checkpoint()
        self._check(job)
        if isinstance(job, EmbeddingsInput):
            return sum_fitting(_text_units(job), self._info.context_units)
        return input_units_of(job)

    async def release(self) -> bool:
        """Sleeps, if it can."""
        await trio.lowlevel.checkpoint()
        self.holds_memory = self.holds_memory and not self.can_release
        return not self.holds_memory

    async def stop(self) -> bool:
        """Ends, if it can."""
        await trio.lowlevel.checkpoint()
        self.holds_memory = self.holds_memory and not self.can_stop
        return not self.holds_memory

    async def wake(self) -> None:
        """Is ready again."""
        await trio.lowlevel.checkpoint()
        self.holds_memory = True

    def _check(self, job: JobInput) -> None:
        if not self.holds_memory:
            raise Unavailable("the scripted engine has given its memory back")
        if kind_of(job) not in self._info.kinds:
            raise UserError(f"this engine is not asked for {kind_of(job)}: it does not do that")

    @asynccontextmanager
    async def generate(
        self, job: JobInput, output_units_max: int, *, tenant: bytes = b""
    ) -> AsyncIterator[AsyncIterator[Piece | Finished]]:
        """Starts the job."""
        self._check(job)
        recital = _Recital(self, self._plan(job, output_units_max))
        # By the job, not the task: one task may hold several jobs open.
        await self._slots.acquire_on_behalf_of(recital)
        counters = self.counters
        counters.started += 1
        counters.running += 1
        counters.running_max = max(counters.running_max, counters.running)
        try:
            yield recital
        finally:
            counters.running -= 1
            counters.finished += recital.is_finished
            counters.failed += recital.is_failed
            counters.cancelled += not (recital.is_finished or recital.is_failed)
            self._slots.release_on_behalf_of(recital)

    async def wait(self, index: int) -> None:
        """Passes the time before the item of this index, or fails or hangs if told to.

        Raises:
            Unavailable: This is the item to fail at.
        """
        delay_s = self._delay_s if index else self._first_delay_s
        if delay_s:
            await trio.sleep(delay_s)
        else:
            await trio.lowlevel.checkpoint()
        if index == self.fail_at:
            raise Unavailable(f"the scripted engine fails at piece {index}, as it was told to")
        if index == self.hang_at:
            await trio.sleep_forever()

    def _plan(self, job: JobInput, output_units_max: int) -> list[Piece | Finished]:
        if isinstance(job, EmbeddingsInput):
            return _vectors(job, self._info, output_units_max)
        if isinstance(job, OcrInput):
            return _pages(job, output_units_max)
        input_units = input_units_of(job)
        room = room_of(self._info, input_units, output_units_max)
        answer = self._answer if isinstance(self._answer, str) else self._answer(job)
        rest = answer[len(_begun(job, answer)) :]
        pieces, finish = _cut(rest, job.stop, room, self._piece_units)
        end = Finished(
            finish=finish,
            input_units=input_units,
            cached_units=min(self._cached_units, input_units),
            output_units=sum(piece.units for piece in pieces),
        )
        return [*pieces, end]


class _Recital:
    """Plays the items of one job."""

    def __init__(self, engine: ScriptedEngine, items: list[Piece | Finished]) -> None:
        self._engine = engine
        self._items = items
        self._index = 0
        self.is_finished = False
        self.is_failed = False

    def __aiter__(self) -> _Recital:
        return self

    async def __anext__(self) -> Piece | Finished:
        if self.is_finished or self.is_failed:
            raise StopAsyncIteration
        item = self._items[self._index]
        if isinstance(item, Finished):
            await trio.lowlevel.checkpoint()
            self.is_finished = True
            return item
        try:
            await self._engine.wait(self._index)
        except Unavailable:
            self.is_failed = True
            raise
        self._index += 1
        return item


def input_units_of(job: JobInput) -> int:
    """What an engine without a tokenizer says an input costs.

    Raises:
        UserError: There is no turn to answer.
    """
    if isinstance(job, EmbeddingsInput):
        return sum(_text_units(job))
    if isinstance(job, OcrInput):
        return len(job.pages)
    if isinstance(job, CompletionInput):
        return len(tokens_of(job.prompt))
    turns, begun = split_continuation(job.messages)
    if not turns:
        raise UserError("a conversation cannot begin with the assistant's answer")
    said = sum(_TURN_UNITS + len(tokens_of(turn.content)) for turn in turns)
    return said + _TURN_UNITS + len(tokens_of(begun))


def scripted_page(page: bytes) -> str:
    """Two lines that follow from a picture's bytes, whatever it shows."""
    return f"page of {len(page)} bytes\n{sha256(page).hexdigest()[:8]} €"


def _pages(job: OcrInput, output_units_max: int) -> list[Piece | Finished]:
    pieces: list[Piece | Finished] = []
    room = output_units_max
    for page in job.pages:
        text = scripted_page(page) + "\f"
        room -= len(text)
        if room < 0:
            break
        pieces.append(Piece(text, len(text), 1))
    finish = Finish.STOP if len(pieces) == len(job.pages) else Finish.LENGTH
    units = sum(len(piece.text) for piece in pieces if isinstance(piece, Piece))
    return [*pieces, Finished(finish, len(pieces), 0, units)]


def _text_units(job: EmbeddingsInput) -> list[int]:
    return [len(tokens_of(text)) for text in job.texts]


def _vectors(
    job: EmbeddingsInput, info: EngineInfo, output_units_max: int
) -> list[Piece | Finished]:
    counts = _text_units(job)
    sum_fitting(counts, info.context_units)
    told = min(len(counts), output_units_max // VECTOR_NUMBERS)
    pieces = [
        Piece(vector_text(scripted_vector(text)), VECTOR_NUMBERS, units)
        for text, units in zip(job.texts[:told], counts, strict=False)
    ]
    finish = Finish.STOP if told == len(counts) else Finish.LENGTH
    return [*pieces, Finished(finish, sum(counts[:told]), 0, told * VECTOR_NUMBERS)]


def _begun(job: TextInput, answer: str) -> str:
    """What the input already holds of its own answer."""
    if isinstance(job, CompletionInput):
        sizes = range(len(answer), -1, -1)
        return answer[: next(size for size in sizes if job.prompt.endswith(answer[:size]))]
    _, begun = split_continuation(job.messages)
    return begun if answer.startswith(begun) else ""


def room_of(info: EngineInfo, input_units: int, output_units_max: int) -> int:
    """Most output tokens of a job, its context's room considered; at least 1.

    Raises:
        UserError: There is room for none.
    """
    if output_units_max < 1:
        raise UserError(f"a job must allow at least 1 output token, not {output_units_max}")
    room = info.context_units - input_units
    if room < 1:
        raise UserError(
            f"the input has {input_units} tokens; with its answer it must fit in "
            f"{info.context_units}"
        )
    return min(room, output_units_max)


def _cut(
    text: str, stop: tuple[str, ...], room: int, piece_units: int
) -> tuple[list[Piece], Finish]:
    """Pieces of an answer up to its end, its first stop text or its room, whichever is first."""
    tokens = tokens_of(text)
    found = [(index, index + len(word)) for word in stop if (index := text.find(word)) >= 0]
    shown, read = min(found, default=(len(text), len(text)))
    lengths = list(accumulate(len(token) for token in tokens))
    # The token that completes a stop text is sampled and counts; without one, the end of turn.
    units_needed = bisect_left(lengths, read) + 1 if found else len(tokens) + 1
    units = min(units_needed, room)
    pieces = []
    offset = 0
    for start in range(0, units, piece_units):
        group = tokens[start : min(start + piece_units, units)]
        after = offset + sum(map(len, group))
        pieces.append(Piece(text[offset : min(after, shown)], min(piece_units, units - start)))
        offset = min(after, shown)
    return pieces, Finish.STOP if units == units_needed else Finish.LENGTH
