"""An answer that is a list: vectors of texts, read as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from rowen.client.answer import Answer
from rowen.client.parts import Part
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.jobs import Finish
from rowen.protocol.statements import Receipt

T = TypeVar("T")


class ItemsAnswer(Generic[T]):
    """An answer whose items are told one by one, in the order they were asked in.

    ``async with client.embed(…) as answer: async for vector in answer: …``. Leaving the block
    early cancels the job and pays for what was delivered.

    Args:
        answer: What is bought.
        ending: What ends an item in its text.
        read: Makes an item of its text, without the end.
        count: How many were asked for.
    """

    def __init__(self, answer: Answer, ending: str, read: Callable[[str], T], count: int) -> None:
        self.answer = answer
        self._ending = ending
        self._read = read
        self._count = count
        self._texts = aiter(answer)
        self._begun = ""
        self._part: Part | None = None
        self._told = 0
        self._waiting: deque[T] = deque()

    @property
    def cost(self) -> int:
        """Paid so far, token units."""
        return self.answer.cost

    @property
    def finish(self) -> Finish | None:
        """Why it ended; None while it runs."""
        return self.answer.finish

    @property
    def receipt(self) -> Receipt | None:
        """The last receipt."""
        return self.answer.receipt

    @property
    def parts(self) -> list[Part]:
        """Who contributed what, in order."""
        return self.answer.parts

    async def read(self) -> list[T]:
        """Waits for the end and returns all items that were not told yet.

        Raises:
            UserError: The sum was too small for all of them; what came was paid for.
        """
        items = [item async for item in self]
        self.check_all()
        return items

    def check_all(self) -> None:
        """After the end: whether every item was answered.

        Raises:
            UserError: The sum was too small for all of them; what came was paid for.
        """
        if self._told < self._count and self.finish is Finish.LENGTH:
            raise UserError(
                f"{self._told} of {self._count} items were answered within max_cost: raise it"
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.answer.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._waiting:
            self._take(await anext(self._texts))
        self._told += 1
        return self._waiting.popleft()

    def _take(self, text: str) -> None:
        if self.parts[-1] is not self._part:
            # Another provider begins with an item; what its forerunner began is lost.
            self._begun, self._part = "", self.parts[-1]
        *items, self._begun = (self._begun + text).split(self._ending)
        if self._told + len(self._waiting) + len(items) > self._count:
            raise PeerError(f"the provider answers more items than the {self._count} asked for")
        self._waiting.extend(map(self._read, items))
