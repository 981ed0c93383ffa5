"""Load of a card's slices (MIG), which NVML tells by GPU performance monitoring (GPM) alone.

A load is the difference of two samples of a GPU instance, so it is known from the second look on.
Hopper and newer have it; where it is not supported or not allowed, loads are absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import pynvml as nvml

from rowen.gpu.base import Load, SliceLoad

Ask = Callable[..., Any]
"""Calls an NVML function of a card by name; None where there is no such reading."""


def _each(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


# The first fits `nvmlDeviceGetUtilizationRates`: time in which anything was at work.
_PART_TO_METRICS: Final[dict[str, tuple[int, ...]]] = {
    "sm": (nvml.NVML_GPM_METRIC_GRAPHICS_UTIL,),
    "encoder": _each(nvml.NVML_GPM_METRIC_NVENC_0_UTIL, nvml.NVML_GPM_METRIC_NVENC_3_UTIL),
    "decoder": _each(nvml.NVML_GPM_METRIC_NVDEC_0_UTIL, nvml.NVML_GPM_METRIC_NVDEC_7_UTIL),
    "jpeg": _each(nvml.NVML_GPM_METRIC_NVJPG_0_UTIL, nvml.NVML_GPM_METRIC_NVJPG_7_UTIL),
    "optical_flow": _each(nvml.NVML_GPM_METRIC_NVOFA_0_UTIL, nvml.NVML_GPM_METRIC_NVOFA_1_UTIL),
}


class Slices:
    """Monitors the GPU instances of one card.

    Args:
        handle: Of the card.
        instances: Their ids.
        ask: Calls NVML.
    """

    def __init__(self, handle: Any, instances: Iterable[int], ask: Ask) -> None:
        self._handle = handle
        self._ask = ask
        self._instance_to_sample: dict[int, Any] = dict.fromkeys(instances)

    def look(self) -> tuple[SliceLoad, ...]:
        """Loads since the last look, of those instances that tell any."""
        found = []
        for instance, before in self._instance_to_sample.items():
            sample = self._ask("nvmlGpmSampleAlloc")
            if sample is None:
                return ()
            taken = self._ask("nvmlGpmMigSampleGet", self._handle, instance, sample)
            if taken is None:
                self._ask("nvmlGpmSampleFree", sample)
                continue
            self._instance_to_sample[instance] = sample
            if before is None:
                continue
            load = self._load(before, sample)
            self._ask("nvmlGpmSampleFree", before)
            if load is not None:
                found.append(SliceLoad(instance=instance, load=load))
        return tuple(found)

    def close(self) -> None:
        """Gives back what the driver lent."""
        for sample in self._instance_to_sample.values():
            if sample is not None:
                self._ask("nvmlGpmSampleFree", sample)
        self._instance_to_sample.clear()

    def _load(self, before: Any, now: Any) -> Load | None:
        asked = nvml.c_nvmlGpmMetricsGet_t()
        asked.version = nvml.NVML_GPM_METRICS_GET_VERSION
        asked.sample1, asked.sample2 = before, now
        wanted = [metric for metrics in _PART_TO_METRICS.values() for metric in metrics]
        asked.numMetrics = len(wanted)
        for place, metric in enumerate(wanted):
            asked.metrics[place].metricId = metric
        told = self._ask("nvmlGpmMetricsGet", asked)
        if told is None:
            return None
        known = {
            one.metricId: one.value
            for one in told.metrics[: len(wanted)]
            if one.nvmlReturn == nvml.NVML_SUCCESS and math.isfinite(one.value)
        }
        # Up: what worked at all did not work 0 %.
        parts = {
            part: max((math.ceil(known[one]) for one in metrics if one in known), default=None)
            for part, metrics in _PART_TO_METRICS.items()
        }
        return Load(**parts)
