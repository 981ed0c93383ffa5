"""Answers a list of items one by one, for engines that do not stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from rowen.engine.base import Finished, Piece
from rowen.protocol.jobs import Finish

T = TypeVar("T")


class ItemByItem(Generic[T]):
    """The pieces of one job, a piece for each item, made when they are asked for.

    Args:
        items: In order.
        answer: Makes the piece of one.
        output_units_max: The item that would pass it is not told, and ends the job as ``LENGTH``.
    """

    def __init__(
        self,
        items: Sequence[T],
        answer: Callable[[T], Awaitable[Piece]],
        output_units_max: int,
    ) -> None:
        self._items = items
        self._answer = answer
        self._max = output_units_max
        self._at = 0
        self._input_units = 0
        self._output_units = 0
        self._is_over = False

    def __aiter__(self) -> ItemByItem[T]:
        return self

    async def __anext__(self) -> Piece | Finished:
        if self._is_over:
            raise StopAsyncIteration
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._at == len(self._items):
            return self._end(Finish.STOP)
        piece = await self._answer(self._items[self._at])
        if self._output_units + piece.units > self._max:
            return self._end(Finish.LENGTH)
        self._at += 1
        self._input_units += piece.input_units
        self._output_units += piece.units
        return piece

    def _end(self, finish: Finish) -> Finished:
        self._is_over = True
        return Finished(finish, self._input_units, 0, self._output_units)
