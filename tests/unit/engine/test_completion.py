"""What llama.cpp is asked and how its answers are read."""

from __future__ import annotations

import json

import pytest

from rowen.engine.base import Finished, Piece
from rowen.engine.completion import (
    CompletionReader,
    completion_request,
    refusal_text,
    split_continuation,
)
from rowen.protocol.errors import Unavailable
from rowen.protocol.jobs import ChatInput, Finish, Message

USER = Message(role="user", content="Name a fruit.")


def chunk(text: str = "", units: int | None = None, **extra: object) -> bytes:
    """One step of a stream; ``units`` is the running count."""
    message: dict[str, object] = {"choices": [{"text": text, "index": 0, "finish_reason": None}]}
    if units is not None:
        message["timings"] = {"predicted_n": units, "predicted_ms": 1.5}
    return json.dumps(message | extra).encode()


def last(units: int, finish: str = "stop", text: str = "") -> bytes:
    """The final step of a stream."""
    return json.dumps(
        {
            "choices": [{"text": text, "index": 0, "finish_reason": finish}],
            "usage": {
                "completion_tokens": units,
                "prompt_tokens": 34,
                "prompt_tokens_details": {"cached_tokens": 33},
            },
        }
    ).encode()


def test_a_piece_counts_every_token_since_the_one_before() -> None:
    """The bytes of one character may take several tokens, which come as one piece."""
    reader = CompletionReader()
    assert reader.read(chunk(" A", 1)) == (Piece(" A", 1),)
    assert reader.read(chunk(" 🦄", 4)) == (Piece(" 🦄", 3),)


def test_progress_is_no_piece() -> None:
    reader = CompletionReader()
    progress = {"total": 34, "cache": 0, "processed": 0, "time_ms": 0}
    assert reader.read(chunk("", 0, prompt_progress=progress)) == ()


def test_tokens_without_text_are_counted_at_the_end() -> None:
    """The end-of-turn token is sampled and paid for."""
    reader = CompletionReader()
    reader.read(chunk("Plum", 1))
    assert reader.read(last(2)) == (Piece("", 1), Finished(Finish.STOP, 34, 33, 2))


def test_a_full_answer_ends_without_an_empty_piece() -> None:
    reader = CompletionReader()
    reader.read(chunk("Plum", 1))
    assert reader.read(last(1, "length")) == (Finished(Finish.LENGTH, 34, 33, 1),)


def test_text_held_back_comes_with_the_end() -> None:
    """llama.cpp keeps text that may become a stop text until it knows."""
    assert CompletionReader().read(last(2, "length", "Plum")) == (
        Piece("Plum", 2),
        Finished(Finish.LENGTH, 34, 33, 2),
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b'{"error":{"code":500,"message":"out of memory"}}', "out of memory"),
        (b"<html>", "no completion"),
        (b'{"choices":7}', "no completion"),
        (last(3, "tool_calls"), "tool_calls"),
    ],
)
def test_an_answer_we_cannot_bill_is_a_failure(answer: bytes, told: str) -> None:
    with pytest.raises(Unavailable, match=told):
        CompletionReader().read(answer)


def test_a_count_that_falls_is_a_failure() -> None:
    reader = CompletionReader()
    reader.read(chunk("Plum and more", 3))
    with pytest.raises(Unavailable, match="fell from 3 to 2"):
        reader.read(chunk("", 2))


def test_only_the_samplers_the_client_asked_for_are_used() -> None:
    """llama.cpp's defaults cut to 40 tokens and to 5 % of the likeliest: nobody ordered that."""
    job = ChatInput(messages=(USER,), temperature=0.5, top_p=0.75, seed=7, stop=("x",))
    request = json.loads(completion_request([1, 2], job, 9, slot=1, may_reuse=False))
    assert request == {
        "prompt": [1, 2],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.75,
        "top_k": 0,
        "min_p": 0.0,
        "seed": 7,
        "stop": ["x"],
        "stream": True,
        "id_slot": 1,
        "cache_prompt": False,
        "timings_per_token": True,
        "return_progress": True,
    }


def test_an_answer_already_begun_is_not_a_turn() -> None:
    begun = Message(role="assistant", content="A pl")
    assert split_continuation((USER, begun)) == ((USER,), "A pl")
    assert split_continuation((USER, begun, USER)) == ((USER, begun, USER), "")


def test_a_refusal_is_quoted_or_cut_short() -> None:
    assert refusal_text(b'{"error":{"message":"no such token"}}') == "no such token"
    assert refusal_text(b"<" * 999) == "<" * 200
