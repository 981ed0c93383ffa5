"""Builders of samples, with defaults of a quiet card."""

from rowen.gpu.base import GpuProcess, Load, ProcessLoad, Sample
from rowen.protocol.statements import EnergySource

UUID = "GPU-1"
GIB = 1 << 30
OWNER = 4242
OURS = 777


def process(pid: int, memory_bytes: int | None = GIB) -> GpuProcess:
    return GpuProcess(pid=pid, memory_bytes=memory_bytes)


def busy(pid: int, sm: int = 0, encoder: int = 0, decoder: int = 0) -> ProcessLoad:
    return ProcessLoad(pid=pid, load=Load(sm=sm, memory=0, encoder=encoder, decoder=decoder))


def counted(energy_mj: int | None, *loads: ProcessLoad, power_mw: int | None = None) -> Sample:
    """A sample of a card with a counter, with power only, or with neither."""
    source = EnergySource.NONE
    if power_mw is not None:
        source = EnergySource.NVML_POWER
    if energy_mj is not None:
        source = EnergySource.NVML_COUNTER
    return Sample(
        uuid=UUID,
        processes=tuple(process(one.pid) for one in loads),
        process_loads=loads,
        energy_mj=energy_mj,
        power_mw=power_mw,
        energy_source=source,
    )
