"""Carries the output of one generation from the engine's thread to the trio task that reads it.

A memory channel would cost a thread-to-trio round trip per token. Here the thread appends to a
deque and wakes trio only when the reader sleeps, so a reader that lags finds many items at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from rowen.engine.base import Finished, Piece
from rowen.protocol.errors import Unavailable

Item = Piece | Finished

JOINED_MAX = 8 * 1024
"""Characters of waiting output that are read at once."""

_END = object()


class Handoff:
    """One writer in a thread, one reader in trio.

    The backlog needs no bound of its own: every item but the last two stands for at least one
    unit, and the engine samples at most ``output_units_max`` of them, whether or not anyone
    reads. What waits here would otherwise wait, larger, in the engine's own queue.
    """

    def __init__(self) -> None:
        self._items: deque[Item | BaseException | object] = deque()
        self._trio = trio.lowlevel.current_trio_token()
        self._is_reader_asleep = False
        self._is_over = False
        self._changed = trio.Event()
        self.is_cancelled = False

    # In the engine's thread

    def put(self, items: tuple[Item, ...]) -> None:
        """Hands over items, in order."""
        if items:
            self._items.extend(items)
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Makes the reader raise ``error`` after all items before it."""
        self._items.append(error)
        self._wake()

    def end(self, after: Callable[[], None]) -> None:
        """Says that nothing follows, and has trio call ``after``."""
        self._items.append(_END)
        self._wake()
        self._call_in_trio(after)

    def _wake(self) -> None:
        # The item is appended before this flag is read, and the reader looks for items after it
        # set the flag, so at least one of the two sees the other.
        if self._is_reader_asleep:
            self._call_in_trio(self._notify)

    def _call_in_trio(self, function: Callable[[], None]) -> None:
        try:
            self._trio.run_sync_soon(function)
        except trio.RunFinishedError:
            # The program ended while an abandoned generation was still busy: nobody listens.
            return

    # In trio

    def _notify(self) -> None:
        self._changed.set()

    def __aiter__(self) -> Handoff:
        return self

    async def __anext__(self) -> Item:
        if self._is_over:
            raise StopAsyncIteration
        await trio.lowlevel.checkpoint_if_cancelled()
        item = await self._take()
        if isinstance(item, Piece):
            return self._joined(item)
        self._is_over = True
        if isinstance(item, Finished):
            return item
        if isinstance(item, BaseException):
            raise item
        raise Unavailable("the engine ended its answer without saying why")

    def _joined(self, piece: Piece) -> Piece:
        """The piece with those that wait behind it, so that a reader that lags catches up."""
        texts, units, size = [piece.text], piece.units, len(piece.text)
        while self._items and size < JOINED_MAX:
            following = self._items[0]
            if not isinstance(following, Piece):
                break
            self._items.popleft()
            texts.append(following.text)
            units += following.units
            size += len(following.text)
        return Piece("".join(texts), units) if len(texts) > 1 else piece

    async def _take(self) -> Item | BaseException | object:
        while not self._items:
            self._changed = trio.Event()
            self._is_reader_asleep = True
            try:
                if not self._items:
                    await self._changed.wait()
            finally:
                self._is_reader_asleep = False
        return self._items.popleft()
