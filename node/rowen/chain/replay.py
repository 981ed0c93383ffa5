"""Channels as their events make them: the contract's rules, read backwards. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from rowen.chain.events import (
    Claimed,
    Event,
    Locked,
    Released,
    UnlockCancelled,
    Unlocked,
    UnlockRequested,
)
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import PeerError

Refund: TypeAlias = Unlocked | Released
ChannelEvent: TypeAlias = Locked | Claimed | UnlockRequested | UnlockCancelled | Refund

_EMPTY: Final = ChannelView(locked=0, claimed=0)


def replay(events: Sequence[Event]) -> dict[bytes, ChannelView]:
    """The channels as their events make them, each event held against the ones before.

    Raises:
        PeerError: The contract would not have let it happen.
    """
    channels: dict[bytes, ChannelView] = {}
    for event in events:
        if isinstance(event, Locked | Claimed | UnlockRequested | UnlockCancelled | Refund):
            before = channels.get(event.channel_id, _EMPTY)
            after = _apply(before, event)
            if after is None:
                raise PeerError(f"{event} cannot follow {before}: events are missing or altered")
            channels[event.channel_id] = after
    return channels


def _apply(channel: ChannelView, event: ChannelEvent) -> ChannelView | None:
    """The channel after one event; None if the contract forbids it."""
    locked, claimed = channel.locked, channel.claimed
    unlock_at_s = channel.unlock_at_s
    if isinstance(event, Locked):
        locked += event.amount
        is_allowed = unlock_at_s == 0 < event.amount
    elif isinstance(event, Claimed):
        is_allowed = claimed < event.total <= locked
        claimed = event.total
    elif isinstance(event, UnlockRequested):
        is_allowed = unlock_at_s == 0 < event.unlock_at_s and locked > claimed
        unlock_at_s = event.unlock_at_s
    elif isinstance(event, UnlockCancelled):
        is_allowed, unlock_at_s = unlock_at_s != 0, 0
    else:
        locked -= event.amount
        is_allowed = locked == claimed and unlock_at_s != 0
        if isinstance(event, Released):
            is_allowed = locked >= claimed
        if locked == claimed:
            unlock_at_s = 0
    if not is_allowed:
        return None
    return ChannelView(locked=locked, claimed=claimed, unlock_at_s=unlock_at_s)
