"""What ``--json`` prints of GPUs and their leases. What a GPU cannot tell is null, never 0."""

from __future__ import annotations

from typing import Literal

from rowen.cli.document_types import Count, Document

State = Literal["owner", "quiet", "leased", "preempting"]
Source = Literal["none", "nvml_counter", "nvml_power", "rapl"]


class LentGpu(Document, frozen=True):
    """One GPU of a running node; see ``provider.lease_reports.GpuReport``."""

    uuid: str
    name: str
    state: State
    why: str | None
    seen: str
    since_s: Count
    is_paused: bool
    sm_percent: Count | None
    encoder_percent: Count | None
    decoder_percent: Count | None
    memory_used_bytes: Count | None
    memory_total_bytes: Count | None
    power_mw: Count | None
    energy_source: Source
    energy_mj: Count
    idle_mj: Count
    foreign_mj: Count
    jobs_mj: Count
    look_ms: Count


class Preempted(Document, frozen=True):
    """How the slowest engine left the last time, in milliseconds since that was decided."""

    jobs: Count
    jobs_ms: Count
    memory_ms: Count
    is_free: bool


class LeaseStatus(Document, frozen=True):
    """The GPUs of a running node and whether they are lent."""

    is_leased: bool
    is_paused: bool
    preemption: Preempted | None
    memory_ms_max: Count
    bound_ms: Count
    gpus: list[LentGpu]


class PauseDocument(Document, frozen=True):
    """``rowen pause`` and ``rowen resume``. ``lease`` is null when no node runs in this home."""

    is_paused: bool
    paused_gpus: list[str]
    lease: LeaseStatus | None


class MigSlice(Document, frozen=True):
    """A slice of a GPU in MIG mode."""

    uuid: str
    name: str
    memory_bytes: Count | None


class Loads(Document, frozen=True):
    """How busy the parts of a GPU are, in percent."""

    sm: Count | None
    memory: Count | None
    encoder: Count | None
    decoder: Count | None
    jpeg: Count | None
    optical_flow: Count | None


class SeenProcess(Document, frozen=True):
    """A process on a GPU."""

    pid: Count
    name: str | None
    memory_bytes: Count | None
    instance: Count | None
    load: Loads | None


class SeenSlice(Document, frozen=True):
    """How busy a GPU instance of a card in slices (MIG) is; ``instance`` is its id."""

    instance: Count
    load: Loads


class SeenSession(Document, frozen=True):
    """A running encoding or screen capture."""

    pid: Count
    width: Count
    height: Count
    fps: Count


class SeenGpu(Document, frozen=True):
    """One GPU, as the driver tells of it; ``unavailable`` says why it does not."""

    uuid: str
    index: Count
    name: str
    driver: str | None
    pci: str | None
    compute_capability: str | None
    power_limit_mw: Count | None
    encoder_capacity_percent: Count | None
    is_mig: bool | None
    mig_devices: list[MigSlice] | None
    is_confidential: bool | None
    unavailable: str | None = None
    load: Loads | None = None
    processes: list[SeenProcess] | None = None
    slice_loads: list[SeenSlice] | None = None
    encoder_sessions: list[SeenSession] | None = None
    capture_sessions: list[SeenSession] | None = None
    memory_used_bytes: Count | None = None
    memory_total_bytes: Count | None = None
    power_mw: Count | None = None
    energy_mj: Count | None = None
    energy_source: Source = "none"
    temperature_c: int | None = None
    sm_mhz: Count | None = None
    memory_mhz: Count | None = None
    clock_reasons: list[str] | None = None
    ecc_corrected: Count | None = None
    ecc_uncorrected: Count | None = None
    xids: list[int] | None = None


class DriverCall(Document, frozen=True):
    """What NVML answered to a call, the last time; ``gpu`` is empty for the system's."""

    gpu: str
    function: str
    code: int
    meaning: str
    took_us: Count


class GpuDocument(Document, frozen=True):
    """``rowen gpu``. ``unavailable`` says why nothing is known of GPUs."""

    unavailable: str | None
    gpus: list[SeenGpu]
    calls: list[DriverCall]
