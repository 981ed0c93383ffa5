"""Which of an engine's slots a job gets, so that no client is served from another's cache.

llama.cpp keeps what a slot has read, and starts the next prompt from there as far as it is the
same. A stranger who guesses the beginning of a prompt would be answered sooner, and billed for
cached tokens: that would tell it what others asked.
"""

from __future__ import annotations


class Slots:
    """The slots of one engine; as many jobs take one as there are.

    Args:
        count: Slots, numbered from 0.
    """

    def __init__(self, count: int) -> None:
        # Whose input each slot remembers; the free ones, least recently used first.
        self._tenants: list[bytes | None] = [None] * count
        self._free = list(range(count))

    def take(self, tenant: bytes) -> tuple[int, bool]:
        """A free slot: the one this tenant used last, or the one that was idle longest.

        Returns:
            Its number, and whether what it remembers is the tenant's own.
        """
        own = [slot for slot in self._free if self._tenants[slot] == tenant]
        slot = own[-1] if own else self._free[0]
        self._free.remove(slot)
        self._tenants[slot] = tenant
        return slot, bool(own)

    def give_back(self, slot: int) -> None:
        """The job on it has ended."""
        self._free.append(slot)
