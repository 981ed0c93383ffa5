"""A channel as the chain shows it and as its log stands: values both sides share."""

from __future__ import annotations

import msgspec

from rowen.protocol.receipt_log import Frontier


class ChannelView(msgspec.Struct, frozen=True, kw_only=True):
    """What the escrow contract holds for a channel at a confirmed block.

    Attributes:
        locked: Token units ever locked and not given back.
        claimed: Of these, already claimed by the provider.
        unlock_at_s: When the payer may take the rest, Unix seconds; 0 when not requested.
    """

    locked: int
    claimed: int
    unlock_at_s: int = 0


class Head(msgspec.Struct, frozen=True):
    """How far a log goes.

    Attributes:
        frontier: The Merkle tree of the receipts.
        total: Sum of their amounts, token units.
    """

    frontier: Frontier = Frontier()
    total: int = 0

    @property
    def count(self) -> int:
        """Receipts in the log."""
        return self.frontier.count

    def append(self, entry: bytes, amount: int) -> Head:
        """The log with one more receipt, given its digest."""
        return Head(self.frontier.append(entry), self.total + amount)
