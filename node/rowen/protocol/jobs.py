"""What a job asks for: the inputs a provider reads and the reasons its output ends.

The encoded input is hashed into the signed order, so every parameter that changes the
answer or its price is in here and nowhere else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

MESSAGES_MAX = 256
CONTENT_BYTES_MAX = 512 * 1024
STOP_MAX = 8
ITEMS_MAX = 64
PAGE_BYTES_MAX = 1_000_000

Role = Literal["system", "user", "assistant"]

# Samplers, the same for every kind that writes text:
Temperature = Annotated[float, msgspec.Meta(ge=0.0, le=2.0)]
TopP = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 2)]
Stops = Annotated[
    tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=256)], ...],
    msgspec.Meta(max_length=STOP_MAX),
]


# A white point.
BLANK_PAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)


class Kind(StrEnum):
    """What kind of work a job is; the encoded input says it in ``t``."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDINGS = "embeddings"
    OCR = "ocr"


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: Role
    content: Annotated[str, msgspec.Meta(max_length=CONTENT_BYTES_MAX)]


class ChatInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", tag="chat"):
    """A conversation to continue.

    When the last message is the assistant's, the answer continues that very text: this is
    how a client resumes elsewhere what another provider began.

    Attributes:
        messages: The conversation, oldest first, 1 to 256 turns.
        temperature: 0 means greedy.
        top_p: Nucleus cut, in (0, 1].
        seed: Seeds the sampler; equal seeds on one build give equal answers.
        stop: Texts that end the answer, at most 8; they are not part of it.
    """

    messages: Annotated[tuple[Message, ...], msgspec.Meta(min_length=1, max_length=MESSAGES_MAX)]
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    seed: Seed = 0
    stop: Stops = ()


class CompletionInput(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", tag="completion"
):
    """A text to go on with, as it is: no template is put around it.

    Attributes:
        prompt: The text; the answer begins where it ends.
        temperature: As for ``ChatInput``, and so are the others.
        top_p: Nucleus cut.
        seed: Of the sampler.
        stop: Texts that end the answer.
    """

    prompt: Annotated[str, msgspec.Meta(min_length=1, max_length=CONTENT_BYTES_MAX)]
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    seed: Seed = 0
    stop: Stops = ()


class EmbeddingsInput(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", tag="embeddings"
):
    """Texts to turn into vectors of numbers, one for each, in their order.

    The output has a line for each text: its numbers as IEEE 754 binary32, each 8 hexadecimal
    digits, most significant first.

    Attributes:
        texts: 1 to 64.
    """

    texts: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=CONTENT_BYTES_MAX)], ...],
        msgspec.Meta(min_length=1, max_length=ITEMS_MAX),
    ]


class OcrInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", tag="ocr"):
    """Pictures of pages to read, in their order.

    The output has the text of each page, its lines parted by line feeds, and a form feed after
    each page, which counts as a character.

    Attributes:
        pages: PNG or JPEG, 1 to 64. All of them fit one message.
    """

    pages: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(min_length=1, max_length=PAGE_BYTES_MAX)], ...],
        msgspec.Meta(min_length=1, max_length=ITEMS_MAX),
    ]


TextInput = ChatInput | CompletionInput
"""What is answered by text that the model writes."""

ModelInput = TextInput | EmbeddingsInput
"""What a language model does."""

JobInput = ModelInput | OcrInput


def trial_of(kind: str) -> JobInput:
    """The least work of a kind, to see whether it is done."""
    match kind:
        case Kind.COMPLETION:
            return CompletionInput("Ready?")
        case Kind.EMBEDDINGS:
            return EmbeddingsInput(("Ready?",))
        case Kind.OCR:
            return OcrInput((BLANK_PAGE,))
        case _:
            return ChatInput((Message("user", "Ready?"),))


def kind_of(job_input: JobInput) -> Kind:
    """The kind of work an input asks for."""
    return Kind(str(job_input.__struct_config__.tag))


class Finish(StrEnum):
    """Why an output ended, in the words OpenAI's API uses where it has one."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    FAILED = "failed"
