"""What is left to ask for when a provider stopped before the end.

A text is gone on with where it broke off. A list is answered item by item, each by one provider:
what the last one began is asked for again.
"""

from __future__ import annotations

from msgspec.structs import replace

from rowen.protocol.jobs import (
    CompletionInput,
    EmbeddingsInput,
    JobInput,
    Message,
    OcrInput,
    kind_of,
)
from rowen.protocol.units import ITEM_ENDS, input_units_least


def is_list(job_input: JobInput) -> bool:
    """Whether it is answered item by item."""
    return kind_of(job_input) in ITEM_ENDS


def whole_items(job_input: JobInput, text: str) -> str:
    """The answer of a list up to the end of its last whole item."""
    return text[: text.rfind(ITEM_ENDS[kind_of(job_input)]) + 1]


def items_left(job_input: JobInput, text: str) -> int:
    """Of a list, how many are not answered in the text; else 1."""
    if not is_list(job_input):
        return 1
    return input_units_least(job_input) - _answered(job_input, text)


def remainder(job_input: JobInput, text: str) -> JobInput:
    """The input that makes another provider go on after this text."""
    if not text:
        return job_input
    if isinstance(job_input, CompletionInput):
        return replace(job_input, prompt=job_input.prompt + text)
    if isinstance(job_input, EmbeddingsInput):
        return replace(job_input, texts=job_input.texts[_answered(job_input, text) :])
    if isinstance(job_input, OcrInput):
        return replace(job_input, pages=job_input.pages[_answered(job_input, text) :])
    turns = job_input.messages
    if turns[-1].role == "assistant":
        return replace(
            job_input, messages=(*turns[:-1], Message("assistant", turns[-1].content + text))
        )
    return replace(job_input, messages=(*turns, Message("assistant", text)))


def _answered(job_input: JobInput, text: str) -> int:
    return text.count(ITEM_ENDS[kind_of(job_input)])
