"""What every engine offers the provider, whatever runs behind it.

An engine turns one job input into pieces of text with unit counts. It knows nothing of
peers, prices or receipts.

Its life: it is ready until ``release`` or ``stop`` takes the GPU's memory from it, and ready
again after ``wake``. An engine may also fall silent by itself; ``is_ready`` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from rowen.protocol.jobs import Finish, JobInput, Kind


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of output: what the engine made since the last one was read, joined.

    Attributes:
        text: Whole characters only; may be empty while units rise (a token inside a
            multi-byte character, or an end-of-turn token).
        units: Output units this piece stands for, ≥ 0. Σ units over a job is its output count.
        input_units: Of the item that it answers, where input is read item by item; then a piece
            is the whole output of one item. Else 0.
    """

    text: str
    units: int
    input_units: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The last item of every generation that was not cancelled and did not fail.

    Attributes:
        finish: ``STOP`` or ``LENGTH``.
        input_units: Tokens of the rendered prompt.
        cached_units: Of these, tokens served from the engine's prefix cache.
        output_units: Equals the sum of the pieces' units.
    """

    finish: Finish
    input_units: int
    cached_units: int
    output_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What the engine runs; it goes into the offer.

    Attributes:
        model: Name a client asks for, such as ``smollm2-135m-instruct``.
        precision: Quantisation in the field's words, such as ``q4_1``.
        weights_digest: SHA-256 of the weight file, 32 bytes.
        build: Engine and version, such as ``llama.cpp 11549``.
        context_units: Largest input + output, in tokens.
        concurrency: Jobs served at the same time; more wait in the engine's queue.
        kinds: What it can do, in alphabetical order.
        item_units_max: Most output units of one item, where input is read item by item; else 0.
    """

    model: str
    precision: str
    weights_digest: bytes
    build: str
    context_units: int
    concurrency: int
    kinds: tuple[Kind, ...]
    item_units_max: int = 0


class Engine(Protocol):
    """One loaded model."""

    @property
    def info(self) -> EngineInfo:
        """What runs here."""

    @property
    def is_ready(self) -> bool:
        """Whether a job given now would be served: loaded, awake, and not known to be down."""

    async def count_input(self, job: JobInput, *, tenant: bytes = b"") -> int:
        """Tokens of the prompt as the engine will render it, without generating.

        Where input is read item by item, fewer will do: how many each item has is told with its
        output.

        Args:
            job: What will be generated next.
            tenant: As for ``generate``.

        Raises:
            UserError: The input cannot be rendered.
            Unavailable: The engine does not answer.
        """

    def generate(
        self, job: JobInput, output_units_max: int, *, tenant: bytes = b""
    ) -> AbstractAsyncContextManager[AsyncIterator[Piece | Finished]]:
        """Starts the job; iterate for its pieces, ``Finished`` comes last.

        Leaving the context cancels the work in the engine within a second. A slow consumer
        holds back at most a bounded number of pieces: the engine does not wait for it, but
        never works past ``output_units_max``, nor past the room its context has left, which
        finishes as ``LENGTH``. Items are answered whole or not at all.

        Args:
            job: What to continue.
            output_units_max: Most tokens to produce, ≥ 1.
            tenant: Whose job it is. What an engine remembers of one tenant's input never speeds
                up another's, or the time of an answer would tell what others asked.

        Raises:
            UserError: On entering: the input cannot be rendered, or leaves no room for output.
            Unavailable: The engine is not ready, failed or died, at any point of the iteration.
        """

    async def release(self) -> bool:
        """Gives the GPU's memory back in the way that makes ``wake`` quickest.

        The caller has ended the jobs. Calling it again changes nothing.

        Returns:
            Whether the memory is free now; False when the engine has no such way, or failed
            at it: then only ``stop`` helps.
        """

    async def stop(self) -> bool:
        """Ends what holds the memory, whatever it is doing. Calling it again changes nothing.

        Returns:
            Whether nothing of it is left; False when the engine is not ours to end.
        """

    async def wake(self) -> None:
        """Makes it ready again after ``release`` or ``stop``; a ready engine stays as it is.

        Raises:
            Unavailable: It did not come back; asking again may help.
            UserError: It never will as it is configured.
        """
