"""A machine without a GPU, as if its processor were one: the embedded engine runs there.

A transcoder is known by its name: what it does is told as its encoder's load, in percent of one
core. What all others do is told as load of the cores, in percent of the machine. Energy is the
packages' counter (RAPL), where Linux lets us read it: as root, since CVE-2020-8694.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import trio

from rowen.gpu import processes
from rowen.gpu.base import GpuInfo, GpuProcess, Load, ProcessLoad, Sample
from rowen.protocol.errors import Unavailable
from rowen.protocol.statements import EnergySource

UUID = "CPU"
UNLISTED = 0
"""The process id under which the rest of the machine's load is told."""

POWERCAP = Path("/sys/class/powercap")


@dataclass(slots=True)
class _Package:
    """One processor's counter, which wraps."""

    file: Path
    range_uj: int
    read_uj: int
    counted_uj: int = 0


@dataclass(slots=True)
class _Before:
    """What the last look saw."""

    at_s: float
    busy_s: float
    seen: dict[int, processes.Process] = field(default_factory=dict)


class CpuProbe:
    """The processor of this machine.

    Args:
        transcoders: Names of programs whose work is the owner's.
        powercap: Where Linux shows its energy counters.
    """

    def __init__(self, transcoders: Collection[str] = (), *, powercap: Path = POWERCAP) -> None:
        self._transcoders = frozenset(name[: processes.NAME_LENGTH] for name in transcoders)
        self._limiter = trio.CapacityLimiter(1)
        self._packages = _packages(powercap)
        self._before: _Before | None = None

    @property
    def is_metered(self) -> bool:
        """Whether its energy can be read."""
        return bool(self._packages)

    async def inventory(self) -> tuple[GpuInfo, ...]:
        """See ``GpuProbe.inventory``."""
        await trio.lowlevel.checkpoint()
        name = platform.processor() or platform.machine()
        return (GpuInfo(uuid=UUID, index=0, name=f"{name}, {_cores()} cores"),)

    async def sample(self, uuid: str) -> Sample:
        """See ``GpuProbe.sample``."""
        if uuid != UUID:
            raise Unavailable(f"there is no device {uuid} on this machine: it has no GPU")
        return await trio.to_thread.run_sync(
            self._sample, trio.current_time(), abandon_on_cancel=True, limiter=self._limiter
        )

    def _sample(self, now_s: float) -> Sample:
        seen = processes.scan()
        busy_s = _busy_s()
        before, self._before = self._before, _Before(now_s, busy_s, seen)
        energy_mj = self._energy_mj()
        loads: tuple[ProcessLoad, ...] = ()
        total = None
        if before is not None and now_s > before.at_s:
            loads = self._loads(before, self._before)
            total = min(100, sum(one.load.sm or 0 for one in loads))
        resident = {pid for pid, one in seen.items() if one.name in self._transcoders}
        working = {one.pid for one in loads if one.pid != UNLISTED}
        return Sample(
            uuid=UUID,
            load=Load(sm=total),
            processes=tuple(GpuProcess(pid=pid) for pid in sorted(resident | working)),
            process_loads=loads,
            energy_mj=energy_mj,
            energy_source=EnergySource.NONE if energy_mj is None else EnergySource.RAPL,
        )

    def _loads(self, before: _Before, now: _Before) -> tuple[ProcessLoad, ...]:
        span_ms = (now.at_s - before.at_s) * 1000
        found = []
        listed_ms = 0
        for pid, one in now.seen.items():
            old = before.seen.get(pid)
            is_old = old is not None and old.started == one.started
            # A program that was started since the last look has done all of it since then.
            used_ms = one.cpu_ms - (old.cpu_ms if is_old and old is not None else 0)
            if used_ms <= 0:
                continue
            listed_ms += used_ms
            load = Load(sm=round(used_ms / span_ms * 100 / _cores()))
            if one.name in self._transcoders:
                load = Load(sm=load.sm, encoder=min(100, round(used_ms / span_ms * 100)))
            found.append(ProcessLoad(pid=pid, load=load))
        # Programs that came and went between two looks, and those that are not for us to see.
        rest_ms = (now.busy_s - before.busy_s) * 1000 - listed_ms
        rest = round(rest_ms / span_ms * 100 / _cores())
        if rest > 0:
            found.append(ProcessLoad(pid=UNLISTED, load=Load(sm=min(100, rest))))
        return tuple(sorted(found, key=lambda one: one.pid))

    def _energy_mj(self) -> int | None:
        if not self._packages:
            return None
        for package in self._packages:
            now_uj = _read(package.file)
            if now_uj is None:
                return None
            package.counted_uj += (now_uj - package.read_uj) % package.range_uj
            package.read_uj = now_uj
        return sum(package.counted_uj for package in self._packages) // 1000


def _packages(powercap: Path) -> list[_Package]:
    """The whole processors; their parts, which have two numbers, are in them."""
    found = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        file = zone / "energy_uj"
        read_uj, range_uj = _read(file), _read(zone / "max_energy_range_uj")
        try:
            is_package = (zone / "name").read_text().startswith("package-")
        except OSError:
            continue
        if is_package and zone.name.count(":") == 1:
            if read_uj is None or range_uj is None:
                # The sum of some processors is the energy of none.
                return []
            found.append(_Package(file, range_uj + 1, read_uj))
    return found


def _read(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _cores() -> int:
    return os.cpu_count() or 1


def _busy_s() -> float:
    """CPU time of all programs together since the machine started."""
    times = psutil.cpu_times()
    # Not the time that was nobody's or another machine's; guests' time is in the user's already.
    apart = ("idle", "iowait", "steal", "guest", "guest_nice")
    return float(sum(times) - sum(getattr(times, name, 0.0) for name in apart))
