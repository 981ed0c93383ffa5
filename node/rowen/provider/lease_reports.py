"""What a node says of its GPUs and their leases."""

from __future__ import annotations

import msgspec
import trio

from rowen.provider.leases import Gpu, Leases
from rowen_scheduler.placement import LeaseState


class GpuReport(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU at the last look; what it cannot tell is None.

    Attributes:
        uuid: Its name.
        name: Its maker's name for it.
        state: ``owner``, ``quiet``, ``leased`` or ``preempting``.
        why: Why it is not leased, in one word; None when it is.
        seen: What was seen, for the owner alone.
        since_s: How long it has been so.
        is_paused: Whether the owner paused it.
        sm_percent: Load of its cores.
        encoder_percent: Load of its encoder.
        decoder_percent: Load of its decoder.
        memory_used_bytes: Of its memory.
        memory_total_bytes: Its memory.
        power_mw: Drawn.
        energy_source: Where joules come from.
        energy_mj: Counted since the node started.
        idle_mj: Of these, nobody's.
        foreign_mj: The owner's.
        jobs_mj: Of jobs.
        look_ms: How long the last look took.
    """

    uuid: str
    name: str
    state: str
    why: str | None
    seen: str
    since_s: int
    is_paused: bool
    sm_percent: int | None
    encoder_percent: int | None
    decoder_percent: int | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_mw: int | None
    energy_source: str
    energy_mj: int
    idle_mj: int
    foreign_mj: int
    jobs_mj: int
    look_ms: int


class PreemptionReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the slowest engine left the last time, in milliseconds since that was decided.

    Attributes:
        jobs: That were ended.
        jobs_ms: Until the last one had its receipt.
        memory_ms: Until the memory was free, or nothing more could be tried.
        is_free: Whether it is.
    """

    jobs: int
    jobs_ms: int
    memory_ms: int
    is_free: bool


class LeaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs of a node and their leases.

    Attributes:
        is_leased: Whether some engine may take jobs: every GPU that it uses is leased.
        is_paused: Whether the owner paused the whole node.
        preemption: The last one; None before the first.
        memory_ms_max: The slowest so far.
        bound_ms: What it should take at most.
        gpus: One by one.
    """

    is_leased: bool
    is_paused: bool
    preemption: PreemptionReport | None
    memory_ms_max: int
    bound_ms: int
    gpus: list[GpuReport]


def report_leases(leases: Leases) -> LeaseReport:
    """The leases at this moment."""
    last = leases.last
    return LeaseReport(
        is_leased=leases.is_leased,
        is_paused=leases.switch.all,
        preemption=None
        if last is None
        else PreemptionReport(
            jobs=last.jobs, jobs_ms=last.jobs_ms, memory_ms=last.memory_ms, is_free=last.is_free
        ),
        memory_ms_max=leases.memory_ms_max,
        bound_ms=leases.bound_ms,
        gpus=[_report(gpu, leases.switch.is_paused(gpu.uuid)) for gpu in leases.gpus],
    )


def _report(gpu: Gpu, is_paused: bool) -> GpuReport:
    lease, sample, totals = gpu.lease, gpu.sample, gpu.meter.totals
    load = sample.load if sample else None
    return GpuReport(
        uuid=gpu.uuid,
        name=gpu.name,
        state=lease.state.value,
        why=None if lease.state is LeaseState.LEASED else lease.why.value,
        seen=lease.detail,
        since_s=round(trio.current_time() - lease.since_s),
        is_paused=is_paused,
        sm_percent=load.sm if load else None,
        encoder_percent=load.encoder if load else None,
        decoder_percent=load.decoder if load else None,
        memory_used_bytes=sample.memory_used_bytes if sample else None,
        memory_total_bytes=sample.memory_total_bytes if sample else None,
        power_mw=sample.power_mw if sample else None,
        energy_source=gpu.meter.source.name.lower(),
        energy_mj=totals.counter_mj,
        idle_mj=totals.idle_mj,
        foreign_mj=totals.foreign_mj,
        jobs_mj=totals.jobs_mj,
        look_ms=round(gpu.look_ms),
    )
