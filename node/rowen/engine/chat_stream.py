"""OpenAI's streamed completions, of chats and of texts: encoding, decoding, counting, no I/O.

Engines differ in how they tell the count. Some repeat the running usage with every chunk; the
others tell it once, at the end, and until then every chunk with text counts as one token: a chunk
never holds less. The end is reconciled: what the engine reports beyond what was counted (tokens
without text, tokens joined in a chunk) is added, and a report below it is an engine that cannot
be billed by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rowen.engine.base import Finished, Piece
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import ChatInput, CompletionInput, Finish, TextInput

DONE = b"[DONE]"
# What reasoning is set off by in the answers of models that were trained on it.
THINK, THOUGHT = "<think>", "</think>"


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    # Two names are in use for the same thing.
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    # What a chat says; the completion of a text has it in `text`.
    delta: _Delta = _Delta()
    text: str | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str = "no reason given"


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    error: _Error | str | None = None


_chunks = msgspec.json.Decoder(_Chunk)
_encode = msgspec.json.Encoder().encode

_FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH}


def path_of(job: TextInput) -> str:
    """Where this kind of job is asked for."""
    return "/v1/completions" if isinstance(job, CompletionInput) else "/v1/chat/completions"


def turns_of(job: ChatInput) -> list[dict[str, str]]:
    """The conversation in OpenAI's words."""
    return [{"role": turn.role, "content": turn.content} for turn in job.messages]


def text_request(
    job: TextInput,
    output_units_max: int,
    *,
    model: str,
    extra: Mapping[str, Any],
    has_running_usage: bool,
) -> bytes:
    """Encodes a streamed completion.

    Args:
        job: What to continue, and its samplers.
        output_units_max: Most tokens to produce.
        model: As the engine calls it.
        extra: Fields only this engine knows.
        has_running_usage: Whether to ask for the usage in every chunk.
    """
    options: dict[str, bool] = {"include_usage": True}
    if has_running_usage:
        options["continuous_usage_stats"] = True
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": output_units_max,
        "temperature": job.temperature,
        "top_p": job.top_p,
        "seed": job.seed,
        # Streamed always: closing the connection is then the way to cancel.
        "stream": True,
        "stream_options": options,
    }
    if isinstance(job, CompletionInput):
        request["prompt"] = job.prompt
    else:
        request["messages"] = turns_of(job)
    if job.stop:
        request["stop"] = job.stop
    return _encode(request | dict(extra))


class ChatReader:
    """Turns the events of one completion into pieces with reconciled counts.

    Args:
        output_units_max: What was asked for; more than this is an engine gone wrong.
    """

    def __init__(self, output_units_max: int) -> None:
        self._max = output_units_max
        self._units = 0
        self._input_units = 0
        self._cached_units = 0
        self._has_usage = False
        self._finish: Finish | None = None
        self._is_thinking = False

    def read(self, event: bytes) -> tuple[Piece | Finished, ...]:
        """Reads one event; ``[DONE]`` gives ``Finished``.

        Raises:
            Unavailable: The engine reports an error, contradicts itself, or speaks a language
                we do not know.
        """
        if event == DONE:
            return (self._end(),)
        try:
            chunk = _chunks.decode(event)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unavailable(f"the engine sent an event that is no completion: {error}") from error
        if chunk.error is not None:
            said = chunk.error if isinstance(chunk.error, str) else chunk.error.message
            raise Unavailable(f"the engine failed: {said}")
        text = "".join(map(self._text, chunk.choices))
        reason = next((c.finish_reason for c in chunk.choices if c.finish_reason), None)
        if reason is not None:
            self._finish = _FINISH.get(reason)
            if self._finish is None:
                raise Unavailable(f"the engine ended for an unknown reason: {reason!r}")
        if chunk.usage is None:
            return self._advance(text, self._units + 1 if text else self._units)
        self._note(chunk.usage)
        reported = chunk.usage.completion_tokens or 0
        if text and not chunk.usage.completion_tokens:
            reported = self._units + 1
        return self._advance(text, reported)

    def _text(self, choice: _Choice) -> str:
        """The text of a chunk, reasoning included: it was computed and is paid for."""
        if choice.text is not None:
            return choice.text
        delta = choice.delta
        thought = delta.reasoning_content or delta.reasoning or ""
        said = delta.content or ""
        before = ""
        if thought and not self._is_thinking:
            before, self._is_thinking = THINK, True
        if said and self._is_thinking:
            said, self._is_thinking = THOUGHT + said, False
        return before + thought + said

    def _note(self, usage: _Usage) -> None:
        self._has_usage = True
        self._input_units = usage.prompt_tokens
        if usage.prompt_tokens_details is not None:
            self._cached_units = usage.prompt_tokens_details.cached_tokens or 0

    def _advance(self, text: str, units_total: int) -> tuple[Piece, ...]:
        units = units_total - self._units
        if units < 0:
            raise Unavailable(
                f"the engine reports {units_total} tokens after {self._units} were counted"
            )
        if units_total > self._max:
            raise Unavailable(f"the engine made {units_total} tokens, {self._max} were asked for")
        if not text and not units:
            return ()
        self._units = units_total
        return (Piece(text, units),)

    def _end(self) -> Finished:
        if not self._has_usage:
            raise Unavailable("the engine ended its answer without its usage")
        if self._finish is None:
            raise Unavailable("the engine ended its answer without a reason")
        return Finished(
            finish=self._finish,
            input_units=self._input_units,
            cached_units=min(self._cached_units, self._input_units),
            output_units=self._units,
        )


def usage_of_probe(events: list[bytes]) -> int:
    """Input tokens as the usage in these events tells them.

    Raises:
        Unavailable: No usage is among them, or an error is.
    """
    for event in events:
        if event == DONE:
            continue
        try:
            chunk = _chunks.decode(event)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unavailable(f"the engine's answer is no completion: {error}") from error
        if chunk.error is not None:
            said = chunk.error if isinstance(chunk.error, str) else chunk.error.message
            raise UserError(f"the engine refuses the input: {said}")
        if chunk.usage is not None and chunk.usage.prompt_tokens:
            return chunk.usage.prompt_tokens
    raise Unavailable("the engine does not report its usage, so nothing can be billed by it")
