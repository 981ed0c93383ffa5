"""Who keeps a place when there are more sessions than places; threat 49."""

from __future__ import annotations

from rowen.provider.seats import Seat, Seats


def taken(seats: Seats, peer: str) -> Seat:
    seat = seats.take(peer)
    assert seat is not None
    return seat


def test_a_peer_has_its_share_and_no_more() -> None:
    seats = Seats(most=9, most_per_peer=2)
    first = taken(seats, "a")
    taken(seats, "a")
    assert seats.take("a") is None
    seats.give_back(first)
    seats.give_back(first)
    assert len(seats) == 1
    taken(seats, "a")


async def test_a_newcomer_takes_the_place_of_whoever_holds_most_and_says_nothing() -> None:
    """Eight identities that only connect do not keep others out."""
    seats = Seats(most=8, most_per_peer=4)
    crowd = [taken(seats, peer) for peer in "aaaabbb"]
    honest = taken(seats, "c")
    newcomer = taken(seats, "d")
    assert crowd[0].scope.cancel_called
    assert not honest.scope.cancel_called
    assert not newcomer.scope.cancel_called
    assert len(seats) == 8


def test_who_pays_keeps_its_place() -> None:
    seats = Seats(most=2, most_per_peer=2)
    for peer in "ab":
        taken(seats, peer).is_paying = True
    assert seats.take("c") is None
