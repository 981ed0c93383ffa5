"""Keeps the leases of a node's GPUs: looks, decides, and lets tenants in and out.

What is decided, and by what, is in ``rowen_scheduler.placement`` and ``rowen.gpu.judging``; here
is the clock, the probe and the owner's switch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog
import trio

from rowen.gpu.base import GpuInfo, GpuProbe, Sample
from rowen.gpu.energy import EnergyMeter
from rowen.gpu.judging import judge
from rowen.protocol.errors import Unavailable
from rowen.provider.metering import FRESH_S, Meters
from rowen.provider.policy import Policy
from rowen.provider.tenants import Occupancy, Patience, Preemption, Stay, Tenant
from rowen.provider.whose import Identifier, Identify, Whose, pids_of
from rowen_scheduler.energy import Weights
from rowen_scheduler.placement import (
    Effect,
    Event,
    Grant,
    Lease,
    LeaseRules,
    LeaseState,
    Preempt,
    Released,
    Why,
    Withheld,
    step,
    wait_s,
)

log = structlog.get_logger("rowen.lease")

LOOK_S = 1.0
LOOK_S_MAX = 2.0
"""A driver that does not answer for so long is lost."""
OBEY_S = 5.0
PAUSED_RETRY_MS = 10 * 60_000

_FOR_CLIENTS = {
    Why.PAUSED: "the owner paused this node",
    Why.HOURS: "the owner lends this GPU at other hours",
    Why.STARTING: "this node has just started",
    Why.LOST: "the GPU does not answer",
}


@dataclass(slots=True, eq=False)
class Gpu:
    """One GPU of this node.

    Attributes:
        uuid: Its name.
        name: Its maker's name for it.
        policy: The owner's rules.
        lease: Whose it is.
        meter: Of its energy.
        sample: The newest; None when it could not be seen.
        look_ms: How long the last look took.
    """

    uuid: str
    name: str
    policy: Policy
    lease: Lease
    meter: EnergyMeter
    sample: Sample | None = None
    look_ms: float = 0.0


@dataclass(slots=True)
class Switch:
    """The owner's: what is paused.

    Attributes:
        all: Whether the whole node is.
        uuids: Single GPUs that are; the beginning of a UUID is enough.
    """

    all: bool = False
    uuids: set[str] = field(default_factory=set)

    def is_paused(self, uuid: str) -> bool:
        """Whether this GPU is."""
        return self.all or any(uuid.startswith(named) for named in self.uuids)


@dataclass(frozen=True, slots=True)
class _Housed:
    """A tenant's stay, and the GPUs it needs."""

    stay: Occupancy
    gpus: tuple[Gpu, ...]

    @property
    def is_due(self) -> bool:
        """Whether it may be in: every GPU that it uses is leased."""
        return all(gpu.lease.state is LeaseState.LEASED for gpu in self.gpus)


class Leases:
    """The leases of a node's GPUs; a tenant is in while all that it uses are leased.

    Args:
        probe: Looks at the GPUs.
        gpus: Name and model of each, and the owner's rules for it.
        rules: How patient a lease is.
        minute_of_week: The owner's wall clock; 0 is Monday 00:00.
        patience: How patient leaving is.
        switch: What the owner paused before.
        identify: Says whose processes are whose.
        has_gpu: Whether these are GPUs, whose time is told on receipts.
        weights: What reading and writing a token takes, as measured; None for a guess.
        infos: What is known of the GPUs, for engines that name theirs; none where none is watched.

    Attributes:
        gpus: In the driver's order.
        infos: What is known of them.
        rules: How patient a lease is.
        switch: The owner's.
        meters: Energy of jobs on all of them.
    """

    def __init__(
        self,
        probe: GpuProbe,
        gpus: Iterable[tuple[str, str, Policy]],
        *,
        rules: LeaseRules,
        minute_of_week: Callable[[], int],
        patience: Patience | None = None,
        switch: Switch | None = None,
        identify: Identify | None = None,
        has_gpu: bool = True,
        weights: Weights | None = None,
        infos: Sequence[GpuInfo] = (),
    ) -> None:
        now_s = trio.current_time()
        self.gpus = [
            Gpu(
                uuid=uuid,
                name=name,
                policy=policy,
                lease=Lease(since_s=now_s, looked_s=now_s),
                meter=EnergyMeter(weights, is_gpu=has_gpu),
            )
            for uuid, name, policy in gpus
        ]
        self.infos = tuple(infos)
        self.rules = rules
        self.switch = switch or Switch()
        fresh_s = FRESH_S if has_gpu else LOOK_S
        meters = {gpu.uuid: gpu.meter for gpu in self.gpus}
        self.meters = Meters(meters, self.look, fresh_s=fresh_s)
        self._probe = probe
        self._patience = patience or Patience()
        self._minute_of_week = minute_of_week
        self._identify = identify or Identifier()
        self._housed: list[_Housed] = []
        self._lock = trio.Lock()

    @property
    def is_leased(self) -> bool:
        """Whether a tenant may be in; where there is none, whether every GPU is leased."""
        if not self._housed:
            return all(gpu.lease.state is LeaseState.LEASED for gpu in self.gpus)
        return any(one.is_due for one in self._housed)

    @property
    def last(self) -> Preemption | None:
        """The last preemption, of the tenant that took longest."""
        found = [one.stay.last for one in self._housed if one.stay.last is not None]
        return max(found, key=lambda one: one.memory_ms, default=None)

    @property
    def memory_ms_max(self) -> int:
        """The longest preemption so far."""
        return max((one.stay.memory_ms_max for one in self._housed), default=0)

    @property
    def bound_ms(self) -> int:
        """What should pass at most between a look that shows the owner's work and free memory."""
        return round(self.rules.release_s_max * 1000)

    def house(self, tenants: Iterable[Tenant]) -> None:
        """Takes charge of tenants: each is closed until every GPU that it uses is leased."""
        for tenant in tenants:
            gpus = tuple(one for one in self.gpus if not tenant.gpus or one.uuid in tenant.gpus)
            assert gpus, "an engine without a GPU would never be in, or never be put out"
            self._housed.append(_Housed(Occupancy(tenant, self._patience), gpus))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Looks and decides until cancelled; started once it has looked.

        Raises:
            ExceptionGroup: Of ``JournalFailed``; the node cannot go on.
        """
        async with trio.open_nursery() as nursery:
            for housed in self._housed:
                nursery.start_soon(housed.stay.run)
            await self.look()
            if self.rules.hold_s == 0:
                # Where nothing is waited for, nobody waits for the next look either.
                await self.look()
                for housed in self._housed:
                    await housed.stay.settled()
            task_status.started()
            while True:
                await trio.sleep(LOOK_S)
                await self.look()

    async def obey(self) -> None:
        """Looks now, because the owner moved the switch, and returns when it is done."""
        await self.look()
        with trio.move_on_after(self.rules.release_s_max + OBEY_S):
            for housed in self._housed:
                await housed.stay.settled()
        # What has left by now is told to have left.
        await self.look()

    async def look(self) -> None:
        """Looks at every GPU, meters it and does what follows. Every look decides."""
        # A look that is given up halfway has taken from the driver what the next would have seen.
        with trio.CancelScope(shield=True):
            await self._look()

    async def _look(self) -> None:
        async with self._lock:
            for gpu in self.gpus:
                event = await self._see(gpu)
                self._apply(gpu, event)
                if gpu.lease.state is LeaseState.PREEMPTING and self._is_empty(gpu):
                    self._apply(gpu, Released())
            self._lead()

    async def _see(self, gpu: Gpu) -> Event:
        began_s = trio.current_time()
        gpu.sample = None
        whose = Whose((), ())
        why = ""
        try:
            with trio.fail_after(LOOK_S_MAX):
                sample = await self._probe.sample(gpu.uuid)
                whose = await self._identify(pids_of(sample), gpu.policy.ignore)
                gpu.sample = sample
        except (Unavailable, trio.TooSlowError) as error:
            why = str(error) or f"no answer within {LOOK_S_MAX:g} s"
        gpu.look_ms = (trio.current_time() - began_s) * 1000
        if gpu.sample is None:
            gpu.meter.lose()
        else:
            gpu.meter.look(gpu.sample, round(trio.current_time() * 1000), whose.own)
            if gpu.sample.xids:
                log.warning("gpu reports critical errors", gpu=gpu.uuid, xids=gpu.sample.xids)
        if self.switch.is_paused(gpu.uuid):
            return Withheld(Why.PAUSED, "by `rowen pause`")
        if not gpu.policy.hours.is_open(self._minute_of_week()):
            return Withheld(Why.HOURS, "outside of [gpu] hours")
        if gpu.sample is None:
            return Withheld(Why.LOST, why)
        return judge(gpu.sample, whose.own, whose.ignored, gpu.policy.limits)

    def _apply(self, gpu: Gpu, event: Event) -> None:
        before = gpu.lease
        gpu.lease, effects = step(before, event, trio.current_time(), self.rules)
        for effect in effects:
            self._log(gpu, effect)

    def _log(self, gpu: Gpu, effect: Effect) -> None:
        facts = {"gpu": gpu.uuid, "why": gpu.lease.why.value, "seen": gpu.lease.detail}
        if isinstance(effect, Grant):
            log.info("gpu leased", gpu=gpu.uuid)
        elif isinstance(effect, Preempt):
            log.info("owner needs the gpu", **facts)
        else:
            log.warning("engines are slow to leave", bound_ms=self.bound_ms, **facts)

    def _is_empty(self, gpu: Gpu) -> bool:
        return all(one.stay.stay is Stay.OUT for one in self._housed if gpu in one.gpus)

    def _lead(self) -> None:
        """Brings every tenant where the leases of its GPUs allow it to be."""
        now_s = trio.current_time()
        for one in self._housed:
            kept = [gpu for gpu in one.gpus if gpu.lease.state is not LeaseState.LEASED]
            if not kept:
                one.stay.admit()
                continue
            # Clients are told of the GPU that they would wait for longest.
            last = max(kept, key=lambda gpu: self._wait_ms(gpu, now_s))
            detail = _FOR_CLIENTS.get(last.lease.why, "the owner uses this GPU")
            is_busy = any(gpu.lease.state is not LeaseState.QUIET for gpu in kept)
            (one.stay.evict if is_busy else one.stay.hold)(detail, self._wait_ms(last, now_s))

    def _wait_ms(self, gpu: Gpu, now_s: float) -> int:
        least_ms = round(wait_s(gpu.lease, now_s, self.rules) * 1000)
        if gpu.lease.why is Why.PAUSED and gpu.lease.state is not LeaseState.QUIET:
            return max(least_ms, PAUSED_RETRY_MS)
        closed_min = gpu.policy.hours.minutes_until_open(self._minute_of_week())
        return least_ms + closed_min * 60_000
