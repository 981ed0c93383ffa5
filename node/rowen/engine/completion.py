"""What is said to llama.cpp and what it answers: encoding, decoding and counting, no I/O.

llama.cpp streams one JSON object per step. ``timings.predicted_n`` is the running count of
sampled tokens, the only field that counts the tokens which carry no text of their own: the
first bytes of a multi-byte character, the tokens of a stop string, the end-of-turn token.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rowen.engine.base import Finished, Piece
from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import Finish, Message, TextInput


class _Completion(msgspec.Struct, frozen=True):
    """A request to continue a prompt of tokens, in the words of llama.cpp's server."""

    prompt: Sequence[int]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: tuple[str, ...]
    id_slot: int
    cache_prompt: bool
    # llama.cpp would otherwise add samplers that the client never asked for.
    top_k: int = 0
    min_p: float = 0.0
    stream: bool = True
    timings_per_token: bool = True
    # A sign of life per prefill batch: the only moments at which a long prefill can be cancelled.
    return_progress: bool = True


class _Choice(msgspec.Struct, frozen=True):
    text: str = ""
    finish_reason: str | None = None


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int = 0


class _Usage(msgspec.Struct, frozen=True):
    completion_tokens: int
    prompt_tokens: int
    prompt_tokens_details: _Details = _Details()


class _Timings(msgspec.Struct, frozen=True):
    predicted_n: int = 0


class _Error(msgspec.Struct, frozen=True):
    message: str = "no reason given"


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: _Error | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error


_encoder = msgspec.json.Encoder()
_chunks = msgspec.json.Decoder(_Chunk)
_refusals = msgspec.json.Decoder(_Refusal)

_FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH}


def completion_request(
    tokens: Sequence[int], job: TextInput, output_units_max: int, *, slot: int, may_reuse: bool
) -> bytes:
    """Encodes a streaming completion of ``tokens``.

    Args:
        tokens: The rendered input.
        job: Its samplers.
        output_units_max: Most tokens to sample.
        slot: Where llama.cpp is to work; its choice would go by what other inputs were like.
        may_reuse: Whether what the slot remembers may save reading the input's beginning.
    """
    return _encoder.encode(
        _Completion(
            prompt=tokens,
            max_tokens=output_units_max,
            temperature=job.temperature,
            top_p=job.top_p,
            seed=job.seed,
            stop=job.stop,
            id_slot=slot,
            cache_prompt=may_reuse,
        )
    )


def split_continuation(messages: Sequence[Message]) -> tuple[Sequence[Message], str]:
    """Separates the turns to render from the unfinished answer that follows them.

    llama.cpp has a prefill of its own, but it drops an unfinished answer that is empty or ends
    in white space, so the text is put after the rendered prompt by us.

    Returns:
        The complete turns, and the text the answer begins with; empty for a new answer.
    """
    last = messages[-1]
    if last.role == "assistant":
        return messages[:-1], last.content
    return messages, ""


def refusal_text(body: bytes) -> str:
    """The reason in an error answer of llama.cpp, or the body's beginning if it has none."""
    try:
        return _refusals.decode(body).error.message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return body[:200].decode(errors="replace")


class CompletionReader:
    """Turns the chunks of one completion into pieces with exact counts."""

    def __init__(self) -> None:
        self._units = 0

    def read(self, chunk: bytes) -> tuple[Piece | Finished, ...]:
        """Reads one chunk; the last one gives ``Finished`` after the units not told before.

        Raises:
            Unavailable: The engine reports an error, or speaks a language we do not know.
        """
        try:
            message = _chunks.decode(chunk)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unavailable(f"the engine sent a chunk that is no completion: {error}") from error
        if message.error is not None:
            raise Unavailable(f"the engine failed: {message.error.message}")
        text = "".join(choice.text for choice in message.choices)
        if message.usage is not None:
            return (*self._advance(text, message.usage.completion_tokens), self._end(message))
        # A chunk of prefill progress has neither text nor units, and so gives no piece.
        return self._advance(text, message.timings.predicted_n if message.timings else self._units)

    def _advance(self, text: str, units_total: int) -> tuple[Piece, ...]:
        units = units_total - self._units
        if units < 0:
            raise Unavailable(f"the engine's count fell from {self._units} to {units_total}")
        if not text and not units:
            return ()
        self._units = units_total
        return (Piece(text, units),)

    def _end(self, last: _Chunk) -> Finished:
        assert last.usage is not None
        reason = next((c.finish_reason for c in last.choices if c.finish_reason), None)
        finish = _FINISH.get(reason or "")
        if finish is None:
            raise Unavailable(f"the engine ended for an unknown reason: {reason!r}")
        return Finished(
            finish=finish,
            input_units=last.usage.prompt_tokens,
            cached_units=last.usage.prompt_tokens_details.cached_tokens,
            output_units=last.usage.completion_tokens,
        )
