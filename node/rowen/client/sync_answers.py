"""Answers for programs without trio: what the blocking client hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from rowen.client.answer import Answer
from rowen.client.items import ItemsAnswer
from rowen.client.parts import Part
from rowen.protocol.jobs import Finish
from rowen.protocol.statements import Receipt

T = TypeVar("T")


class _SyncBase:
    """What any answer tells to programs without trio."""

    def __init__(self, answer: Answer, call: Callable[..., Any]) -> None:
        self._answer = answer
        self._call = call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancels what is still running; what came in is paid for."""
        if self._answer.is_running:
            self._call(self._answer.cancel)

    @property
    def cost(self) -> int:
        """Paid so far, token units."""
        return self._answer.cost

    @property
    def finish(self) -> Finish | None:
        """Why it ended; None while it runs."""
        return self._answer.finish

    @property
    def receipt(self) -> Receipt | None:
        """The last receipt."""
        return self._answer.receipt

    @property
    def parts(self) -> list[Part]:
        """Who contributed what."""
        return self._answer.parts


class SyncItemsAnswer(_SyncBase, Generic[T]):
    """``ItemsAnswer`` for programs without trio; see ``SyncAnswer``."""

    def __init__(self, items: ItemsAnswer[T], call: Callable[..., Any]) -> None:
        super().__init__(items.answer, call)
        self._items = items

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                yield self._call(self._items.__anext__)
            except StopAsyncIteration:
                return

    def read(self) -> list[T]:
        """Waits for the end and returns all items that were not told yet.

        Raises:
            UserError: The sum was too small for all of them; what came was paid for.
        """
        items: list[T] = self._call(self._items.read)
        return items


class SyncAnswer(_SyncBase):
    """``Answer`` for programs without trio. Leaving ``with``, or ``close``, cancels the rest."""

    def __iter__(self) -> Iterator[str]:
        texts = aiter(self._answer)
        while True:
            try:
                yield self._call(texts.__anext__)
            except StopAsyncIteration:
                return

    def read(self) -> str:
        """Waits for the end and returns the whole text."""
        for _ in self:
            pass
        return self.text

    @property
    def text(self) -> str:
        """Everything received so far."""
        return self._answer.text
