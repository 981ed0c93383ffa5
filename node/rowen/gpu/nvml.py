"""NVIDIA GPUs, through NVML and its own binding. The only importer of ``pynvml``.

NVML may block for seconds while a driver reloads or a card falls off the bus, so every call is made
in a thread, one at a time. What a card cannot tell is absent; what the driver cannot do now is
``Unavailable``, and the next call begins anew, because a reloaded driver knows no old handle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import pynvml as nvml
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
from rowen.gpu.gpm import Slices
from rowen.protocol.errors import Unavailable
from rowen.protocol.statements import EnergySource

T = TypeVar("T")

RETRIES_MAX = 4
EVENTS_MAX = 16
NO_INSTANCE = 0xFFFFFFFF

# What a card, a driver version or a user's rights cannot give. All else is a failure.
_ABSENT = frozenset({
    nvml.NVML_ERROR_NOT_SUPPORTED,
    nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    nvml.NVML_ERROR_NO_PERMISSION,
    nvml.NVML_ERROR_NOT_FOUND,
    nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    nvml.NVML_ERROR_DEPRECATED,
})  # fmt: skip

_GONE = frozenset({
    nvml.NVML_ERROR_UNINITIALIZED,
    nvml.NVML_ERROR_DRIVER_NOT_LOADED,
    nvml.NVML_ERROR_GPU_IS_LOST,
    nvml.NVML_ERROR_RESET_REQUIRED,
})  # fmt: skip

CLOCK_REASONS = {
    nvml.nvmlClocksEventReasonGpuIdle: "idle",
    nvml.nvmlClocksEventReasonApplicationsClocksSetting: "clocks_setting",
    nvml.nvmlClocksEventReasonSwPowerCap: "power_cap",
    nvml.nvmlClocksEventReasonHwSlowdown: "hw_slowdown",
    nvml.nvmlClocksEventReasonSyncBoost: "sync_boost",
    nvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal",
    nvml.nvmlClocksEventReasonHwThermalSlowdown: "hw_thermal",
    nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "hw_power_brake",
    nvml.nvmlClocksEventReasonDisplayClockSetting: "display_clocks",
}


_CODE_TO_NAME: dict[int, str] = {
    value: name for name, value in vars(nvml).items() if name.startswith("NVML_ERROR_")
}


class Call(NamedTuple):
    """NVML's answer to a call.

    Attributes:
        code: Its return code; 0 is success.
        took_us: How long it took.
    """

    code: int
    took_us: int


def meaning_of(code: int) -> str:
    """A return code's name in nvml.h."""
    return _CODE_TO_NAME.get(code, "NVML_SUCCESS" if code == 0 else f"NVML_ERROR {code}")


class NvmlProbe:
    """The GPUs that this machine's NVIDIA driver knows.

    Attributes:
        calls: NVML's last answer to every call, by GPU (empty for the system) and function.
    """

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], Call] = {}
        self._limiter = trio.CapacityLimiter(1)
        self._is_open = False
        self._uuid_to_handle: dict[str, Any] = {}
        self._uuid_to_seen_us: dict[str, int] = {}
        # One for each GPU: what one look takes out of a set is gone for the others.
        self._uuid_to_events: dict[str, Any] = {}
        self._uuid_to_slices: dict[str, Slices] = {}

    async def inventory(self) -> tuple[GpuInfo, ...]:
        """See ``GpuProbe.inventory``."""
        return await self._in_thread(self._inventory)

    async def sample(self, uuid: str) -> Sample:
        """See ``GpuProbe.sample``."""
        return await self._in_thread(partial(self._sample, uuid))

    async def energy_mj(self, uuid: str) -> int | None:
        """The energy counter alone: the one call that is made between samples."""
        return await self._in_thread(
            lambda: self._about(uuid, "nvmlDeviceGetTotalEnergyConsumption", self._handle(uuid))
        )

    async def close(self) -> None:
        """Lets go of the driver."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._forget, limiter=self._limiter)

    async def _in_thread(self, look: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(
            self._guarded, look, abandon_on_cancel=True, limiter=self._limiter
        )

    # --- in the thread

    def _guarded(self, look: Callable[[], T]) -> T:
        try:
            if not self._is_open:
                self._call("", "nvmlInit")
                self._is_open = True
            return look()
        except nvml.NVMLError as error:
            self._forget()
            raise Unavailable(f"the NVIDIA driver says: {_words(error)}") from error

    def _forget(self) -> None:
        self._uuid_to_handle.clear()
        self._uuid_to_seen_us.clear()
        self._uuid_to_events.clear()
        slices, self._uuid_to_slices = self._uuid_to_slices, {}
        if not self._is_open:
            return
        self._is_open = False
        for one in slices.values():
            with suppress(nvml.NVMLError):
                one.close()
        try:
            self._call("", "nvmlShutdown")
        except nvml.NVMLError:
            # A driver that has gone has nothing to shut down.
            return

    def _call(self, uuid: str, function: str, *arguments: Any) -> Any:
        """Calls NVML, notes its return code, and asks again when what it counted has grown."""
        for attempt in range(RETRIES_MAX):
            began_ns = time.perf_counter_ns()
            try:
                result = getattr(nvml, function)(*arguments)
            except nvml.NVMLError as error:
                self._note(uuid, function, error.value, began_ns)
                grew = error.value == nvml.NVML_ERROR_INSUFFICIENT_SIZE
                if not grew or attempt == RETRIES_MAX - 1:
                    raise
            else:
                self._note(uuid, function, nvml.NVML_SUCCESS, began_ns)
                return result
        raise AssertionError("unreachable")

    def _note(self, uuid: str, function: str, code: int, began_ns: int) -> None:
        took_us = (time.perf_counter_ns() - began_ns) // 1000
        self.calls[uuid, function] = Call(code, took_us)

    def _about(self, uuid: str, function: str, *arguments: Any) -> Any:
        """The same, or None where there is no such reading."""
        try:
            return self._call(uuid, function, *arguments)
        except nvml.NVMLError as error:
            if error.value in _ABSENT:
                return None
            raise

    def _try(self, uuid: str, function: str, *arguments: Any) -> Any:
        """The same, for what a look can do without: None unless the card itself has gone."""
        try:
            return self._call(uuid, function, *arguments)
        except nvml.NVMLError as error:
            if error.value in _GONE:
                raise
            return None

    def _handle(self, uuid: str) -> Any:
        handle = self._uuid_to_handle.get(uuid)
        if handle is None:
            handle = self._call(uuid, "nvmlDeviceGetHandleByUUID", uuid)
            self._uuid_to_handle[uuid] = handle
            self._watch(uuid, handle)
            self._cut(uuid, handle)
        return handle

    def _watch(self, uuid: str, handle: Any) -> None:
        """Asks for the driver's critical errors (XIDs) of this GPU, where it has such events."""
        events = self._about(uuid, "nvmlEventSetCreate")
        if events is None:
            return
        kind = nvml.nvmlEventTypeXidCriticalError
        self._about(uuid, "nvmlDeviceRegisterEvents", handle, kind, events)
        if self.calls[uuid, "nvmlDeviceRegisterEvents"].code == nvml.NVML_SUCCESS:
            self._uuid_to_events[uuid] = events

    def _cut(self, uuid: str, handle: Any) -> None:
        """Monitors the slices of a card that is cut into some, where it can."""
        mig = self._about(uuid, "nvmlDeviceGetMigMode", handle)
        if mig is None or not mig[0]:
            return
        support = self._about(uuid, "nvmlGpmQueryDeviceSupport", handle)
        if support is None or not support.isSupportedDevice:
            return
        parts = self._parts(uuid, handle)
        told = [self._about(uuid, "nvmlDeviceGetGpuInstanceId", part) for part in parts]
        instances = dict.fromkeys(instance for instance in told if instance is not None)
        self._uuid_to_slices[uuid] = Slices(handle, instances, partial(self._try, uuid))

    def _inventory(self) -> tuple[GpuInfo, ...]:
        driver = self._about("", "nvmlSystemGetDriverVersion")
        state = self._about("", "nvmlSystemGetConfComputeState")
        is_confidential = None if state is None else bool(state.ccFeature)
        found = []
        for index in range(self._call("", "nvmlDeviceGetCount")):
            handle = self._call(f"#{index}", "nvmlDeviceGetHandleByIndex", index)
            uuid = self._call(f"#{index}", "nvmlDeviceGetUUID", handle)
            found.append(self._describe(index, uuid, handle, driver, is_confidential))
        return tuple(found)

    def _describe(
        self, index: int, uuid: str, handle: Any, driver: str | None, is_confidential: bool | None
    ) -> GpuInfo:
        ask = partial(self._about, uuid)
        memory = ask("nvmlDeviceGetMemoryInfo", handle)
        pci = ask("nvmlDeviceGetPciInfo", handle)
        capability = ask("nvmlDeviceGetCudaComputeCapability", handle)
        mig = ask("nvmlDeviceGetMigMode", handle)
        is_mig = None if mig is None else bool(mig[0])
        return GpuInfo(
            uuid=uuid,
            index=index,
            name=ask("nvmlDeviceGetName", handle) or "unnamed",
            driver=driver,
            memory_bytes=None if memory is None else memory.total,
            pci=None if pci is None else _text(pci.busId),
            compute_capability=None if capability is None else "{}.{}".format(*capability),
            power_limit_mw=ask("nvmlDeviceGetEnforcedPowerLimit", handle),
            encoder_capacity_percent=ask(
                "nvmlDeviceGetEncoderCapacity", handle, nvml.NVML_ENCODER_QUERY_H264
            ),
            is_mig=is_mig,
            mig_devices=tuple(self._slices(uuid, handle)) if is_mig else None,
            is_confidential=is_confidential,
        )

    def _parts(self, uuid: str, handle: Any) -> Iterator[Any]:
        """Handles of a card's slices."""
        for index in range(self._about(uuid, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
            # A free place is NOT_FOUND.
            part = self._about(uuid, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
            if part is not None:
                yield part

    def _slices(self, uuid: str, handle: Any) -> Iterable[MigDevice]:
        for part in self._parts(uuid, handle):
            memory = self._about(uuid, "nvmlDeviceGetMemoryInfo", part)
            yield MigDevice(
                uuid=self._call(uuid, "nvmlDeviceGetUUID", part),
                name=self._about(uuid, "nvmlDeviceGetName", part) or "unnamed",
                memory_bytes=None if memory is None else memory.total,
            )

    def _sample(self, uuid: str) -> Sample:
        handle = self._handle(uuid)
        ask = partial(self._about, uuid)
        memory = ask("nvmlDeviceGetMemoryInfo", handle)
        power_mw = ask("nvmlDeviceGetPowerUsage", handle)
        energy_mj = ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        temperature = ask("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU)
        reasons = ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if reasons is None:
            # What drivers before 535 call it.
            reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        ecc = partial(ask, "nvmlDeviceGetTotalEccErrors", handle)
        return Sample(
            uuid=uuid,
            load=self._load(uuid, handle),
            processes=self._processes(uuid, handle),
            process_loads=self._process_loads(uuid, handle),
            slice_loads=self._slice_loads(uuid),
            encoder_sessions=_sessions(ask("nvmlDeviceGetEncoderSessions", handle), "averageFps"),
            capture_sessions=_sessions(ask("nvmlDeviceGetFBCSessions", handle), "averageFPS"),
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            power_mw=power_mw,
            energy_mj=energy_mj,
            energy_source=_energy_source(energy_mj, power_mw),
            temperature_c=temperature,
            sm_mhz=ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
            memory_mhz=ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
            clock_reasons=None if reasons is None else _reasons(reasons),
            ecc_corrected=ecc(nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_VOLATILE_ECC),
            ecc_uncorrected=ecc(nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC),
            xids=self._xids(uuid),
        )

    def _load(self, uuid: str, handle: Any) -> Load:
        rates = self._about(uuid, "nvmlDeviceGetUtilizationRates", handle)

        def of(part: str) -> int | None:
            told: Sequence[int] | None = self._about(
                uuid, f"nvmlDeviceGet{part}Utilization", handle
            )
            return None if told is None else told[0]

        return Load(
            sm=None if rates is None else rates.gpu,
            memory=None if rates is None else rates.memory,
            encoder=of("Encoder"),
            decoder=of("Decoder"),
            jpeg=of("Jpg"),
            optical_flow=of("Ofa"),
        )

    def _processes(self, uuid: str, handle: Any) -> tuple[GpuProcess, ...] | None:
        kinds = ("Compute", "MPSCompute", "Graphics")
        lists = {
            kind: self._about(uuid, f"nvmlDeviceGet{kind}RunningProcesses", handle)
            for kind in kinds
        }
        # Without the list of compute processes nobody knows who works here.
        if lists["Compute"] is None:
            return None
        found: dict[int, GpuProcess] = {}
        for kind in kinds:
            for process in lists[kind] or ():
                before = found.get(process.pid, GpuProcess(pid=process.pid))
                sizes = (before.memory_bytes, process.usedGpuMemory)
                # A process that draws and computes is in two lists with one size.
                known = [size for size in sizes if size is not None]
                found[process.pid] = GpuProcess(
                    pid=process.pid,
                    memory_bytes=max(known) if known else None,
                    uses_graphics=before.uses_graphics or kind == "Graphics",
                    instance=_instance(process.gpuInstanceId),
                )
        return tuple(found[pid] for pid in sorted(found))

    def _process_loads(self, uuid: str, handle: Any) -> tuple[ProcessLoad, ...] | None:
        since_us = self._uuid_to_seen_us.get(uuid, 0)
        # The newer call knows JPEG and optical flow too.
        for function in (
            "nvmlDeviceGetProcessesUtilizationInfo",
            "nvmlDeviceGetProcessUtilization",
        ):
            try:
                told = self._call(uuid, function, handle, since_us)
            except nvml.NVMLError as error:
                if error.value in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_SUCCESS):
                    # Nobody did anything since then; the binding says success by raising it.
                    return ()
                if error.value not in _ABSENT:
                    raise
            else:
                newest = max((one.timeStamp for one in told), default=since_us)
                self._uuid_to_seen_us[uuid] = max(since_us, newest)
                return _busiest(one for one in told if one.timeStamp > since_us)
        return None

    def _slice_loads(self, uuid: str) -> tuple[SliceLoad, ...] | None:
        slices = self._uuid_to_slices.get(uuid)
        return None if slices is None else slices.look()

    def _xids(self, uuid: str) -> tuple[int, ...] | None:
        events = self._uuid_to_events.get(uuid)
        if events is None:
            return None
        found = []
        for _ in range(EVENTS_MAX):
            try:
                event = self._call(uuid, "nvmlEventSetWait", events, 0)
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_TIMEOUT or error.value in _ABSENT:
                    break
                raise
            found.append(int(event.eventData))
        return tuple(found)


def _instance(told: int) -> int | None:
    return None if told == NO_INSTANCE else told


def _busiest(samples: Iterable[Any]) -> tuple[ProcessLoad, ...]:
    """The highest load of each process: a burst between two looks counts, however short."""
    found: dict[int, dict[str, int]] = {}
    fields = {
        "sm": "smUtil",
        "memory": "memUtil",
        "encoder": "encUtil",
        "decoder": "decUtil",
        "jpeg": "jpgUtil",
        "optical_flow": "ofaUtil",
    }
    for one in samples:
        most = found.setdefault(one.pid, {})
        for name, field in fields.items():
            value = getattr(one, field, None)
            if value is not None:
                # The driver sometimes answers with what cannot be a percentage.
                most[name] = max(most.get(name, 0), min(value, 100))
    return tuple(ProcessLoad(pid=pid, load=Load(**found[pid])) for pid in sorted(found))


def _sessions(told: Sequence[Any] | None, fps: str) -> tuple[MediaSession, ...] | None:
    if told is None:
        return None
    return tuple(
        MediaSession(
            pid=one.pid, width=one.hResolution, height=one.vResolution, fps=getattr(one, fps)
        )
        for one in told
    )


def _reasons(mask: int) -> tuple[str, ...]:
    known = [name for bit, name in CLOCK_REASONS.items() if mask & bit]
    rest = mask & ~sum(CLOCK_REASONS)
    return (*known, *([f"0x{rest:x}"] if rest else []))


def _energy_source(energy_mj: int | None, power_mw: int | None) -> EnergySource:
    if energy_mj is not None:
        return EnergySource.NVML_COUNTER
    return EnergySource.NONE if power_mw is None else EnergySource.NVML_POWER


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _words(error: nvml.NVMLError) -> str:
    return f"{str(error).strip() or 'no reason'} (NVML code {error.value})"
