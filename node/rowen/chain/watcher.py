"""Follows the chain: every confirmed block once, in order, and none that could still change.

A block is shown when N others stand on top of it, and then it is final: nothing is ever taken
back. Should the chain disown a final block all the same, nothing built on it can be trusted
and following stops, with both hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import trio

from rowen.chain.base import BlockRef, Escrow
from rowen.chain.events import Event
from rowen.protocol.errors import Unavailable, UserError

STEP_BLOCKS_MAX: Final = 256
"""Blocks read at a time when catching up."""


class DeepReorg(UserError):
    """A block that was final is no longer part of the chain.

    Attributes:
        was: The block as it was when it became final.
        now: The block that stands at its height.
    """

    def __init__(self, was: BlockRef, now: BlockRef, confirmations: int) -> None:
        super().__init__(
            f"block {was.number} was final with {confirmations} confirmations as"
            f" 0x{was.hash.hex()} and is now 0x{now.hash.hex()}: stop, raise"
            " chain.confirmations, and compare the books with `rowen audit`"
        )
        self.was = was
        self.now = now


@dataclass(frozen=True, slots=True)
class Following:
    """How far the chain was followed.

    Attributes:
        final: The newest block that was shown, or the one to start above.
        confirmations: Blocks on top that make one final.
    """

    final: BlockRef
    confirmations: int


def follow(
    state: Following, blocks: Sequence[BlockRef], head: int
) -> tuple[Following, list[BlockRef]]:
    """What a look at the chain makes final.

    Args:
        state: Where following stands.
        blocks: The canonical blocks from ``state.final`` on, itself included, as far as
            they were read.
        head: Height of the newest block, known before ``blocks`` were read.

    Returns:
        The state after, and the blocks that became final, in order.

    Raises:
        DeepReorg: ``state.final`` was replaced.
    """
    if not blocks or blocks[0].number != state.final.number:
        return state, []  # an endpoint that is behind shows nothing there yet
    if blocks[0].hash != state.final.hash:
        raise DeepReorg(state.final, blocks[0], state.confirmations)
    if any(
        above.parent_hash != below.hash or above.number != below.number + 1
        for below, above in pairwise(blocks)
    ):
        return state, []  # the chain changed while it was read: look again
    final = [block for block in blocks[1:] if block.number <= head - state.confirmations]
    return (replace(state, final=final[-1]) if final else state), final


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Blocks that became final, and what happened in them.

    Attributes:
        events: All of the escrow's events in these blocks, in order.
        upto: The last of the blocks. Store it together with what the events led to, and
            start from it next time: so that each event counts once, across crashes too.
    """

    events: list[Event]
    upto: BlockRef


class Watcher:
    """The thin shell around ``follow``.

    Attributes:
        state: Where following stands.
    """

    def __init__(self, escrow: Escrow, state: Following, *, poll_s: float = 2.0) -> None:
        self.state = state
        self._escrow = escrow
        self._poll_s = poll_s

    async def next(self) -> Confirmed:
        """Waits for the next final blocks. Cancelled or failed, it can be called again.

        Raises:
            Unavailable: The chain cannot be asked. How long that may last, the caller knows.
            DeepReorg: See there. Calling again raises it again.
        """
        while True:
            state, final = await self._look()
            if final:
                events = await self._escrow.events(final)
                self.state = state
                return Confirmed(events, final[-1])
            await trio.sleep(self._poll_s)

    async def _look(self) -> tuple[Following, list[BlockRef]]:
        head = (await self._escrow.head()).number
        first = self.state.final.number
        last = min(head - self.state.confirmations, first + STEP_BLOCKS_MAX)
        # The final block is read again each time, to see that it still stands.
        blocks = await self._escrow.blocks(first, max(first, last))
        return follow(self.state, blocks, head)


async def start_at(escrow: Escrow, height: int, confirmations: int) -> Following:
    """Where to begin that has nothing stored: above a block that is final already.

    Args:
        escrow: The chain.
        height: A block below everything of interest, such as the escrow's deployment.
        confirmations: See ``Following``.

    Raises:
        Unavailable: That block is not final yet.
    """
    head = await escrow.head()
    blocks = await escrow.blocks(height, height)
    # Genesis cannot be replaced.
    if not blocks or (height > 0 and head.number - height < confirmations):
        raise Unavailable(f"block {height} is not final yet: the chain is at {head.number}")
    return Following(blocks[0], confirmations)
