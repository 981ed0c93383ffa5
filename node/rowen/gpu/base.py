"""What every probe tells of a GPU, whoever made it.

A reading that a device cannot give is None, which means *absent*, and never 0: a card without an
encoder is not a card whose encoder is quiet. An empty tuple means that nothing is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rowen.protocol.statements import EnergySource


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy the parts of a GPU were, in percent of the sampling window, 0 to 100.

    Attributes:
        sm: Time in which a kernel ran.
        memory: Time in which device memory was read or written.
        encoder: Video encoder.
        decoder: Video decoder.
        jpeg: JPEG decoder.
        optical_flow: Optical flow accelerator.
    """

    sm: int | None = None
    memory: int | None = None
    encoder: int | None = None
    decoder: int | None = None
    jpeg: int | None = None
    optical_flow: int | None = None

    @property
    def codec(self) -> int | None:
        """Encoder, decoder and JPEG together; None when the device has none of them."""
        told = [v for v in (self.encoder, self.decoder, self.jpeg) if v is not None]
        return sum(told) if told else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds a part of the GPU.

    Attributes:
        pid: In the host's namespace.
        memory_bytes: Device memory it holds; None where the driver does not say.
        uses_graphics: Whether it draws.
        instance: Of a card in slices, the GPU instance that it is on; None where that is not told.
    """

    pid: int
    memory_bytes: int | None = None
    uses_graphics: bool = False
    instance: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLoad:
    """What one process did since the last sample.

    Attributes:
        pid: In the host's namespace.
        load: Its part; ``memory`` is time, not bytes.
    """

    pid: int
    load: Load


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLoad:
    """How busy a GPU instance of a card in slices (MIG) was since the last look.

    Attributes:
        instance: Its id; slices that compute apart may share one.
        load: In percent of the instance's own parts.
    """

    instance: int
    load: Load


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSession:
    """A running encoding session or screen capture.

    Attributes:
        pid: Who opened it.
        width: Pixels.
        height: Pixels.
        fps: Average frames per second.
    """

    pid: int
    width: int
    height: int
    fps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MigDevice:
    """A slice of a GPU in MIG mode.

    Attributes:
        uuid: As CUDA names it.
        name: Such as ``NVIDIA H200 MIG 1g.18gb``.
        memory_bytes: Its share.
    """

    uuid: str
    name: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuInfo:
    """What does not change while the driver runs.

    Attributes:
        uuid: Names the GPU across restarts.
        index: Its place, as the driver counts.
        name: Its maker's name for it.
        driver: Version of the driver.
        memory_bytes: Device memory.
        pci: Bus id.
        compute_capability: Such as ``9.0``.
        power_limit_mw: Enforced now.
        encoder_capacity_percent: Free H.264 encoding capacity, 0 to 100.
        is_mig: Whether it is cut into slices.
        mig_devices: The slices.
        is_confidential: Whether its memory is hidden from the host.
    """

    uuid: str
    index: int
    name: str
    driver: str | None = None
    memory_bytes: int | None = None
    pci: str | None = None
    compute_capability: str | None = None
    power_limit_mw: int | None = None
    encoder_capacity_percent: int | None = None
    is_mig: bool | None = None
    mig_devices: tuple[MigDevice, ...] | None = None
    is_confidential: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at one GPU.

    Attributes:
        uuid: Which one.
        load: Of all processes together.
        processes: Who holds a part of it.
        process_loads: Who was busy since the last look; empty when nobody was.
        slice_loads: Of a card in slices, each GPU instance; empty at the first look.
        encoder_sessions: Encodings.
        capture_sessions: Screen captures (FBC).
        memory_used_bytes: Of device memory.
        memory_total_bytes: Device memory.
        power_mw: Drawn now, or averaged over the last second, as the device does it.
        energy_mj: Counter, since the driver was loaded.
        energy_source: Where energy is known from: the counter, or else the power drawn.
        temperature_c: Of the chip.
        sm_mhz: Clock.
        memory_mhz: Clock.
        clock_reasons: Why it does not clock higher, in the words of ``nvml.CLOCK_REASONS``.
        ecc_corrected: Memory errors since the driver was loaded.
        ecc_uncorrected: The same, not mended.
        xids: Critical errors that the driver reported since the last look.
    """

    uuid: str
    load: Load = Load()
    processes: tuple[GpuProcess, ...] | None = None
    process_loads: tuple[ProcessLoad, ...] | None = None
    slice_loads: tuple[SliceLoad, ...] | None = None
    encoder_sessions: tuple[MediaSession, ...] | None = None
    capture_sessions: tuple[MediaSession, ...] | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_mw: int | None = None
    energy_mj: int | None = None
    energy_source: EnergySource = EnergySource.NONE
    temperature_c: int | None = None
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    clock_reasons: tuple[str, ...] | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    xids: tuple[int, ...] | None = None


class GpuProbe(Protocol):
    """Looks at the GPUs of this machine."""

    async def inventory(self) -> tuple[GpuInfo, ...]:
        """Every GPU, in the driver's order.

        Raises:
            Unavailable: The driver does not answer.
        """

    async def sample(self, uuid: str) -> Sample:
        """Looks at one GPU.

        Raises:
            Unavailable: The driver does not answer, or the GPU is lost. A later call tries anew.
        """
