"""A machine without a GPU: its processor, its processes and its energy counter."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import create_autospec

import psutil
import pytest
import trio

from rowen.gpu import processes
from rowen.gpu.base import ProcessLoad, Sample
from rowen.gpu.cpu import UUID, CpuProbe
from rowen.protocol.errors import Unavailable
from rowen.protocol.statements import EnergySource
from rowen.provider.whose import Identifier


@contextmanager
def program(name: str, code: str, at: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python of another name; it runs the code and then waits for its end."""
    called = at / name
    called.symlink_to(sys.executable)
    child = subprocess.Popen(
        [called, "-S", "-c", f"{code}\nprint(flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


NOBODY = 2**22 + 1
"""More than a process id can be."""


def load_of(sample: Sample, pid: int) -> ProcessLoad | None:
    return next((one for one in sample.process_loads or () if one.pid == pid), None)


# It says when it has used some time, and goes on until it is killed: how fast does not matter.
BURN = """
import time
while time.process_time() < 0.1: pass
print(flush=True)
while True: pass
"""


async def test_a_transcoder_at_work_is_told_as_its_encoders_load(tmp_path: Path) -> None:
    probe = CpuProbe(["transcoder"])
    await probe.sample(UUID)
    with program("transcoder", BURN, tmp_path) as child:
        assert child.stdout is not None
        await trio.to_thread.run_sync(child.stdout.readline)
        found = load_of(await probe.sample(UUID), child.pid)
        assert found is not None
        assert found.load.encoder


async def test_a_transcoder_that_is_loaded_and_quiet_is_listed_without_load(
    tmp_path: Path,
) -> None:
    probe = CpuProbe(["transcoder"])
    with program("transcoder", "", tmp_path) as child:
        assert child.stdout is not None
        await trio.to_thread.run_sync(child.stdout.readline)
        await probe.sample(UUID)
        sample = await probe.sample(UUID)
        assert child.pid in [one.pid for one in sample.processes or ()]
        assert load_of(sample, child.pid) is None


async def test_what_another_program_does_is_load_and_no_encoding(tmp_path: Path) -> None:
    probe = CpuProbe(["transcoder"])
    await probe.sample(UUID)
    with program("compiler", BURN, tmp_path) as child:
        assert child.stdout is not None
        await trio.to_thread.run_sync(child.stdout.readline)
        found = load_of(await probe.sample(UUID), child.pid)
        assert found is not None
        assert found.load.encoder is None


async def test_the_first_look_knows_no_loads_yet() -> None:
    sample = await CpuProbe().sample(UUID)
    assert (sample.process_loads, sample.load.sm) == ((), None)


async def test_no_other_device_is_known() -> None:
    (info,) = await CpuProbe().inventory()
    assert info.uuid == UUID
    assert (info.memory_bytes, info.is_mig) == (None, None)
    with pytest.raises(Unavailable, match="no GPU"):
        await CpuProbe().sample("GPU-1")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_both_ways_to_list_processes_agree() -> None:
    """The quick one reads /proc itself; the other is for systems without it."""
    by_proc = {one.pid: one for one in processes._from_proc()}
    by_psutil = {one.pid: one for one in processes._from_psutil()}
    me = os.getpid()
    assert by_proc[me].name == by_psutil[me].name
    assert by_psutil[me].cpu_ms - by_proc[me].cpu_ms >= 0
    assert len(by_proc.keys() & by_psutil.keys()) > len(by_psutil) // 2


def test_no_millisecond_of_cpu_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are floats, and 1.1 and 2.92 of them, times 1000, are a little less than 4,020."""
    times = psutil.Process().cpu_times()._replace(user=1.1, system=2.92)
    one = create_autospec(psutil.Process, instance=True, pid=7)
    one.name.return_value = "python"
    one.create_time.return_value = 1.0
    one.cpu_times.return_value = times
    monkeypatch.setattr(psutil, "process_iter", lambda: [one])
    assert [found.cpu_ms for found in processes._from_psutil()] == [4_020]


def test_children_of_children_are_ours_and_others_are_not() -> None:
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', 'input()'])"
    child = subprocess.Popen([sys.executable, "-S", "-c", nested], stdin=subprocess.PIPE)
    try:
        below = psutil.Process(child.pid)
        while not (grandchildren := below.children()):
            os.sched_yield()
        pids = [child.pid, grandchildren[0].pid, os.getppid(), NOBODY]
        assert processes.ours(pids, {os.getpid()}) == {child.pid, grandchildren[0].pid}
        assert processes.ours(pids, {child.pid}) == {child.pid, grandchildren[0].pid}
        name = psutil.Process().name()
        assert os.getpid() in processes.named([os.getpid(), NOBODY], [name])
        assert not processes.named([os.getpid()], [])
    finally:
        child.communicate()


SERVE = """
import socket, subprocess, sys
server = socket.create_server(("127.0.0.1", 0))
worker = subprocess.Popen([sys.executable, "-S", "-c", "input()"])
print(server.getsockname()[1], worker.pid, flush=True)
worker.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="others tell who listens to root alone")
async def test_an_engine_that_its_owner_started_is_known_by_its_port(tmp_path: Path) -> None:
    """Also what it started itself, such as the workers that hold the GPU."""
    with program("engine", SERVE, tmp_path) as engine:
        assert engine.stdout is not None
        told = await trio.to_thread.run_sync(engine.stdout.readline)
        port, worker = map(int, told.split())
        pids = frozenset({engine.pid, worker})
        stranger = partial(Identifier, me=NOBODY)
        assert (await stranger()(pids, ())).own == frozenset()
        assert (await stranger(ports=[port])(pids, ())).own == pids
        found = await stranger(engines=["engine"])(pids, ["engine"])
        assert (found.own, found.ignored) == (pids, frozenset())
        assert (await stranger()(pids, ["engine"])).ignored == pids
        assert (await Identifier()(pids, ())).own == pids


def zone(powercap: Path, name: str, kind: str, energy_uj: int | None, range_uj: int) -> Path:
    place = powercap / name
    place.mkdir(parents=True)
    (place / "name").write_text(f"{kind}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    if energy_uj is not None:
        (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place / "energy_uj"


async def test_the_processors_counters_are_added_and_may_wrap(tmp_path: Path) -> None:
    """Parts of a package and the whole platform are in other zones, and are not counted twice."""
    first = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, 9_999_999)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0, 9_999_999)
    zone(tmp_path, "intel-rapl:0:0", "core", 77, 9_999_999)
    zone(tmp_path, "intel-rapl:2", "psys", 88, 9_999_999)
    probe = CpuProbe(powercap=tmp_path)
    assert (await probe.sample(UUID)).energy_mj == 0
    first.write_text("1000000\n")
    second.write_text("500000\n")
    sample = await probe.sample(UUID)
    assert sample.energy_mj == 2000 + 500
    assert sample.energy_source is EnergySource.RAPL


@pytest.mark.parametrize("second", [None, "gone"])
async def test_a_counter_that_is_not_ours_to_read_is_no_source(
    second: str | None, tmp_path: Path
) -> None:
    """The sum of some processors is the energy of none."""
    zone(tmp_path, "intel-rapl:0", "package-0", 1000, 9_999_999)
    file = zone(tmp_path, "intel-rapl:1", "package-1", 0 if second else None, 9_999_999)
    probe = CpuProbe(powercap=tmp_path)
    if second:
        await probe.sample(UUID)
        file.unlink()
    sample = await probe.sample(UUID)
    assert (sample.energy_mj, sample.energy_source) == (None, EnergySource.NONE)
