"""How long work has waited for its claim: found in the receipts, remembered per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rowen.protocol.statements import Receipt
from rowen.store.base import Journal


class NotOnChain(Protocol):
    """What a backlog wants to know of an unclaimed voucher; see ``settlement.Unclaimed``."""

    @property
    def channel_id(self) -> bytes:
        """32 bytes."""
        ...

    @property
    def total(self) -> int:
        """Of the voucher, token units."""
        ...

    @property
    def amount(self) -> int:
        """What a claim adds, token units."""
        ...

    @property
    def receipt_count(self) -> int:
        """Receipts the voucher covers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is promised and not on chain.

    Attributes:
        amount: Token units.
        vouchers: In how many channels.
        oldest_s: How long the oldest work that is paid for by none of the claims has waited.
    """

    amount: int = 0
    vouchers: int = 0
    oldest_s: int = 0


class Ages:
    """Since when each channel has unclaimed work."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # What was claimed when it was found, and since when the rest waits, Unix milliseconds.
        self._channel_to_since: dict[bytes, tuple[int, int]] = {}

    async def backlog(self, waiting: Sequence[NotOnChain], now_ms: int) -> Backlog:
        """Of these vouchers together.

        Raises:
            JournalFailed: See there.
        """
        ages = [await self.age_s(one, now_ms) for one in waiting]
        return Backlog(
            amount=sum(one.amount for one in waiting),
            vouchers=len(waiting),
            oldest_s=max(ages, default=0),
        )

    async def age_s(self, one: NotOnChain, now_ms: int) -> int:
        """Since the end of the first work that no claim has paid for.

        Raises:
            JournalFailed: See there.
        """
        claimed = one.total - one.amount
        known = self._channel_to_since.get(one.channel_id)
        if known is None or known[0] != claimed:
            since_ms = await self._since_ms(one.channel_id, claimed, one.receipt_count)
            known = self._channel_to_since[one.channel_id] = (claimed, since_ms)
        return max(0, now_ms - known[1]) // 1000

    async def _since_ms(self, channel_id: bytes, claimed: int, count: int) -> int:
        """When the first receipt with a total above ``claimed`` was written.

        Totals never fall along the log, so a search by halves finds it in a few rows.
        """
        first, end = 0, count - 1
        while first < end:
            middle = (first + end) // 2
            if (await self._receipt(channel_id, middle)).total > claimed:
                end = middle
            else:
                first = middle + 1
        return (await self._receipt(channel_id, first)).finished_at_ms

    async def _receipt(self, channel_id: bytes, sequence: int) -> Receipt:
        kept = await self._journal.receipt(channel_id, sequence)
        # The journal takes no voucher for more receipts than it holds.
        assert kept is not None
        return Receipt.decode(kept.receipt.words)
