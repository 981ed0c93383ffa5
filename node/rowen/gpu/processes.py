"""The processes of this machine: whose they are, what they are called, what they use of the CPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# What Linux keeps of a name (TASK_COMM_LEN, less its final zero).
NAME_LENGTH = 15


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment.

    Attributes:
        pid: Its id.
        name: Of its program, its first 15 letters.
        cpu_ms: CPU time since it started, all threads together.
        started: When, in a unit of the system's: a process id that is used again starts later.
    """

    pid: int
    name: str
    cpu_ms: int
    started: float


def scan() -> dict[int, Process]:
    """Every process that can be seen, by id."""
    found = _from_proc() if sys.platform == "linux" else _from_psutil()
    return {one.pid: one for one in found}


def _from_proc() -> Iterator[Process]:
    # A quarter of the time that psutil takes for the same, and it is done every second.
    for entry in os.listdir("/proc"):  # noqa: PTH208 - thousands of Path objects a look
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except OSError:
            # It has ended, or is not for us to see.
            continue
        # proc_pid_stat(5): the name is in parentheses, and may hold some itself.
        name = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
        fields = stat[stat.rindex(b")") + 2 :].split()
        ticks = int(fields[11]) + int(fields[12])
        yield Process(
            pid=int(entry),
            name=name.decode(errors="replace"),
            cpu_ms=ticks * 1000 // _TICKS_PER_S,
            started=int(fields[19]),
        )


def _from_psutil() -> Iterator[Process]:
    for one in psutil.process_iter():
        try:
            with one.oneshot():
                times = one.cpu_times()
                # Rounded: 1.1 + 2.92 s, floats, times 1000 are a little less than 4,020.
                cpu_ms = round((times.user + times.system) * 1000)
                yield Process(one.pid, one.name()[:NAME_LENGTH], cpu_ms, one.create_time())
        except psutil.Error:
            continue


def ours(pids: Iterable[int], roots: Collection[int]) -> frozenset[int]:
    """Those of ``pids`` that are one of ``roots`` or were started by one, however far down."""
    return frozenset(pid for pid in pids if _descends(pid, roots))


def _descends(pid: int, roots: Collection[int]) -> bool:
    if pid in roots:
        return True
    try:
        return any(parent.pid in roots for parent in psutil.Process(pid).parents())
    except (psutil.Error, ValueError):
        # Whoever cannot be seen is not ours: our own children are ours to see.
        return False


def listening(ports: Collection[int]) -> frozenset[int]:
    """Processes that take connections at these TCP ports, as far as they can be seen."""
    if not ports:
        return frozenset()
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.Error:
        # Other systems than Linux tell this to root alone.
        return frozenset()
    return frozenset(
        one.pid
        for one in found
        if one.pid is not None and one.status == psutil.CONN_LISTEN and one.laddr.port in ports
    )


def named(pids: Iterable[int], names: Collection[str]) -> frozenset[int]:
    """Those of ``pids`` whose program has one of these names."""
    wanted = {name[:NAME_LENGTH] for name in names}
    return frozenset(pid for pid in pids if wanted and name_of(pid) in wanted)


def name_of(pid: int) -> str | None:
    """The name of a process's program, its first 15 letters; None when it cannot be seen."""
    try:
        name: str = psutil.Process(pid).name()
    except (psutil.Error, ValueError):
        return None
    return name[:NAME_LENGTH]
