"""The questions that a client takes, one method a kind of work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from rowen.client.answer import Answer
from rowen.client.items import ItemsAnswer
from rowen.client.parts import Request
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.jobs import (
    ITEMS_MAX,
    ChatInput,
    CompletionInput,
    EmbeddingsInput,
    JobInput,
    Kind,
    Message,
    OcrInput,
)
from rowen.protocol.messages import INPUT_BYTES_MAX, decode_input, encode_input
from rowen.protocol.units import ITEM_ENDS
from rowen.protocol.vectors import Vector, read_vector
from rowen_scheduler.selection import Preferences, Sort

UNITS_MAX = 2**32 - 1
PAGES_BYTES_MAX = INPUT_BYTES_MAX - 1_000
"""What fits one message beside lengths and names."""


class Asking(ABC):
    """What can be asked for."""

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """Buys the answer to a request."""

    def chat(
        self,
        messages: Iterable[Message] | str,
        *,
        model: str,
        max_cost: int,
        max_output: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        price_input_max: int | None = None,
        price_output_max: int | None = None,
        providers: Iterable[bytes] = (),
        sort: Sort = Sort.PRICE,
    ) -> Answer:
        """Asks for an answer; iterate over it inside ``async with`` for its text.

        Args:
            messages: The conversation, or one user message.
            model: Name in the offers; ``model:precision`` for one precision.
            max_cost: The whole answer never costs more, token units; signed into every order.
            max_output: Longest answer, output units.
            temperature: 0 for greedy.
            top_p: Nucleus cut.
            seed: Of the sampler.
            stop: Texts that end the answer.
            price_input_max: Cap on the price per million input units.
            price_output_max: Cap on the price per million output units.
            providers: Addresses to choose from; empty for all.
            sort: What counts most in choosing.

        Raises:
            UserError: The request itself is malformed.
        """
        turns = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        if not turns:
            raise UserError("a conversation needs at least one message")
        preferences = Preferences(
            model=model,
            kind=Kind.CHAT,
            price_input_max=price_input_max,
            price_output_max=price_output_max,
            only=frozenset(providers),
            sort=sort,
        )
        job_input = ChatInput(turns, temperature, top_p, seed, _stops(stop))
        return self.answer(_request(job_input, preferences, max_cost, max_output))

    def complete(
        self,
        prompt: str,
        *,
        model: str,
        max_cost: int,
        max_output: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        price_input_max: int | None = None,
        price_output_max: int | None = None,
        providers: Iterable[bytes] = (),
        sort: Sort = Sort.PRICE,
    ) -> Answer:
        """Has a text gone on with, as it is; no chat template is put around it.

        Args:
            prompt: The text.
            model: As for ``chat``, and so are the others.
            max_cost: For the whole answer, token units.
            max_output: Longest answer, output units.
            temperature: 0 for greedy.
            top_p: Nucleus cut.
            seed: Of the sampler.
            stop: Texts that end the answer.
            price_input_max: Cap on the price per million input units.
            price_output_max: Cap on the price per million output units.
            providers: Addresses to choose from; empty for all.
            sort: What counts most in choosing.

        Raises:
            UserError: The request itself is malformed.
        """
        if not prompt:
            raise UserError("there is no text to go on with")
        preferences = Preferences(
            model=model,
            kind=Kind.COMPLETION,
            price_input_max=price_input_max,
            price_output_max=price_output_max,
            only=frozenset(providers),
            sort=sort,
        )
        job_input = CompletionInput(prompt, temperature, top_p, seed, _stops(stop))
        return self.answer(_request(job_input, preferences, max_cost, max_output))

    def embed(
        self,
        texts: Iterable[str],
        *,
        model: str,
        max_cost: int,
        price_input_max: int | None = None,
        price_output_max: int | None = None,
        providers: Iterable[bytes] = (),
        sort: Sort = Sort.PRICE,
    ) -> ItemsAnswer[Vector]:
        """Has texts turned into vectors; iterate inside ``async with``, or ``read`` them all.

        Args:
            texts: At most 64.
            model: As for ``chat``, and so are the others.
            max_cost: For all of them, token units.
            price_input_max: Cap on the price per million input units.
            price_output_max: Cap on the price per million numbers.
            providers: Addresses to choose from; empty for all.
            sort: What counts most in choosing.

        Raises:
            UserError: The request itself is malformed.
        """
        asked = (texts,) if isinstance(texts, str) else tuple(texts)
        if not 1 <= len(asked) <= ITEMS_MAX:
            raise UserError(f"{len(asked)} texts: a request takes 1 to {ITEMS_MAX}")
        preferences = Preferences(
            model=model,
            kind=Kind.EMBEDDINGS,
            price_input_max=price_input_max,
            price_output_max=price_output_max,
            only=frozenset(providers),
            sort=sort,
        )
        request = _request(EmbeddingsInput(asked), preferences, max_cost, UNITS_MAX)
        ending = ITEM_ENDS[Kind.EMBEDDINGS]
        return ItemsAnswer(self.answer(request), ending, _same_length(), len(asked))

    def ocr(
        self,
        pages: Iterable[bytes],
        *,
        model: str,
        max_cost: int,
        price_input_max: int | None = None,
        price_output_max: int | None = None,
        providers: Iterable[bytes] = (),
        sort: Sort = Sort.PRICE,
    ) -> ItemsAnswer[str]:
        """Has pages read; iterate inside ``async with``, or ``read`` them all.

        Args:
            pages: Pictures, PNG or JPEG, at most 64 and a megabyte together.
            model: As for ``chat``, and so are the others.
            max_cost: For all of them, token units.
            price_input_max: Cap on the price per million pages.
            price_output_max: Cap on the price per million characters.
            providers: Addresses to choose from; empty for all.
            sort: What counts most in choosing.

        Raises:
            UserError: The request itself is malformed.
        """
        asked = tuple(pages)
        size = sum(map(len, asked))
        if not 1 <= len(asked) <= ITEMS_MAX or size > PAGES_BYTES_MAX:
            raise UserError(
                f"{len(asked)} pages of {size:,} bytes together: a request takes 1 to {ITEMS_MAX}, "
                f"and {PAGES_BYTES_MAX:,} bytes; send fewer at a time, or smaller ones"
            )
        preferences = Preferences(
            model=model,
            kind=Kind.OCR,
            price_input_max=price_input_max,
            price_output_max=price_output_max,
            only=frozenset(providers),
            sort=sort,
        )
        request = _request(OcrInput(asked), preferences, max_cost, UNITS_MAX)
        return ItemsAnswer(self.answer(request), ITEM_ENDS[Kind.OCR], _text_of_page, len(asked))


def _text_of_page(text: str) -> str:
    return text


def _same_length() -> Callable[[str], Vector]:
    """Reads vectors that can be compared with each other."""
    lengths: set[int] = set()

    def read(line: str) -> Vector:
        vector = read_vector(line)
        lengths.add(len(vector))
        if len(lengths) > 1:
            raise PeerError(f"vectors of different lengths: {sorted(lengths)}")
        return vector

    return read


def _stops(stop: Sequence[str]) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _request(
    job_input: JobInput, preferences: Preferences, max_cost: int, max_output: int
) -> Request:
    if max_output < 1:
        raise UserError("max_output must be at least 1")
    if max_cost < 1:
        raise UserError("max_cost must be at least one token unit, $0.000001")
    # Before anything is signed or kept: no provider could read what is out of bounds.
    return Request(decode_input(encode_input(job_input)), preferences, max_cost, max_output)
