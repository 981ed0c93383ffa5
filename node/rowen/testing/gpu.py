"""GPUs that are simulated: cards, the programs on them, and a probe that looks at them.

``SimulatedProbe`` passes the tests that the real probe passes. What a card can tell is chosen by
name, so that a card without an encoder, or one in MIG mode, says as little as the real one does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from rowen.gpu.base import (
    GpuInfo,
    GpuProcess,
    Load,
    MediaSession,
    MigDevice,
    ProcessLoad,
    Sample,
    SliceLoad,
)
from rowen.protocol.errors import Unavailable
from rowen.protocol.statements import EnergySource

MIB = 1 << 20
SLICES = 2
"""Of a card that is cut."""

READINGS = frozenset({
    "load", "encoder", "decoder", "jpeg", "optical_flow", "processes", "process_loads",
    "process_jpeg", "encoder_sessions", "capture_sessions", "memory", "power", "energy",
    "temperature", "clocks", "clock_reasons", "ecc", "xids", "mig", "slice_loads",
})  # fmt: skip
"""What a card may be able to tell."""

CONSUMER = READINGS - {"ecc", "mig", "slice_loads"}
"""A GeForce with its display."""
H200 = READINGS - {"encoder", "encoder_sessions", "capture_sessions", "slice_loads"}
"""A compute card: it decodes and has no encoder."""
MIG = H200 - {"load", "decoder", "jpeg", "optical_flow", "process_loads", "process_jpeg"}
"""The same, cut into slices: load is not told."""
MIG_GPM = MIG | {"slice_loads"}
"""The same with a driver that monitors slices."""
OLD_DRIVER = CONSUMER - {"process_jpeg", "jpeg", "optical_flow"}
"""A driver that knows loads of processes in its older form only."""
NO_ACCOUNTING = CONSUMER - {"process_loads", "process_jpeg"}
"""A driver that lists processes and does not say how busy each one is."""
NO_COUNTER = CONSUMER - {"energy"}
"""A card older than Volta: power, and no counter of energy."""


@dataclass(slots=True, kw_only=True)
class Program:
    """A process that uses a card.

    Attributes:
        pid: Its process id.
        memory_bytes: Device memory it holds.
        sm: Percent of the cores.
        encoder: Percent of the encoder.
        decoder: Percent of the decoder.
        is_graphics: Whether it draws rather than computes.
        encodes: Width, height and frames per second of an open encoding session.
        captures: The same of a screen capture.
        place: Of a card in slices, which one it is on, from 0.
    """

    pid: int
    memory_bytes: int = 256 * MIB
    sm: int = 0
    encoder: int = 0
    decoder: int = 0
    is_graphics: bool = False
    encodes: tuple[int, int, int] | None = None
    captures: tuple[int, int, int] | None = None
    place: int = 0

    @property
    def is_busy(self) -> bool:
        """Whether its load would show."""
        return bool(self.sm or self.encoder or self.decoder)


@dataclass(slots=True, kw_only=True)
class Card:
    """A simulated GPU.

    Attributes:
        uuid: Its name for life.
        name: Its maker's name.
        tells: Which of ``READINGS`` it has.
        memory_bytes: Device memory.
        idle_mw: Drawn when nobody works.
        peak_mw: Drawn at full load.
        programs: On it now.
        is_lost: Whether it fell off the bus.
        energy_uj: Its counter, in microjoules.
        xids: Critical errors so far.
    """

    uuid: str = "GPU-11111111-2222-3333-4444-555555555555"
    name: str = "NVIDIA GeForce RTX 4090"
    tells: frozenset[str] = CONSUMER
    memory_bytes: int = 24 * 1024 * MIB
    idle_mw: int = 16_000
    peak_mw: int = 450_000
    programs: list[Program] = field(default_factory=list)
    is_lost: bool = False
    energy_uj: int = 1_000_000_000
    xids: list[int] = field(default_factory=list)

    @property
    def sm(self) -> int:
        """Percent of the cores, all programs together."""
        return min(100, sum(one.sm for one in self.programs))

    @property
    def power_mw(self) -> int:
        """Drawn now."""
        codecs = sum(one.encoder + one.decoder for one in self.programs)
        busy = min(100, self.sm + codecs // 5)
        return self.idle_mw + (self.peak_mw - self.idle_mw) * busy // 100

    @property
    def memory_used_bytes(self) -> int:
        """Held by all programs."""
        return sum(one.memory_bytes for one in self.programs)

    @property
    def is_mig(self) -> bool:
        """Whether it is cut into slices."""
        return "mig" in self.tells and "load" not in self.tells


class GpuWorld:
    """Cards and a driver, under a clock of their own.

    Args:
        cards: In the driver's order.

    Attributes:
        cards: The same.
        now_us: Virtual time.
        driver_life: Counts the driver's lives.
        is_driver_up: Whether it answers.
    """

    DRIVER = "580.159.04"

    def __init__(self, *cards: Card) -> None:
        self.cards = list(cards)
        self.now_us = 1_000_000
        self.driver_life = 1
        self.is_driver_up = True

    def card(self, uuid: str) -> Card:
        """The card of this name."""
        return next(card for card in self.cards if card.uuid == uuid)

    def pass_time(self, seconds: float) -> None:
        """Lets time pass; the counters count what is drawn now."""
        passed_us = round(seconds * 1_000_000)
        self.now_us += passed_us
        for card in self.cards:
            card.energy_uj += card.power_mw * passed_us // 1000

    def restart_driver(self) -> None:
        """Loads the driver anew: programs on the cards die, counters begin at 0."""
        self.driver_life += 1
        for card in self.cards:
            card.programs.clear()
            card.energy_uj = 0
            card.xids.clear()

    def scenario(self, **fails: int) -> str:
        """This world as the fake NVML library of the tests reads it.

        Args:
            fails: Return codes of functions that are to fail.
        """
        found = {
            "driver": self.DRIVER,
            "driver_life": str(self.driver_life),
            "confidential": "0",
        }
        if not self.is_driver_up:
            found["fail.nvmlInit"] = "9"
            found["driver_life"] = "gone"
        found |= {f"fail.{function}": str(code) for function, code in fails.items()}
        for index, card in enumerate(self.cards):
            keys = _scenario_of(card, self.now_us)
            found |= {f"gpu{index}.{name}": value for name, value in keys.items()}
        return "".join(f"{name} = {value}\n" for name, value in found.items())


def _scenario_of(card: Card, now_us: int) -> dict[str, str]:
    def joined(words: Iterable[str]) -> str:
        return " ".join(words)

    def held(is_graphics: bool) -> str:
        return joined(
            f"{one.pid}:{one.memory_bytes}"
            for one in card.programs
            if one.is_graphics is is_graphics
        )

    codecs = {part: str(_sum(card, part)) for part in ("encoder", "decoder")}
    told: dict[str, dict[str, str]] = {
        "load": {"sm": str(card.sm), "memory_load": str(card.sm // 2)},
        "encoder": {"encoder": codecs["encoder"], "encoder_capacity": "100"},
        "decoder": {"decoder": codecs["decoder"]},
        "jpeg": {"jpeg": "0"},
        "optical_flow": {"optical_flow": "0"},
        "processes": {"compute": held(False), "graphics": held(True), "mps": ""},
        "process_loads": {
            "load": joined(
                f"{one.pid}:{now_us}:{one.sm}:0:{one.encoder}:{one.decoder}:0:0"
                for one in card.programs
                if one.is_busy
            )
        },
        "encoder_sessions": {"encoder_sessions": joined(_words(card, "encodes"))},
        "capture_sessions": {"capture_sessions": joined(_words(card, "captures"))},
        "memory": {
            "memory_total": str(card.memory_bytes),
            "memory_used": str(card.memory_used_bytes),
        },
        "power": {"power_mw": str(card.power_mw), "power_limit_mw": str(card.peak_mw)},
        "energy": {"energy_mj": str(card.energy_uj // 1000)},
        "temperature": {"temperature_c": str(35 + card.sm // 2)},
        "clocks": {"sm_mhz": "1500", "memory_mhz": "9501"},
        "clock_reasons": {"clock_reasons": "0" if card.sm else "1"},
        "ecc": {"ecc_corrected": "0", "ecc_uncorrected": "0"},
        "xids": {"xids": joined(f"{n}:{xid}" for n, xid in enumerate(card.xids, 1))},
        "mig": {"mig": str(int(card.is_mig)), "mig_count_max": "7"},
    }
    found = {"uuid": card.uuid, "name": card.name, "compute_capability": "9.0"}
    for reading, keys in told.items():
        if reading in card.tells:
            found |= keys
    if "process_jpeg" not in card.tells:
        found["old_driver"] = "1"
    if card.is_lost:
        found["lost"] = "1"
    if "slice_loads" in card.tells:
        found["gpm"] = "1"
        found["instances"] = joined(f"{one.pid}:{_instance(one.place)}" for one in card.programs)
        for place, (sm, decoder) in enumerate(_slice_work(card)):
            found[f"mig{place}.instance"] = str(_instance(place))
            # Graphics, and one of each codec: an H200 has no encoder, and its place is empty.
            found[f"mig{place}.monitored"] = f"1:{sm} 30:{decoder} 31:0 40:0 50:0"
    for index, part in enumerate(_slices(card)):
        found[f"mig{index}.uuid"] = part.uuid
        found[f"mig{index}.name"] = part.name
        found[f"mig{index}.memory_total"] = str(part.memory_bytes)
        found[f"mig{index}.memory_used"] = "0"
    return found


class SimulatedProbe:
    """Looks at a simulated world; see ``rowen.gpu.base.GpuProbe`` for what its methods promise."""

    def __init__(self, world: GpuWorld) -> None:
        self._world = world
        self._uuid_to_seen: dict[str, tuple[int, int, int]] = {}

    async def inventory(self) -> tuple[GpuInfo, ...]:
        """See ``GpuProbe.inventory``."""
        await trio.lowlevel.checkpoint()
        self._check_driver()
        for card in self._world.cards:
            self._check(card)
        return tuple(_info(index, card) for index, card in enumerate(self._world.cards))

    async def sample(self, uuid: str) -> Sample:
        """See ``GpuProbe.sample``."""
        await trio.lowlevel.checkpoint()
        return self.look(uuid)

    def look(self, uuid: str) -> Sample:
        """The same, without waiting."""
        world = self._world
        self._check_driver()
        if all(card.uuid != uuid for card in world.cards):
            raise Unavailable(f"there is no GPU {uuid}")
        card = world.card(uuid)
        self._check(card)
        new = (world.driver_life, 0, len(card.xids))
        life, since_us, xids_seen = self._uuid_to_seen.get(uuid, new)
        if life != world.driver_life:
            _, since_us, xids_seen = new
        is_first = uuid not in self._uuid_to_seen or self._uuid_to_seen[uuid][0] != life
        sample = _sample(card, world.now_us, since_us, xids_seen, is_first=is_first)
        seen_us = world.now_us if sample.process_loads else since_us
        self._uuid_to_seen[uuid] = (world.driver_life, seen_us, len(card.xids))
        return sample

    def _check_driver(self) -> None:
        if not self._world.is_driver_up:
            self._uuid_to_seen.clear()
            raise Unavailable("the simulated driver is not loaded")

    def _check(self, card: Card) -> None:
        if card.is_lost:
            self._uuid_to_seen.clear()
            raise Unavailable("the simulated GPU is lost")


def _info(index: int, card: Card) -> GpuInfo:
    tells = card.tells
    return GpuInfo(
        uuid=card.uuid,
        index=index,
        name=card.name,
        driver=GpuWorld.DRIVER,
        memory_bytes=card.memory_bytes if "memory" in tells else None,
        compute_capability="9.0",
        power_limit_mw=card.peak_mw if "power" in tells else None,
        encoder_capacity_percent=100 if "encoder" in tells else None,
        is_mig=card.is_mig if "mig" in tells else None,
        mig_devices=_slices(card) if card.is_mig else None,
        is_confidential=False,
    )


def _slices(card: Card) -> tuple[MigDevice, ...]:
    if not card.is_mig:
        return ()
    half = card.memory_bytes // 2
    return tuple(
        MigDevice(uuid=f"MIG-{card.uuid[4:]}-{n}", name=f"{card.name} MIG 3g", memory_bytes=half)
        for n in range(SLICES)
    )


def _instance(place: int) -> int:
    """Ids of GPU instances do not begin at 0 where others were made and removed before."""
    return place + 1


def _slice_work(card: Card) -> list[tuple[int, int]]:
    """Cores and decoder of each slice, percent."""
    on = [[one for one in card.programs if one.place == place] for place in range(SLICES)]
    return [
        (min(100, sum(one.sm for one in row)), min(100, sum(one.decoder for one in row)))
        for row in on
    ]


def _slice_loads(card: Card, is_first: bool) -> tuple[SliceLoad, ...] | None:
    if "slice_loads" not in card.tells:
        return None
    # A load is a difference: the first look has nothing to compare with.
    return (
        ()
        if is_first
        else tuple(
            SliceLoad(
                instance=_instance(place), load=Load(sm=sm, decoder=decoder, jpeg=0, optical_flow=0)
            )
            for place, (sm, decoder) in enumerate(_slice_work(card))
        )
    )


def _sample(card: Card, now_us: int, since_us: int, xids_seen: int, *, is_first: bool) -> Sample:
    tells = card.tells

    def if_told(reading: str, value: int) -> int | None:
        return value if reading in tells else None

    energy = if_told("energy", card.energy_uj // 1000)
    power = if_told("power", card.power_mw)
    source = EnergySource.NONE if power is None else EnergySource.NVML_POWER
    return Sample(
        uuid=card.uuid,
        load=Load(
            sm=if_told("load", card.sm),
            memory=if_told("load", card.sm // 2),
            encoder=if_told("encoder", _sum(card, "encoder")),
            decoder=if_told("decoder", _sum(card, "decoder")),
            jpeg=if_told("jpeg", 0),
            optical_flow=if_told("optical_flow", 0),
        ),
        processes=_processes(card) if "processes" in tells else None,
        process_loads=_loads(card, now_us, since_us) if "process_loads" in tells else None,
        slice_loads=_slice_loads(card, is_first),
        encoder_sessions=_sessions(card, "encodes") if "encoder_sessions" in tells else None,
        capture_sessions=_sessions(card, "captures") if "capture_sessions" in tells else None,
        memory_used_bytes=if_told("memory", card.memory_used_bytes),
        memory_total_bytes=if_told("memory", card.memory_bytes),
        power_mw=power,
        energy_mj=energy,
        energy_source=source if energy is None else EnergySource.NVML_COUNTER,
        temperature_c=if_told("temperature", 35 + card.sm // 2),
        sm_mhz=if_told("clocks", 1500),
        memory_mhz=if_told("clocks", 9501),
        clock_reasons=(() if card.sm else ("idle",)) if "clock_reasons" in tells else None,
        ecc_corrected=if_told("ecc", 0),
        ecc_uncorrected=if_told("ecc", 0),
        xids=tuple(card.xids[xids_seen:]) if "xids" in tells else None,
    )


def _processes(card: Card) -> tuple[GpuProcess, ...]:
    found = (
        GpuProcess(
            pid=one.pid,
            memory_bytes=one.memory_bytes,
            uses_graphics=one.is_graphics,
            instance=_instance(one.place) if "slice_loads" in card.tells else None,
        )
        for one in card.programs
    )
    return tuple(sorted(found, key=lambda one: one.pid))


def _loads(card: Card, now_us: int, since_us: int) -> tuple[ProcessLoad, ...]:
    if now_us <= since_us:
        return ()
    extra = {"jpeg": 0, "optical_flow": 0} if "process_jpeg" in card.tells else {}
    return tuple(
        ProcessLoad(
            pid=one.pid,
            load=Load(sm=one.sm, memory=0, encoder=one.encoder, decoder=one.decoder, **extra),
        )
        for one in sorted(card.programs, key=lambda one: one.pid)
        if one.is_busy
    )


def _sum(card: Card, part: str) -> int:
    loads: list[int] = [getattr(one, part) for one in card.programs]
    return min(100, sum(loads))


def _sessions(card: Card, kind: str) -> tuple[MediaSession, ...]:
    told = ((one.pid, getattr(one, kind)) for one in card.programs if getattr(one, kind))
    return tuple(
        MediaSession(pid=pid, width=width, height=height, fps=fps)
        for pid, (width, height, fps) in told
    )


def _words(card: Card, kind: str) -> list[str]:
    return [f"{s.pid}:{s.width}x{s.height}@{s.fps}" for s in _sessions(card, kind)]
