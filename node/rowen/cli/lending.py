"""``rowen gpu``, ``rowen pause`` and ``rowen resume``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
import trio
from rich.console import Console

from rowen.cli.exits import Exit
from rowen.cli.gpu_documents import (
    DriverCall,
    GpuDocument,
    LeaseStatus,
    LentGpu,
    Loads,
    PauseDocument,
    SeenGpu,
)
from rowen.cli.output import show
from rowen.cli.people import facts, harmless, table
from rowen.cli.runner import run_async
from rowen.gpu.base import GpuInfo, Sample
from rowen.home import Home
from rowen.protocol.errors import Unavailable, UserError
from rowen.provider.asking import ask_as
from rowen.provider.lease_reports import LeaseReport
from rowen.provider.leases import Switch
from rowen.provider.lending import read_switch, turned, write_switch

LOOKS = 2
"""What a process does is known from the second look on."""
BETWEEN_S = 1.0
MIB = 1 << 20
UUID_CHARS = 12
"""Of a UUID, as many as people compare."""


def turn(home: Home, gpus: tuple[str, ...], *, is_paused: bool, as_json: bool) -> int:
    """Moves the owner's switch, whether or not the node is running."""

    async def work() -> int:
        do = "pause" if is_paused else "resume"
        report = await ask_as(home, LeaseReport, do, gpus=list(gpus))
        if report is None:
            if not home.path.is_dir():
                raise UserError(f"there is no node in {home.path}: name --home")
            write_switch(home, turned(_before(home, gpus), gpus, is_paused=is_paused))
        switch = read_switch(home)
        lease = None if report is None else status_of_leases(report)
        document = PauseDocument(
            is_paused=switch.all, paused_gpus=sorted(switch.uuids), lease=lease
        )
        show(document, as_json=as_json, for_people=lambda screen: _print_turned(screen, document))
        return Exit.OK

    return run_async(work)


def _before(home: Home, gpus: tuple[str, ...]) -> Switch:
    # For the whole node it does not matter what was: also not that it cannot be read.
    return read_switch(home) if gpus else Switch()


def show_gpus(*, as_json: bool) -> int:
    """Prints what the driver tells of this machine's GPUs, and its answer to every call."""

    async def work() -> int:
        document = await _look()
        show(document, as_json=as_json, for_people=lambda screen: _print_gpus(screen, document))
        return Exit.OK if document.unavailable is None else Exit.UNAVAILABLE

    return run_async(work)


async def _look() -> GpuDocument:
    from rowen.gpu.nvml import NvmlProbe, meaning_of

    probe = NvmlProbe()
    unavailable = None
    found: list[SeenGpu] = []
    try:
        infos = await probe.inventory()
        samples: dict[str, Sample | str] = {}
        for look in range(LOOKS):
            await trio.sleep(BETWEEN_S if look else 0)
            for info in infos:
                try:
                    samples[info.uuid] = await probe.sample(info.uuid)
                except Unavailable as error:
                    samples[info.uuid] = str(error)
        found = [_seen(info, samples[info.uuid]) for info in infos]
    except Unavailable as error:
        unavailable = str(error)
    finally:
        await probe.close()
    calls = [
        DriverCall(
            gpu=gpu,
            function=function,
            code=call.code,
            meaning=meaning_of(call.code),
            took_us=call.took_us,
        )
        for (gpu, function), call in sorted(probe.calls.items())
    ]
    return GpuDocument(unavailable=unavailable, gpus=found, calls=calls)


def _seen(info: GpuInfo, sample: Sample | str) -> SeenGpu:
    told: dict[str, Any] = asdict(info)
    # What it has is in the sample, too, and newer there.
    del told["memory_bytes"]
    if isinstance(sample, str):
        return msgspec.convert(told | {"unavailable": sample}, SeenGpu)
    fields = asdict(sample)
    loads = fields.pop("process_loads")
    pid_to_load = {one["pid"]: one["load"] for one in loads or ()}
    if sample.processes is not None:
        fields["processes"] = [
            {
                "pid": one.pid,
                "name": _name(one.pid),
                "memory_bytes": one.memory_bytes,
                "instance": one.instance,
                "load": pid_to_load.get(one.pid),
            }
            for one in sample.processes
        ]
    fields["energy_source"] = sample.energy_source.name.lower()
    return msgspec.convert(told | fields, SeenGpu)


def _name(pid: int) -> str | None:
    from rowen.gpu.processes import name_of

    return name_of(pid)


def status_of_leases(report: LeaseReport) -> LeaseStatus:
    """A node's leases as a document."""
    return msgspec.convert(msgspec.to_builtins(report), LeaseStatus)


# --- for people


def _print_turned(screen: Console, document: PauseDocument) -> None:
    if document.is_paused:
        told = "Paused: nothing is lent until `rowen resume`."
    elif document.paused_gpus:
        told = f"Paused: {', '.join(map(harmless, document.paused_gpus))}."
    else:
        told = "Resumed: GPUs are lent again once they have been quiet for a while."
    screen.print(told)
    if document.lease is None:
        screen.print("No node is running here; it will remember.")
        return
    print_lease(screen, document.lease)


def print_lease(screen: Console, lease: LeaseStatus) -> None:
    """The leases of a running node."""
    names = {
        gpu.uuid: harmless(gpu.name + (f" {gpu.uuid[:UUID_CHARS]}" if len(lease.gpus) > 1 else ""))
        for gpu in lease.gpus
    }
    rows = [
        (
            names[gpu.uuid],
            gpu.state + (f" ({gpu.why})" if gpu.why else ""),
            _time(gpu.since_s),
            _load(gpu),
            _memory(gpu.memory_used_bytes, gpu.memory_total_bytes),
            "–" if gpu.power_mw is None else f"{gpu.power_mw / 1000:.0f} W",
            _joules(gpu),
        )
        for gpu in lease.gpus
    ]
    header = ("gpu", "whose", "for", "sm/enc/dec %", "memory", "power", "joules: jobs of all")
    screen.print(table(header, rows, right="llrrrrr"))
    for gpu in lease.gpus:
        if gpu.seen:
            screen.print(f"  {names[gpu.uuid]}: {harmless(gpu.seen)}", style="dim")
    if (last := lease.preemption) is not None:
        free = "memory free" if last.is_free else "memory still held"
        screen.print(
            f"  last preemption: {last.jobs} jobs ended in {last.jobs_ms} ms, {free} after "
            f"{last.memory_ms} ms; at most {lease.memory_ms_max} ms so far, "
            f"{lease.bound_ms} ms allowed",
            style="dim",
        )


def _print_gpus(screen: Console, document: GpuDocument) -> None:
    if document.unavailable is not None:
        screen.print(f"No GPU can be seen: {harmless(document.unavailable)}")
    for gpu in document.gpus:
        screen.print(f"{gpu.index}: {harmless(gpu.name)}", style="bold")
        pairs = [
            ("uuid", gpu.uuid),
            ("driver", gpu.driver or "–"),
            ("memory", _memory(gpu.memory_used_bytes, gpu.memory_total_bytes)),
            ("load", _words(gpu.load)),
            ("processes", _processes(gpu)),
            ("power", "–" if gpu.power_mw is None else f"{gpu.power_mw / 1000:.1f} W"),
            ("energy", gpu.energy_source),
            ("mig", "–" if gpu.is_mig is None else "on" if gpu.is_mig else "off"),
        ]
        pairs += [(f"slice {part.instance}", _words(part.load)) for part in gpu.slice_loads or ()]
        if gpu.unavailable is not None:
            pairs.append(("unavailable", harmless(gpu.unavailable)))
        facts(screen, pairs, indent=2)
    failed = [call for call in document.calls if call.code]
    if failed:
        rows = [(call.gpu[:12], call.function, str(call.code), call.meaning) for call in failed]
        screen.print(table(("gpu", "not answered", "code", "meaning"), rows, right="llr"))
    screen.print("With --json: every call, its return code and its time.", style="dim")


def _words(load: Loads | None) -> str:
    if load is None:
        return "–"
    told = msgspec.structs.asdict(load)
    return ", ".join(f"{name} {'–' if v is None else f'{v} %'}" for name, v in told.items())


def _processes(gpu: SeenGpu) -> str:
    if gpu.processes is None:
        return "–"
    return ", ".join(f"{p.pid} {harmless(p.name or '?')}" for p in gpu.processes) or "none"


def _load(gpu: LentGpu) -> str:
    parts = (gpu.sm_percent, gpu.encoder_percent, gpu.decoder_percent)
    return "/".join("–" if part is None else str(part) for part in parts)


def _memory(used: int | None, total: int | None) -> str:
    if used is None or total is None:
        return "–"
    return f"{used // MIB:,} of {total // MIB:,} MiB"


def _joules(gpu: LentGpu) -> str:
    if gpu.energy_source == "none":
        return "–"
    return f"{gpu.jobs_mj / 1000:,.0f} of {gpu.energy_mj / 1000:,.0f}"


def _time(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
