"""What a running job hands to the task that reads its answer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import trio

from rowen.protocol.jobs import Finish
from rowen.protocol.messages import Signed
from rowen.protocol.statements import Receipt


@dataclass(frozen=True, slots=True)
class Text:
    """Some of the answer."""

    text: str
    units: int


@dataclass(frozen=True, slots=True)
class Started:
    """The provider runs the job."""

    input_units: int


@dataclass(frozen=True, slots=True)
class Billed:
    """A receipt that was checked and paid for."""

    receipt: Receipt
    signed: Signed


@dataclass(frozen=True, slots=True)
class Over:
    """The job's last word.

    Attributes:
        finish: Why.
        detail: More about that.
    """

    finish: Finish
    detail: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot go on here; another provider may continue it.

    Attributes:
        error: Why.
        is_settled: Whether its provider can bill nothing more for it.
    """

    error: Exception
    is_settled: bool = False


Item = Text | Started | Billed | Over | Failed


class Inbox:
    """One writer, one reader, no bound of its own.

    A provider sends no more than the order allows, and no more than its credit line ahead of
    our vouchers.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._reader = trio.lowlevel.ParkingLot()

    def put(self, item: Item) -> None:
        """Adds an item and wakes the reader."""
        self._items.append(item)
        self._reader.unpark()

    async def get(self) -> Item:
        """The oldest item; waits for one. Cancellation loses nothing."""
        while not self._items:
            await self._reader.park()
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._items.popleft()
