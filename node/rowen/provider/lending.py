"""Composes a node's leases: which probe, which GPUs, whose rules, what is paused."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import trio

from rowen.config import GpuConfig
from rowen.gpu.base import GpuInfo, GpuProbe, Sample
from rowen.home import Home
from rowen.protocol.errors import Unavailable, UserError
from rowen.provider.lease_reports import LeaseReport, report_leases
from rowen.provider.leases import Leases, Switch
from rowen.provider.policy import UNWATCHED, Policy, policy_of, wall_clock
from rowen.provider.questions import Switching
from rowen.provider.tenants import Patience
from rowen.provider.whose import Identifier
from rowen_scheduler.energy import Weights
from rowen_scheduler.placement import LeaseRules

WATCHES = ("auto", "gpu", "cpu", "none")
NODE = "node"
"""What is leased where nothing is watched: the node itself, which its owner may pause."""


class Unwatched:
    """A probe where there is nothing to watch: nobody but us is ever seen."""

    async def inventory(self) -> tuple[GpuInfo, ...]:
        """See ``GpuProbe.inventory``."""
        await trio.lowlevel.checkpoint()
        return (GpuInfo(uuid=NODE, index=0, name="this machine, not watched"),)

    async def sample(self, uuid: str) -> Sample:
        """See ``GpuProbe.sample``."""
        await trio.lowlevel.checkpoint()
        return Sample(uuid=uuid, processes=(), process_loads=())


class _Paused(msgspec.Struct, frozen=True):
    """The file that remembers the owner's switch."""

    all: bool = False
    uuids: list[str] = []


def read_switch(home: Home) -> Switch:
    """What the owner paused; also what was paused before this node started.

    Raises:
        UserError: The file is damaged. A switch that cannot be read is not taken for off.
    """
    try:
        paused = msgspec.json.decode(home.paused.read_bytes(), type=_Paused)
    except FileNotFoundError:
        return Switch()
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(
            f"{home.paused} cannot be read: {error}; `rowen resume` writes it anew"
        ) from error
    return Switch(all=paused.all, uuids=set(paused.uuids))


def write_switch(home: Home, switch: Switch) -> None:
    """Remembers it across restarts.

    Raises:
        UserError: The home cannot be written to.
    """
    paused = _Paused(all=switch.all, uuids=sorted(switch.uuids))
    new = home.paused.with_suffix(".new")
    try:
        new.write_bytes(msgspec.json.encode(paused))
        new.replace(home.paused)
    except OSError as error:
        raise UserError(f"{home.paused} cannot be written: {error}") from error


def turned(switch: Switch, named: Collection[str], *, is_paused: bool) -> Switch:
    """The switch after the owner moved it.

    Args:
        switch: As it was; what is said of the whole node takes back what was said of single GPUs.
        named: Beginnings of UUIDs; none for the whole node.
        is_paused: Where it was moved.
    """
    if not named:
        return Switch(all=is_paused)
    uuids = switch.uuids | set(named) if is_paused else switch.uuids - set(named)
    return Switch(all=switch.all, uuids=uuids)


async def turn_switch(home: Home, leases: Leases, is_paused: bool, asked: Switching) -> LeaseReport:
    """Moves the switch of a running node and returns when it has obeyed.

    Raises:
        UserError: There is no such GPU, or the switch cannot be remembered.
    """
    named = asked.gpus
    for one in named:
        if not any(one and gpu.uuid.startswith(one) for gpu in leases.gpus):
            known = ", ".join(gpu.uuid for gpu in leases.gpus)
            raise UserError(f"there is no GPU {one!r}; there are {known}")
    switch = turned(leases.switch, named, is_paused=is_paused)
    # First what is urgent; a full disk must not keep the GPU from its owner.
    leases.switch = switch
    await leases.obey()
    write_switch(home, switch)
    return report_leases(leases)


@asynccontextmanager
async def open_probe(config: GpuConfig) -> AsyncIterator[tuple[GpuProbe, tuple[GpuInfo, ...]]]:
    """The probe that the settings ask for, and what it finds.

    Raises:
        UserError: There is no such watch, or no GPU where the owner insists on one.
    """
    if config.watch not in WATCHES:
        raise UserError(f"[gpu] watch: {config.watch!r} is none of {', '.join(WATCHES)}")
    if config.watch in ("auto", "gpu"):
        from rowen.gpu.nvml import NvmlProbe

        nvml = NvmlProbe()
        try:
            found = await nvml.inventory()
        except Unavailable as error:
            found = ()
            if config.watch == "gpu":
                raise UserError(f'[gpu] watch = "gpu", and {error}') from error
        if found:
            try:
                yield nvml, found
            finally:
                await nvml.close()
            return
        if config.watch == "gpu":
            raise UserError('[gpu] watch = "gpu", and the NVIDIA driver knows no GPU')
    from rowen.gpu.cpu import CpuProbe

    cpu = CpuProbe(config.transcoders if config.watch == "cpu" else ())
    probe: GpuProbe = cpu if config.watch == "cpu" or cpu.is_metered else Unwatched()
    yield probe, await probe.inventory()


def lent_of(config: GpuConfig, found: Sequence[GpuInfo]) -> list[GpuInfo]:
    """Those of a machine's devices that its owner lends.

    Raises:
        UserError: One of them is not here.
    """
    from rowen.gpu.cpu import UUID as CPU

    lent = [gpu for gpu in found if not config.only or gpu.uuid in config.only]
    missing = set(config.only) - {gpu.uuid for gpu in found}
    is_watched = config.watch == "cpu" or found[0].uuid not in (CPU, NODE)
    if is_watched and (missing or not lent):
        known = ", ".join(gpu.uuid for gpu in found)
        raise UserError(f"[gpu] only: {', '.join(sorted(missing))} not found; here: {known}")
    return lent or list(found)


def named_gpus(config: GpuConfig, found: Sequence[GpuInfo]) -> Sequence[GpuInfo]:
    """The GPUs that engines may name: those that are lent; none where no GPU is watched.

    Raises:
        UserError: One that is lent is not here.
    """
    from rowen.gpu.cpu import UUID as CPU

    return () if found[0].uuid in (CPU, NODE) else lent_of(config, found)


@asynccontextmanager
async def open_leases(
    home: Home,
    config: GpuConfig,
    *,
    ports: Collection[int] = (),
    weights: Weights | None = None,
) -> AsyncIterator[Leases]:
    """The leases of this machine.

    Args:
        home: Where the owner's switch is remembered.
        config: The owner's rules.
        ports: Where engines answer that the owner started for this node.
        weights: What reading and writing a token takes, as measured; None for a guess.

    Raises:
        UserError: The settings contradict each other, or this machine.
    """
    switch = read_switch(home)
    minute_of_week = wall_clock(config.timezone, time.time)
    async with open_probe(config) as (probe, found):
        lent = lent_of(config, found)
        infos = named_gpus(config, found)
        is_watched = config.watch == "cpu" or bool(infos)
        yield Leases(
            probe,
            [(gpu.uuid, gpu.name, _policy(config, gpu.uuid, is_watched)) for gpu in lent],
            rules=LeaseRules(
                hold_s=config.hold_s if is_watched else 0,
                release_s_max=config.end_s + config.release_s,
            ),
            patience=Patience(end_s=config.end_s, release_s=config.release_s),
            minute_of_week=minute_of_week,
            switch=switch,
            identify=Identifier(ports, config.engines),
            has_gpu=bool(infos),
            weights=weights,
            infos=infos,
        )


def _policy(config: GpuConfig, uuid: str, is_watched: bool) -> Policy:
    policy = policy_of(config, uuid)
    if not is_watched:
        return Policy(limits=UNWATCHED.limits, hours=policy.hours)
    if uuid == "CPU":
        # Programs that are not named share the processor with us, as Linux shares it.
        limits = replace(policy.limits, sm_percent=UNWATCHED.limits.sm_percent)
        return replace(policy, limits=limits)
    return policy
