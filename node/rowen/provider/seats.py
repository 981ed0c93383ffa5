"""Who may talk to a node at the same time, when more want to than it has room for.

A session costs a stranger next to nothing until it names a funded channel. So while there is
room everybody may come; when there is none, a newcomer takes the place of a session that has not
said who pays, of the peer that has most of them. Sessions with a channel keep their places.
"""

from __future__ import annotations

from collections import Counter

import trio


class Seat:
    """One session.

    Attributes:
        peer: Who it is with.
        scope: Cancelling it ends the session.
        is_paying: Whether it has named a funded channel.
    """

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.scope = trio.CancelScope()
        self.is_paying = False


class Seats:
    """The sessions of a node.

    Args:
        most: At the same time.
        most_per_peer: Of these, one peer's.
    """

    def __init__(self, most: int, most_per_peer: int) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        # In the order of their arrival.
        self._taken: dict[Seat, None] = {}
        self._peer_to_count: Counter[str] = Counter()

    def __len__(self) -> int:
        """Sessions now."""
        return len(self._taken)

    def take(self, peer: str) -> Seat | None:
        """A place for a session, or None when there is none; ``give_back`` ends it."""
        if self._peer_to_count[peer] >= self._most_per_peer:
            return None
        if len(self._taken) >= self._most and not self._make_room():
            return None
        seat = Seat(peer)
        self._taken[seat] = None
        self._peer_to_count[peer] += 1
        return seat

    def give_back(self, seat: Seat) -> None:
        """The session is over; calling it again changes nothing."""
        if seat not in self._taken:
            return
        del self._taken[seat]
        self._peer_to_count[seat.peer] -= 1
        if not self._peer_to_count[seat.peer]:
            # Nothing is remembered of a peer that has gone.
            del self._peer_to_count[seat.peer]

    def _make_room(self) -> bool:
        idle = [seat for seat in self._taken if not seat.is_paying]
        if not idle:
            return False
        # The first of equals is the one that came first.
        leaver = max(idle, key=lambda seat: self._peer_to_count[seat.peer])
        leaver.scope.cancel()
        self.give_back(leaver)
        return True
