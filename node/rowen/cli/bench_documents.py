"""What ``rowen bench`` prints with ``--json``."""

from __future__ import annotations

from typing import Literal

from rowen.cli.document_types import Count, Document
from rowen.cli.documents import Amount, Hash


class BenchPhase(Document, frozen=True):
    """Tokens, the time they took, and their energy; null where nothing measured it."""

    units: Count
    elapsed_us: Count
    energy_mj: Count | None


class BenchRun(Document, frozen=True):
    """One concurrency. First tokens: the median and the slowest."""

    concurrency: Count
    prefill: BenchPhase
    decode: BenchPhase
    first_token_us: Count
    first_token_us_max: Count


class BenchQuality(Document, frozen=True):
    """Log-likelihood of the fixed text, millionths of a nat a token; usually negative.

    Attributes:
        tokens: Of the text.
        mean_micronats: Of this variant.
        reference: The finer precision it is compared with; null when none was measured.
        worse_micronats: How much less likely the text is than to that one, on average.
        apart_micronats: How far the two are apart, on average.
    """

    tokens: Count
    mean_micronats: int
    reference: str | None
    worse_micronats: int | None
    apart_micronats: int | None


class BenchFloors(Document, frozen=True):
    """Prices of a million tokens; see ``provider.measurement.PriceFloors``."""

    input: Amount
    output: Amount
    input_alone: Amount
    output_alone: Amount
    has_energy: bool


class BenchedVariant(Document, frozen=True):
    """One variant. ``is_below_floor`` is about the prices in the settings."""

    variant: Hash
    model: str
    precision: str
    build: str
    energy_source: Literal["nvml_counter", "nvml_power", "rapl", "stated", "none"]
    devices: list[str]
    runs: list[BenchRun]
    quality: BenchQuality | None
    floors: BenchFloors
    is_below_floor: bool
    file: str


class BenchDocument(Document, frozen=True):
    """``rowen bench``."""

    variants: list[BenchedVariant]
