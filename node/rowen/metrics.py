"""Prometheus' text format: families declared once, samples taken when somebody asks.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Kind(StrEnum):
    """How a family's numbers move."""

    GAUGE = "gauge"
    COUNTER = "counter"
    """Only rises while a process lives; its name ends in ``_total``."""


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers of one meaning.

    Attributes:
        name: With its unit last; a counter ends in ``_total``.
        kind: See ``Kind``.
        help: What it says, for a person.
        label: Name of what tells its samples apart; empty for a single number.
    """

    name: str
    kind: Kind
    help: str
    label: str = ""

    def __post_init__(self) -> None:
        if (self.kind is Kind.COUNTER) != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: a counter, and nothing else, ends in _total")


@dataclass(frozen=True, slots=True)
class Sample:
    """One number. What is unknown has no sample: a gap, and not a zero.

    Attributes:
        family: What it is.
        value: Whole numbers above 2^53 arrive rounded: Prometheus knows only doubles.
        label: The value of the family's label.
    """

    family: Family
    value: float
    label: str = ""


def render(samples: Iterable[Sample]) -> bytes:
    """The page that Prometheus reads, with this process's memory, CPU time and descriptors."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    # Of its own: libp2p registers counters of its own in the global one.
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Samples(list(samples)))
    return generate_latest(registry)


class _Samples:
    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.core import Metric

        made: dict[str, Metric] = {}
        for sample in self._samples:
            family = sample.family
            if family.name not in made:
                # The library calls a counter without its ending, and writes it with it.
                name = family.name.removesuffix("_total")
                made[family.name] = Metric(name, family.help, family.kind.value)
            labels = {family.label: sample.label} if family.label else {}
            made[family.name].add_sample(family.name, labels, sample.value)
        return made.values()
