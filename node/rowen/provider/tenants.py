"""What runs on leased GPUs: lets it in when they are free, and out when their owner returns.

One task follows one tenant, so that waking and vacating never overlap: a tenant that is being
loaded when the owner returns is not waited for, but told to stop loading.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import structlog
import trio

from rowen.protocol.errors import Reason, RowenError
from rowen.provider.stock import Vacated

log = structlog.get_logger("rowen.lease")

WAKE_AGAIN_S = 10.0


class Tenant(Protocol):
    """An engine with its jobs; ``rowen.provider.stock.Shelf`` is one."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs of the GPUs that it uses; empty for all that are lent."""

    def close(self, reason: Reason, detail: str, retry_ms: int | None = None) -> None:
        """Takes no more jobs; those that run go on."""

    async def vacate(
        self, *, end_s: float, release_s: float, detail: str, retry_ms: int | None = None
    ) -> Vacated:
        """Closes, ends the jobs with receipts, gives the memory back; stops if need be."""

    async def reopen(self) -> None:
        """Wakes the engine and takes jobs again.

        Raises:
            Unavailable: It did not come back; asking again may help.
            UserError: It never will as it is configured.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Preemption:
    """How the last preemption of a tenant went, times in milliseconds since it was decided.

    Attributes:
        jobs: That were ended.
        jobs_ms: Until the last one had its receipt.
        memory_ms: Until the memory was free, or nothing more could be tried.
        is_free: Whether it is; an engine that is not ours to stop may keep it.
    """

    jobs: int
    jobs_ms: int
    memory_ms: int
    is_free: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a tenant may take to leave.

    Attributes:
        end_s: For its jobs to end; then their engine is stopped under them.
        release_s: For its engine to release the memory; then it is stopped.
    """

    end_s: float = 2.0
    release_s: float = 3.0


class Stay(Enum):
    """Where a tenant is."""

    LOADED = "loaded"
    """As it was started: closed, and its engine may hold memory."""
    OPEN = "open"
    LEAVING = "leaving"
    OUT = "out"


class Occupancy:
    """One tenant, and whether it may be there.

    Args:
        tenant: Closed from here on.
        patience: For its leaving.

    Attributes:
        stay: Where it is.
        last: The last preemption; None before the first.
        memory_ms_max: The longest of all.
    """

    def __init__(self, tenant: Tenant, patience: Patience) -> None:
        self.stay = Stay.LOADED
        self.last: Preemption | None = None
        self.memory_ms_max = 0
        self._tenant = tenant
        self._patience = patience
        self._may_stay = False
        self._told: tuple[str, int | None] = ("this node has just started", None)
        self._decided_at = 0.0
        self._waking = trio.CancelScope()
        self._changed = trio.Event()
        self._settled = trio.Event()
        self._tell()

    async def settled(self) -> None:
        """Returns when it is where it may be, or waits for its engine to come back."""
        await self._settled.wait()

    def admit(self) -> None:
        """It may come in; ``run`` wakes it."""
        if not self._may_stay:
            self._may_stay = True
            self._change()

    def evict(self, detail: str, retry_ms: int) -> None:
        """It may not stay: no job is taken from this moment on; ``run`` does the rest.

        Again, it changes only what clients are told.
        """
        self._told = (detail, retry_ms)
        if self._may_stay or self.stay is Stay.LOADED:
            self._may_stay = False
            self._decided_at = trio.current_time()
            self.stay = Stay.LEAVING
            self._waking.cancel()
            self._change()
        self._tell()

    def hold(self, detail: str, retry_ms: int) -> None:
        """It has to wait where it is, which is not inside."""
        if not self._may_stay:
            self._told = (detail, retry_ms)
            self._tell()

    async def run(self) -> None:
        """Follows what was decided, until cancelled.

        Raises:
            ExceptionGroup: Of ``JournalFailed``; the node cannot go on.
        """
        while True:
            self._changed = trio.Event()
            if self.stay is Stay.LEAVING:
                await self._vacate()
            elif self._may_stay and self.stay is not Stay.OPEN:
                await self._wake()
            else:
                self._settled.set()
                await self._changed.wait()

    def _change(self) -> None:
        self._settled = trio.Event()
        self._changed.set()

    def _tell(self) -> None:
        detail, retry_ms = self._told
        self._tenant.close(Reason.NO_LEASE, detail, retry_ms)

    async def _wake(self) -> None:
        with trio.CancelScope() as self._waking:
            try:
                await self._tenant.reopen()
            except RowenError as error:
                log.warning("engine did not come back", why=str(error))
                self._settled.set()
                await trio.sleep(WAKE_AGAIN_S)
                return
            if self._may_stay:
                self.stay = Stay.OPEN
            else:
                # Evicted after the last moment in which that could stop the waking.
                self._tell()

    async def _vacate(self) -> None:
        decided_at = self._decided_at
        detail, retry_ms = self._told
        done = await self._tenant.vacate(
            end_s=self._patience.end_s,
            release_s=self._patience.release_s,
            detail=detail,
            retry_ms=retry_ms,
        )
        memory_ms = round((trio.current_time() - decided_at) * 1000)
        self.last = Preemption(
            jobs=done.jobs,
            jobs_ms=memory_ms - round(done.memory_s * 1000),
            memory_ms=memory_ms,
            is_free=done.is_free,
        )
        self.memory_ms_max = max(self.memory_ms_max, memory_ms)
        self.stay = Stay.OUT
        # What was told has changed while it left.
        self._tell()
