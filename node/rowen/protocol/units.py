"""What a unit of each kind is, and how many of them a client believes.

A provider's counts stand on its receipts. What they can be follows from what the client sent and
what it received: this is the only place where that differs from kind to kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from itertools import accumulate
from typing import Final

import msgspec

from rowen.protocol.errors import PeerError
from rowen.protocol.jobs import (
    ChatInput,
    CompletionInput,
    EmbeddingsInput,
    JobInput,
    Kind,
    OcrInput,
)

# Tokens a chat template may add around each message and around the whole; so may a tokenizer
# around each text.
TEMPLATE_UNITS_PER_MESSAGE = 16
TEMPLATE_UNITS = 64
# An end-of-turn token has no text, and a token may wait for the rest of its character.
SILENT_UNITS = 4
# No vocabulary in use has a longer token; most are below 130 bytes.
UNIT_BYTES_MAX = 512
# IEEE 754 binary32 in hexadecimal.
NUMBER_DIGITS = 8

ITEM_ENDS: Final[Mapping[Kind, str]] = {Kind.EMBEDDINGS: "\n", Kind.OCR: "\f"}
"""What ends an item's output, for the kinds whose input is a list that is answered one by one."""

_DIGITS = frozenset("0123456789abcdef\n")


class Signs(Enum):
    """What is counted of an output to see how many units it can have."""

    BYTES = "bytes"
    DIGITS = "digits"
    CHARACTERS = "characters"


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """How many units a client believes.

    Attributes:
        input_units_max: Most input units, by the items answered: the first for none, the next for
            one, and so on; the last for all. A job that is read as a whole has one number.
        silent_units_max: Output units that may stand for nothing that is shown.
        signs: What output units are made of.
        item_end: What ends an item's output; empty where the job is answered as a whole.
    """

    input_units_max: tuple[int, ...]
    silent_units_max: int = SILENT_UNITS
    signs: Signs = Signs.BYTES
    item_end: str = ""

    @property
    def is_by_item(self) -> bool:
        """Whether input is read, and billed, as its items are answered."""
        return bool(self.item_end)

    def signs_in(self, text: str) -> int:
        """How much of what units are made of is in a piece of output.

        Raises:
            PeerError: It holds what no output of this kind can.
        """
        if self.signs is Signs.BYTES:
            return len(text.encode())
        if self.signs is Signs.CHARACTERS:
            return len(text)
        if not _DIGITS.issuperset(text):
            raise PeerError("output has characters that are in no vector")
        return len(text) - text.count(self.item_end)

    def input_units_at_most(self, ends: int, signs: int) -> int:
        """Most input units when so much was received.

        Args:
            ends: Of items.
            signs: Of all output.
        """
        if not self.is_by_item:
            return self.input_units_max[-1]
        # An end without anything before it answers nothing.
        answered = min(ends, self._whole(signs), len(self.input_units_max) - 1)
        return self.input_units_max[answered]

    def output_units_at_most(self, signs: int) -> int:
        """Most output units when so much was received."""
        return self._whole(signs) + self.silent_units_max

    def _whole(self, signs: int) -> int:
        return signs // NUMBER_DIGITS if self.signs is Signs.DIGITS else signs


def allowance_of(job_input: JobInput) -> Allowance:
    """What is believed of a job: more than any byte-level tokenizer and template make of its input.

    A token stands for at least one byte, except those of templates and those that a tokenizer puts
    around every text. Of a stop text that ends an answer, the tokens are sampled and not shown.
    """
    match job_input:
        case ChatInput(messages=messages, stop=stop):
            content = sum(len(message.content.encode()) for message in messages)
            most = content + TEMPLATE_UNITS_PER_MESSAGE * len(messages) + TEMPLATE_UNITS
            return Allowance(input_units_max=(most,), silent_units_max=_silent(stop))
        case CompletionInput(prompt=prompt, stop=stop):
            most = len(prompt.encode()) + TEMPLATE_UNITS
            return Allowance(input_units_max=(most,), silent_units_max=_silent(stop))
        case EmbeddingsInput(texts=texts):
            each = (len(text.encode()) + TEMPLATE_UNITS_PER_MESSAGE for text in texts)
            return Allowance(
                input_units_max=tuple(accumulate(each, initial=0)),
                silent_units_max=0,
                signs=Signs.DIGITS,
                item_end=ITEM_ENDS[Kind.EMBEDDINGS],
            )
        case OcrInput(pages=pages):
            return Allowance(
                input_units_max=tuple(range(len(pages) + 1)),
                silent_units_max=0,
                signs=Signs.CHARACTERS,
                item_end=ITEM_ENDS[Kind.OCR],
            )


def input_units_least(job_input: JobInput) -> int:
    """Fewer than this no engine makes of an input."""
    match job_input:
        case ChatInput(messages=messages):
            return len(messages)
        case CompletionInput():
            return 1
        case EmbeddingsInput(texts=texts):
            return len(texts)
        case OcrInput(pages=pages):
            return len(pages)


def _silent(stop: tuple[str, ...]) -> int:
    return SILENT_UNITS + max((len(text.encode()) for text in stop), default=0)
