"""A channel as a journal tells it, for tests to compare."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from rowen.store.base import (
    ChannelOpened,
    ChannelStopped,
    DisputeKept,
    Entry,
    JobDropped,
    Journal,
    OrderKept,
    ReceiptKept,
    Role,
    VoucherKept,
)

E = TypeVar("E", OrderKept, ReceiptKept, VoucherKept, JobDropped, DisputeKept, ChannelStopped)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay reads of a channel.

    Attributes:
        opened: Its first entry.
        history: Later entries in the order they were appended.
    """

    opened: ChannelOpened
    history: tuple[Entry, ...] = ()

    def _all(self, kind: type[E]) -> tuple[E, ...]:
        return tuple(entry for entry in self.history if isinstance(entry, kind))

    @property
    def orders(self) -> tuple[OrderKept, ...]:
        """Every job, oldest first."""
        return self._all(OrderKept)

    @property
    def receipts(self) -> tuple[ReceiptKept, ...]:
        """The receipt log, in sequence from 0."""
        return self._all(ReceiptKept)

    @property
    def voucher(self) -> VoucherKept | None:
        """The newest."""
        return next((e for e in reversed(self.history) if isinstance(e, VoucherKept)), None)

    @property
    def dropped(self) -> tuple[JobDropped, ...]:
        """Jobs that ended without a receipt."""
        return self._all(JobDropped)

    @property
    def dispute(self) -> DisputeKept | None:
        """The first disputed receipt."""
        return next(iter(self._all(DisputeKept)), None)

    @property
    def stopped(self) -> str:
        """Why no more jobs are taken, or empty."""
        return next((entry.detail for entry in self._all(ChannelStopped)), "")


async def kept_all(journal: Journal, role: Role) -> list[Kept]:
    """Every channel on that side, oldest first."""
    return [
        Kept(
            opened=opened,
            history=tuple([entry async for entry in journal.to_replay(opened.channel_id)]),
        )
        for opened in await journal.openings(role)
    ]


async def kept(journal: Journal, channel_id: bytes) -> Kept | None:
    """One channel; None when it was never opened."""
    every = await kept_all(journal, "seller") + await kept_all(journal, "buyer")
    return next((one for one in every if one.opened.channel_id == channel_id), None)
