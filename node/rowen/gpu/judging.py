"""Whose work a sample shows: a pure function from a sample to what it means for the lease.

Only foreign processes are judged. That a transcoder is loaded and quiet is no work; that our own
job fills the GPU is none either. What cannot be told apart counts as the owner's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rowen.gpu.base import GpuProcess, Load, Sample, SliceLoad
from rowen_scheduler.placement import Clear, OwnerWorks, Why, Withheld

Judgement = OwnerWorks | Withheld | Clear

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an owner allows on one GPU.

    Attributes:
        sm_percent: Foreign kernels that keep the GPU busy so much are work. A desktop needs less.
        codec_percent: The same of encoder, decoder and JPEG, which show in single percents.
        reserve_bytes: Device memory that stays free for the owner's programs, whatever we do.
        need_bytes: Device memory our engines want; without it there is no lease.
        own_bytes_max: Device memory our engines may have; None when they may have all.
    """

    sm_percent: int = 5
    codec_percent: int = 1
    reserve_bytes: int = 0
    need_bytes: int = 0
    own_bytes_max: int | None = None


def judge(
    sample: Sample, own: Collection[int], ignored: Collection[int], limits: Limits
) -> Judgement:
    """What a sample means.

    Args:
        sample: Of one GPU.
        own: Process ids of ours: the node and its engines.
        ignored: Process ids whose work the owner does not mind.
        limits: The owner's.
    """
    if sample.processes is None:
        return Withheld(Why.BLIND, "the driver does not list the processes on this GPU")
    ours = frozenset(own) | frozenset(ignored)
    foreign = [one for one in sample.processes if one.pid not in ours]
    return (
        _sessions(sample, ours)
        or _codecs(sample, ours, limits)
        or _kernels(sample, ours, foreign, limits)
        or _memory(sample, own, limits)
        or Clear()
    )


def _sessions(sample: Sample, ours: frozenset[int]) -> Judgement | None:
    for one in sample.encoder_sessions or ():
        if one.pid not in ours:
            seen = f"process {one.pid} encodes {one.width}x{one.height} at {one.fps} frames/s"
            return OwnerWorks(Why.TRANSCODE, seen)
    for one in sample.capture_sessions or ():
        if one.pid not in ours:
            return OwnerWorks(Why.CAPTURE, f"process {one.pid} captures the screen")
    return None


def _codecs(sample: Sample, ours: frozenset[int], limits: Limits) -> Judgement | None:
    loads = sample.process_loads or ()
    theirs = sum(one.load.codec or 0 for one in loads if one.pid not in ours)
    if theirs >= limits.codec_percent:
        pids = _pids(one.pid for one in loads if one.pid not in ours and one.load.codec)
        return OwnerWorks(Why.TRANSCODE, f"{theirs} % of the codecs by process {pids}")
    if any(one.load.codec for one in loads):
        # The card's load is ours, or of those whom the owner does not mind.
        return None
    unnamed = sample.load.codec or 0
    if unnamed >= limits.codec_percent:
        return OwnerWorks(Why.TRANSCODE, f"{unnamed} % of the codecs by nobody the driver names")
    return None


def _kernels(
    sample: Sample, ours: frozenset[int], foreign: list[GpuProcess], limits: Limits
) -> Judgement | None:
    if sample.process_loads is not None:
        busy = [one for one in sample.process_loads if one.pid not in ours and _work(one.load)]
        theirs = sum(_work(one.load) for one in busy)
        if theirs >= limits.sm_percent:
            pids = _pids(one.pid for one in busy)
            return OwnerWorks(Why.COMPUTE, f"{theirs} % of the GPU by process {pids}")
    elif (slices := _slices(sample, ours, foreign)) is not None:
        return _strange(slices, limits)
    elif foreign:
        # Beside a foreign process, load without a name could be anybody's, so also our own job
        # would end the lease that it was let in by.
        pids = _pids(one.pid for one in foreign)
        return Withheld(Why.BLIND, f"the driver does not say how busy process {pids} is")
    if sample.processes or sample.process_loads:
        return None
    # Inside a container the driver may name nobody, however many are at work.
    unnamed = _work(sample.load)
    if unnamed >= limits.sm_percent:
        return OwnerWorks(Why.COMPUTE, f"{unnamed} % of the GPU by nobody the driver names")
    return None


def _slices(
    sample: Sample, ours: frozenset[int], foreign: list[GpuProcess]
) -> list[SliceLoad] | None:
    """Slices that none of ours is on; None when it is not known, or not told, which those are."""
    if not sample.slice_loads:
        return None
    told = {one.instance for one in sample.slice_loads if one.load.sm is not None}
    mine = {one.instance for one in sample.processes or () if one.pid in ours}
    theirs = {one.instance for one in foreign}
    if not mine | theirs <= told or mine & theirs:
        return None
    return [one for one in sample.slice_loads if one.instance not in mine]


def _strange(slices: list[SliceLoad], limits: Limits) -> Judgement | None:
    codecs = sum(one.load.codec or 0 for one in slices)
    if codecs >= limits.codec_percent:
        where = _pids(one.instance for one in slices if one.load.codec)
        return OwnerWorks(Why.TRANSCODE, f"{codecs} % of the codecs in slice {where}")
    work = sum(_work(one.load) for one in slices)
    if work >= limits.sm_percent:
        where = _pids(one.instance for one in slices if _work(one.load))
        return OwnerWorks(Why.COMPUTE, f"{work} % of slice {where}")
    return None


def _memory(sample: Sample, own: Collection[int], limits: Limits) -> Judgement | None:
    if sample.memory_total_bytes is None or sample.memory_used_bytes is None:
        return None
    assert sample.processes is not None
    sizes = [one.memory_bytes for one in sample.processes if one.pid in own]
    known = [size for size in sizes if size is not None]
    ours = sum(known)
    if limits.own_bytes_max is not None and ours > limits.own_bytes_max:
        told = f"our engines hold {ours // MIB} MiB of at most {limits.own_bytes_max // MIB} MiB"
        return Withheld(Why.MEMORY, told)
    if len(known) < len(sizes):
        # What is free cannot be known while we hold an unknown part.
        return None
    free = sample.memory_total_bytes - sample.memory_used_bytes + ours
    wanted = limits.need_bytes + limits.reserve_bytes
    if free < wanted:
        told = f"{free // MIB} MiB are free, {wanted // MIB} MiB are wanted"
        return Withheld(Why.MEMORY, told)
    return None


def _work(load: Load) -> int:
    return max(load.sm or 0, load.optical_flow or 0)


def _pids(pids: Iterable[int]) -> str:
    return ", ".join(map(str, pids))
