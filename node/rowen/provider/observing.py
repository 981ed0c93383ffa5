"""What a node knows of itself and its surroundings, kept fresh; metrics, alerts and health read it.

Each part is looked at by a task of its own, so that an endpoint that hangs does not make the
disk or the engine look hung.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from rowen.chain.base import Escrow
from rowen.protocol.errors import RowenError
from rowen.provider.settlement import Claimer
from rowen.store.base import JournalFailed

log = structlog.get_logger("rowen.watch")

LOOK_S = 20.0
"""A look at the chain or the engine that takes longer counts as no answer."""


@dataclass(slots=True)
class Part:
    """What is known of one part.

    Attributes:
        why: Empty while it works; else what is wrong with it.
        well_at_s: When it last worked, on trio's clock; None before the first time.
        looked: Whether it was looked at at all.
    """

    why: str = "not looked at yet"
    well_at_s: float | None = None
    looked: bool = False

    def is_well(self) -> None:
        """It works."""
        self._now("")
        self.well_at_s = trio.current_time()

    def is_ill(self, why: str) -> None:
        """It does not."""
        self._now(why)

    def _now(self, why: str) -> None:
        self.why = why
        self.looked = True


@dataclass(slots=True)
class Money:
    """On chain, as of the last look that had an answer.

    Attributes:
        gas_wei: What the operator key holds for gas.
        gas_price_wei: For a unit of gas.
        credit: Claimed and not swept, token units.
        unclaimed: In vouchers that are not on chain yet, token units.
        oldest_unclaimed_s: How long the oldest work that no claim has paid for has waited.
        leaving: Unclaimed in channels whose payers asked to leave, token units.
        leaving_at_s: When the first of these may go, Unix time; 0 when none asked.
    """

    gas_wei: int
    gas_price_wei: int
    credit: int
    unclaimed: int
    oldest_unclaimed_s: int
    leaving: int
    leaving_at_s: int


@dataclass(slots=True, kw_only=True)
class Observed:
    """All of it, as far as it is known.

    Attributes:
        chain: The endpoints.
        engine: What makes the answers, all of it together.
        disk: Where the journal is.
        block: Height of the newest block; None before the chain answered.
        block_at_s: Its time, Unix.
        money: None before the chain answered.
        disk_free_bytes: For this user; None before it was looked at.
        journal_bytes: The journal's files together.
        key_trouble: What shows that another program uses our key, or empty.
        pending_since_s: Since when a transaction of ours waits, on trio's clock; None when none.
    """

    chain: Part
    engine: Part
    disk: Part
    block: int | None = None
    block_at_s: int = 0
    money: Money | None = None
    disk_free_bytes: int | None = None
    journal_bytes: int = 0
    key_trouble: str = ""
    pending_since_s: float | None = None


class Observer:
    """Looks, and remembers the newest answers.

    Attributes:
        seen: What is known now.
    """

    def __init__(
        self,
        *,
        provider: bytes,
        escrow: Escrow,
        gas_price: Callable[[], Awaitable[int]],
        claimer: Claimer,
        journal_file: Path,
        pending: Callable[[], Awaitable[int]],
        key_trouble: Callable[[], Awaitable[str]],
        probe_engines: Callable[[], Awaitable[None]],
    ) -> None:
        """Looks at nothing yet.

        Args:
            provider: Operator address.
            escrow: The chain.
            gas_price: What a unit of gas costs there now, wei.
            claimer: Knows what is unclaimed.
            journal_file: Whose disk may fill up.
            pending: How many transactions of ours wait.
            key_trouble: What shows that another program uses our key, or empty.
            probe_engines: Raises ``RowenError`` when one of them does not work.
        """
        self.seen = Observed(chain=Part(), engine=Part(), disk=Part())
        self._provider = provider
        self._escrow = escrow
        self._gas_price = gas_price
        self._claimer = claimer
        self._file = journal_file
        self._pending = pending
        self._key_trouble = key_trouble
        self._probe_engines = probe_engines

    async def watch(self, interval_s: float) -> None:
        """Looks at everything until cancelled.

        Raises:
            JournalFailed: The disk failed; a node without it must end.
        """
        async with trio.open_nursery() as nursery:
            for part, look in (
                (self.seen.chain, self.look_at_chain),
                (self.seen.engine, self._probe_engines),
                (self.seen.disk, self.look_at_disk),
            ):
                nursery.start_soon(self._again, part, look, interval_s)

    async def _again(
        self, part: Part, look: Callable[[], Awaitable[None]], interval_s: float
    ) -> None:
        while True:
            await look_once(part, look)
            await trio.sleep(interval_s)

    async def look_at_chain(self) -> None:
        """Newest block, money, and what waits.

        Raises:
            Unavailable: The chain does not answer.
        """
        head = await self._escrow.head()
        self.seen.block, self.seen.block_at_s = head.number, head.timestamp_s
        unclaimed = await self._claimer.unclaimed()
        backlog = await self._claimer.backlog(unclaimed)
        leaving = [u for u in unclaimed if u.unlock_at_s]
        self.seen.money = Money(
            gas_wei=await self._escrow.balance_wei(self._provider),
            gas_price_wei=await self._gas_price(),
            credit=await self._escrow.credit(self._provider),
            unclaimed=backlog.amount,
            oldest_unclaimed_s=backlog.oldest_s,
            leaving=sum(u.amount for u in leaving),
            leaving_at_s=min((u.unlock_at_s for u in leaving), default=0),
        )
        self.seen.key_trouble = await self._key_trouble()
        waiting = await self._pending()
        if not waiting:
            self.seen.pending_since_s = None
        elif self.seen.pending_since_s is None:
            self.seen.pending_since_s = trio.current_time()

    async def look_at_disk(self) -> None:
        """Room, and what the journal takes."""
        self.seen.disk_free_bytes, self.seen.journal_bytes = await trio.to_thread.run_sync(
            _measure_disk, self._file
        )


async def look_once(part: Part, look: Callable[[], Awaitable[None]]) -> None:
    """Looks at a part, and keeps what came of it; says so in the log when that changes.

    Raises:
        JournalFailed: The disk failed; a node without it must end.
    """
    before, looked = part.why, part.looked
    try:
        with trio.fail_after(LOOK_S):
            await look()
    except JournalFailed:
        raise
    except trio.TooSlowError:
        part.is_ill(f"no answer within {LOOK_S:g} s")
    except (RowenError, OSError) as error:
        part.is_ill(str(error))
    else:
        part.is_well()
    if part.why and part.why != before:
        log.warning("trouble", why=part.why)
    elif before and looked and not part.why:
        log.info("trouble is over")


def _measure_disk(file: Path) -> tuple[int, int]:
    free = shutil.disk_usage(file.parent).free
    files = (file, file.with_name(file.name + "-wal"))
    return free, sum(each.stat().st_size for each in files if each.exists())
