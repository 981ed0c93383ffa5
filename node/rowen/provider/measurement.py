"""What was measured of a variant on this machine, kept in the home, and the prices it calls for."""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

import msgspec

from rowen.protocol.errors import UserError
from rowen_scheduler.energy import Weights
from rowen_scheduler.market import Claim, ClaimedRun, Variant
from rowen_scheduler.pricing import (
    Costs,
    Floor,
    Prices,
    Shortfall,
    Span,
    floor_of,
    shortfalls,
    stated_mj,
)

FORMAT = 1
CLAIMED_RUNS_MAX = 4
_COUNT_MAX = 2**32 - 1
# Bits of a weight, by what the field calls precisions; the first that fits decides.
_BITS = (("f32", 32), ("fp32", 32), ("bf16", 16), ("f16", 16), ("fp16", 16), ("8", 8), ("6", 6),
         ("5", 5), ("4", 4), ("3", 3), ("2", 2))  # fmt: skip


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """Work of one kind; see ``pricing.Span``."""

    units: int
    elapsed_us: int
    energy_mj: int | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Both kinds of work with so many jobs at the same time.

    Attributes:
        concurrency: Jobs.
        prefill: Reading prompts that no cache knew.
        decode: Writing, from when every job had begun to when the first ended.
        first_token_us: From order to first token, each of the prefill jobs, sorted.
    """

    concurrency: int
    prefill: Phase
    decode: Phase
    first_token_us: tuple[int, ...]


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Likelihood of the fixed text.

    Attributes:
        text_sha256: Which text.
        tokens: As the model's tokenizer cuts it.
        micronats: Log-likelihood of every token but the first, in millionths.
    """

    text_sha256: str
    tokens: tuple[int, ...]
    micronats: tuple[int, ...]

    @property
    def mean_micronats(self) -> int:
        """Of a token, rounded to the nearest."""
        return round(sum(self.micronats) / len(self.micronats))


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One variant, measured.

    Attributes:
        format: Of this record.
        variant: Its id, hexadecimal.
        model: Its name.
        precision: Its quantisation.
        build: Its engine.
        measured_at_ms: Unix time.
        energy_source: ``nvml_counter``, ``nvml_power``, ``rapl``, ``stated`` or ``none``.
        devices: Whose energy it is.
        runs: By concurrency, 1 first.
        quality: None where the engine tells no likelihoods.
    """

    format: int = FORMAT
    variant: str
    model: str
    precision: str
    build: str
    measured_at_ms: int
    energy_source: str
    devices: tuple[str, ...]
    runs: tuple[Run, ...]
    quality: Quality | None


class PriceFloors(msgspec.Struct, frozen=True, kw_only=True):
    """What a million tokens cost their owner; token units.

    Attributes:
        input: At the concurrency where they are cheapest: selling below it loses money always.
        output: Likewise.
        input_alone: For a job that is alone: at this price even that one loses nothing.
        output_alone: Likewise.
        has_energy: Whether energy is in it.
    """

    input: int
    output: int
    input_alone: int
    output_alone: int
    has_energy: bool


def span_of(phase: Phase) -> Span:
    """A phase as prices are made from it."""
    return Span(units=phase.units, elapsed_us=phase.elapsed_us, energy_mj=phase.energy_mj)


def floors_of(measurement: Measurement, costs: Costs) -> PriceFloors:
    """The prices a measurement calls for."""
    inputs: list[Floor] = [floor_of(span_of(run.prefill), costs) for run in measurement.runs]
    outputs: list[Floor] = [floor_of(span_of(run.decode), costs) for run in measurement.runs]
    return PriceFloors(
        input=min(floor.price for floor in inputs),
        output=min(floor.price for floor in outputs),
        input_alone=max(floor.price for floor in inputs),
        output_alone=max(floor.price for floor in outputs),
        has_energy=all(floor.energy is not None for floor in (*inputs, *outputs)),
    )


def with_stated_watts(measurement: Measurement, watts: int) -> Measurement:
    """The same, with the energy of a machine that draws what its owner says all the time."""

    def stated(phase: Phase) -> Phase:
        return msgspec.structs.replace(phase, energy_mj=stated_mj(watts, phase.elapsed_us))

    runs = tuple(
        msgspec.structs.replace(run, prefill=stated(run.prefill), decode=stated(run.decode))
        for run in measurement.runs
    )
    return msgspec.structs.replace(measurement, runs=runs, energy_source="stated")


def quality_loss(one: Quality, reference: Quality) -> tuple[int, int] | None:
    """How much less likely the text became, in millionths of a nat a token.

    Returns:
        The mean difference (positive is worse) and the mean of absolute differences; None when
        the two cannot be compared: another text, or another tokenizer.
    """
    if (one.text_sha256, one.tokens) != (reference.text_sha256, reference.tokens):
        return None
    pairs = list(zip(one.micronats, reference.micronats, strict=True))
    worse = round(sum(theirs - ours for ours, theirs in pairs) / len(pairs))
    apart = round(sum(abs(theirs - ours) for ours, theirs in pairs) / len(pairs))
    return worse, apart


def precision_bits(precision: str) -> int:
    """Bits of a weight as the name of a precision tells; 0 when it does not."""
    name = precision.lower()
    return next((bits for part, bits in _BITS if part in name), 0)


def weights_of(measurements: list[Measurement]) -> Weights | None:
    """What reading and writing a token takes, for dividing a GPU's energy among its jobs.

    Of the newest measurement, with all places taken, as jobs meet each other then. By energy where
    it was measured, or else by time: what a machine draws differs less than how long it takes.
    None when nothing was measured.
    """
    newest = max(measurements, key=lambda one: one.measured_at_ms, default=None)
    if newest is None:
        return None
    run = max(newest.runs, key=lambda one: one.concurrency)
    read, write = run.prefill, run.decode
    if read.energy_mj and write.energy_mj:
        took = read.energy_mj, write.energy_mj
    else:
        took = read.elapsed_us, write.elapsed_us
    # Crosswise, so that the ratio stays exact without a division.
    return Weights(prefill=took[0] * write.units, decode=took[1] * read.units)


def claim_of(measurement: Measurement) -> Claim:
    """What an offer says of a measurement: speed rounded down, energy rounded up."""
    return Claim(
        measured_at_ms=measurement.measured_at_ms,
        energy_source=measurement.energy_source,
        runs=tuple(_claimed(run) for run in measurement.runs[:CLAIMED_RUNS_MAX]),
    )


def _claimed(run: Run) -> ClaimedRun:
    return ClaimedRun(
        concurrency=run.concurrency,
        input_per_ks=_per_ks(run.prefill),
        output_per_ks=_per_ks(run.decode),
        first_token_ms=min(_COUNT_MAX, round(statistics.median(run.first_token_us) / 1000)),
        input_j_per_m=_j_per_m(run.prefill),
        output_j_per_m=_j_per_m(run.decode),
    )


def _per_ks(phase: Phase) -> int:
    return min(_COUNT_MAX, phase.units * 1000 * 1_000_000 // max(1, phase.elapsed_us))


def _j_per_m(phase: Phase) -> int | None:
    if phase.energy_mj is None or not phase.units:
        return None
    return min(_COUNT_MAX, -(-phase.energy_mj * 1000 // phase.units))


# --- in the home


def keep(directory: Path, measurement: Measurement) -> Path:
    """Writes a measurement in place of the one before; whole, or not at all.

    Raises:
        UserError: The directory cannot be written.
    """
    file = directory / f"{measurement.variant.removeprefix('0x')}.json"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=directory)
        with os.fdopen(handle, "wb") as new:
            new.write(msgspec.json.format(msgspec.json.encode(measurement), indent=2) + b"\n")
        Path(name).replace(file)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error}") from error
    return file


def require_writable(directory: Path) -> None:
    """Whether a measurement can be kept; to be asked before minutes are spent on one.

    Raises:
        UserError: It cannot.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {error.strerror}") from error


def recall(directory: Path, variant: bytes) -> Measurement | None:
    """What was measured of a variant; None when nothing was, or by another version.

    Raises:
        UserError: The file is there and cannot be read.
    """
    return _read(directory / f"{variant.hex()}.json")


def recall_all(directory: Path) -> list[Measurement]:
    """Every measurement in the home."""
    found = [_read(file) for file in sorted(directory.glob("*.json"))]
    return [measurement for measurement in found if measurement is not None]


def reference_of(measurement: Measurement, others: list[Measurement]) -> Measurement | None:
    """The finest other precision of the model, if one is finer and its quality was measured."""
    finer = [
        other
        for other in others
        if other.model == measurement.model
        and other.quality is not None
        and precision_bits(other.precision) > precision_bits(measurement.precision)
    ]
    return max(finer, key=lambda other: precision_bits(other.precision), default=None)


def check_prices(
    variants: list[Variant], measurements: dict[bytes, Measurement], costs: Costs
) -> list[tuple[Variant, Shortfall]]:
    """Every price that is below what was measured."""
    found = []
    for variant in variants:
        measurement = measurements.get(variant.id)
        if measurement is None:
            continue
        floors = floors_of(measurement, costs)
        prices = Prices(
            input=variant.price_input, cached=variant.price_cached, output=variant.price_output
        )
        found += [(variant, one) for one in shortfalls(prices, floors.input, floors.output)]
    return found


def _read(file: Path) -> Measurement | None:
    try:
        measurement = msgspec.json.decode(file.read_bytes(), type=Measurement)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} is no measurement ({error}): measure anew with `rowen bench`"
        ) from error
    return measurement if measurement.format == FORMAT else None
