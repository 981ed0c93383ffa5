"""Follows the chain for a provider, so that what changes there is noticed at once.

Nothing rests on it: views of channels grow old by themselves, and unclaimed vouchers are
looked at in intervals. It only makes both prompt: a top-up is seen, a payer that is leaving is
refused work and claimed from, as soon as the block is final and not at the next look.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from rowen.chain.base import Escrow
from rowen.chain.events import Event, UnlockRequested
from rowen.chain.watcher import DeepReorg, Following, Watcher, start_at
from rowen.protocol.errors import RowenError
from rowen.provider.books import Books

log = structlog.get_logger("rowen.watching")

POLL_S = 5.0


async def watch_chain(
    escrow: Escrow,
    books: Books,
    *,
    confirmations: int,
    hurry: Callable[[], None],
    poll_s: float = POLL_S,
) -> None:
    """Follows until cancelled. Trouble with the chain is logged and waited out.

    Args:
        escrow: The chain.
        books: Their views are forgotten when an event says that they are old.
        confirmations: Blocks on top that make one final; those of the books' views.
        hurry: Called when a payer of ours asks to leave.
        poll_s: How often the chain is looked at.
    """
    state: Following | None = None
    while True:
        try:
            state = state or await _beginning(escrow, confirmations)
            watcher = Watcher(escrow, state, poll_s=poll_s)
            while True:
                events = (await watcher.next()).events
                state = watcher.state
                _take(events, books, hurry)
        except DeepReorg as error:
            # What was believed of any channel may be wrong now; all of it is read again.
            log.error("final block replaced", why=str(error))
            books.forget_views()
            state = None
            hurry()
        except RowenError as error:
            log.warning("chain not followed", why=str(error))
        await trio.sleep(poll_s)


async def _beginning(escrow: Escrow, confirmations: int) -> Following:
    head = await escrow.head()
    return await start_at(escrow, max(0, head.number - confirmations), confirmations)


def _take(events: list[Event], books: Books, hurry: Callable[[], None]) -> None:
    for event in events:
        channel_id = getattr(event, "channel_id", None)
        if channel_id is None or channel_id not in books.accounts:
            continue
        books.forget_view(channel_id)
        if isinstance(event, UnlockRequested):
            log.info("payer is leaving", channel=channel_id.hex(), unlock_at_s=event.unlock_at_s)
            hurry()
