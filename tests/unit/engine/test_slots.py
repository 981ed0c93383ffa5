"""No client is served from another's cache; threat 60."""

from __future__ import annotations

import random

from rowen.engine.slots import Slots


def test_a_slot_is_reused_by_the_client_that_used_it_last() -> None:
    slots = Slots(3)
    first, may_reuse = slots.take(b"a")
    assert not may_reuse
    slots.give_back(first)
    assert slots.take(b"b") == (1, False)
    assert slots.take(b"a") == (first, True)


def test_a_newcomer_gets_the_slot_that_was_idle_longest() -> None:
    """So a client that comes back soon still finds its own."""
    slots = Slots(2)
    taken = [slots.take(tenant)[0] for tenant in (b"a", b"b")]
    for slot in taken:
        slots.give_back(slot)
    assert slots.take(b"c") == (taken[0], False)
    assert slots.take(b"b") == (taken[1], True)


def test_what_a_slot_remembers_is_reused_by_nobody_else() -> None:
    """Against a plain account of who wrote last, over many turns."""
    rng = random.Random(1)
    slots = Slots(4)
    written: dict[int, bytes] = {}
    busy: list[int] = []
    for _ in range(2_000):
        if len(busy) == 4 or (busy and rng.random() < 0.5):
            slots.give_back(busy.pop(rng.randrange(len(busy))))
            continue
        tenant = rng.choice([b"a", b"b", b"c", b"d", b"e"])
        slot, may_reuse = slots.take(tenant)
        assert slot not in busy
        assert may_reuse == (written.get(slot) == tenant)
        written[slot] = tenant
        busy.append(slot)
