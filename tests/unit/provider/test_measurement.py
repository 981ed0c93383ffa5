"""What was measured is kept, compared with finer precisions, and held against the prices."""

from __future__ import annotations

import resource
from fractions import Fraction
from pathlib import Path

import pytest
from msgspec.structs import replace

from rowen.protocol.errors import UserError
from rowen.provider.measurement import (
    Measurement,
    Phase,
    Quality,
    Run,
    check_prices,
    claim_of,
    floors_of,
    keep,
    precision_bits,
    quality_loss,
    recall,
    recall_all,
    reference_of,
    require_writable,
    weights_of,
    with_stated_watts,
)
from rowen_scheduler.market import Variant
from rowen_scheduler.pricing import Costs

ID = b"\x07" * 32
SECOND = 1_000_000
COSTS = Costs(kwh=300_000, wear_hour=90_000, margin_percent=20)


def run(concurrency: int, faster: int, energy_mj: int | None = 300_000) -> Run:
    """3 J and 20 ms a token written, a tenth of it a token read; ``faster`` times more of them."""
    return Run(
        concurrency=concurrency,
        prefill=Phase(units=1_000 * faster, elapsed_us=2 * SECOND, energy_mj=energy_mj),
        decode=Phase(units=100 * faster, elapsed_us=2 * SECOND, energy_mj=energy_mj),
        first_token_us=(1,),
    )


QUALITY = Quality(text_sha256="t", tokens=(1, 2, 3), micronats=(-1_000, -2_000))
MEASURED = Measurement(
    variant="0x" + ID.hex(),
    model="m",
    precision="q4_1",
    build="b",
    measured_at_ms=1,
    energy_source="nvml_counter",
    devices=("card",),
    runs=(run(1, 1), run(4, 2)),
    quality=QUALITY,
)


def variant(price_input: int, price_output: int) -> Variant:
    return Variant(
        id=ID, model="m", precision="q4_1", weights_digest=bytes(32), build="b",
        context_units=1, kinds=("chat",), output_units_max=1, price_input=price_input,
        price_cached=0, price_output=price_output, price_request=0,
    )  # fmt: skip


def test_the_floor_is_the_cheapest_way_to_work_and_the_proposal_the_dearest() -> None:
    """Below the first, every token loses money; at the second, not even a lone job does."""
    floors = floors_of(MEASURED, COSTS)
    assert (floors.output_alone, floors.output) == (900_000, 450_000)
    assert (floors.input_alone, floors.input) == (90_000, 45_000)
    assert floors.has_energy


@pytest.mark.parametrize(
    ("price_input", "price_output", "expected"),
    [
        (45_000, 450_000, []),
        (44_999, 450_000, [("input", 44_999, 45_000)]),
        (0, 0, [("input", 0, 45_000), ("output", 0, 450_000)]),
    ],
)
def test_a_price_below_what_was_measured_is_found(
    price_input: int, price_output: int, expected: list[tuple[str, int, int]]
) -> None:
    found = check_prices([variant(price_input, price_output)], {ID: MEASURED}, COSTS)
    assert [(one.what, one.price, one.floor) for _, one in found] == expected


def test_what_was_not_measured_has_no_floor() -> None:
    assert check_prices([variant(0, 0)], {}, COSTS) == []


def test_watts_that_an_owner_states_stand_in_for_a_meter_and_say_so() -> None:
    unmetered = replace(MEASURED, runs=(run(1, 1, None),), energy_source="none")
    assert not floors_of(unmetered, COSTS).has_energy
    stated = with_stated_watts(unmetered, 150)
    assert stated.energy_source == "stated"
    assert floors_of(stated, COSTS) == floors_of(replace(MEASURED, runs=(run(1, 1),)), COSTS)


def test_a_measurement_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    directory = tmp_path / "measurements"
    assert recall(directory, ID) is None
    file = keep(directory, MEASURED)
    assert recall(directory, ID) == MEASURED
    again = replace(MEASURED, measured_at_ms=2)
    assert keep(directory, again) == file
    assert recall_all(directory) == [again]
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match="rowen bench"):
        recall(directory, ID)


def test_the_reference_is_the_finest_other_precision_of_the_model() -> None:
    eight = replace(MEASURED, precision="q8_0", variant="0x08")
    half = replace(MEASURED, precision="bf16", variant="0x16")
    other = replace(MEASURED, precision="f32", model="another")
    blind = replace(MEASURED, precision="f32", quality=None)
    assert reference_of(MEASURED, [eight, half, other, blind, MEASURED]) is half
    assert reference_of(half, [eight, MEASURED]) is None


@pytest.mark.parametrize(
    ("precision", "bits"),
    [("f32", 32), ("BF16", 16), ("q8_0", 8), ("fp8", 8), ("q4_k_m", 4), ("awq-int4", 4),
     ("iq3_xxs", 3), ("unknown", 0)],
)  # fmt: skip
def test_precisions_are_ordered_by_their_bits(precision: str, bits: int) -> None:
    assert precision_bits(precision) == bits


def test_quality_is_compared_token_by_token_on_the_same_text_only() -> None:
    """Worse by 500 on average, and apart by 1,500: one token got better."""
    worse = replace(QUALITY, micronats=(-3_000, -1_000))
    assert quality_loss(worse, QUALITY) == (500, 1_500)
    assert quality_loss(QUALITY, QUALITY) == (0, 0)
    assert quality_loss(replace(QUALITY, tokens=(1, 2, 4)), QUALITY) is None
    assert quality_loss(replace(QUALITY, text_sha256="u"), QUALITY) is None


def test_a_gpus_energy_is_divided_as_the_newest_measurement_says() -> None:
    """By joules a token, or by time where nothing measured joules; a ratio, and exact."""
    assert weights_of([]) is None
    older = replace(MEASURED, measured_at_ms=0, runs=(run(9, 9),))
    found = weights_of([older, MEASURED])
    assert found is not None
    assert Fraction(found.decode, found.prefill) == 10
    slow = run(2, 1, None)
    slow = replace(slow, decode=replace(slow.decode, elapsed_us=4 * SECOND))
    by_time = weights_of([replace(MEASURED, runs=(run(1, 1, None), slow))])
    assert by_time is not None
    assert Fraction(by_time.decode, by_time.prefill) == 20


def test_a_claim_is_what_was_measured_rounded_against_its_provider() -> None:
    """50 tokens and 150 W a second are 3 J a token; a third of a unit is never claimed."""
    claim = claim_of(MEASURED)
    assert (claim.measured_at_ms, claim.energy_source) == (1, "nvml_counter")
    alone, many = claim.runs
    assert (alone.concurrency, alone.output_per_ks, alone.output_j_per_m) == (1, 50_000, 3_000_000)
    assert (alone.input_per_ks, alone.input_j_per_m) == (500_000, 300_000)
    assert (many.concurrency, many.output_per_ks) == (4, 100_000)
    odd = Phase(units=3, elapsed_us=1_000_000_007, energy_mj=10)
    run_of_odd = Run(concurrency=1, prefill=odd, decode=odd, first_token_us=(900, 1_600, 9_000))
    (told,) = claim_of(replace(MEASURED, runs=(run_of_odd,))).runs
    assert (told.output_per_ks, told.output_j_per_m, told.first_token_ms) == (2, 3_334, 2)


def test_what_was_not_measured_is_not_claimed() -> None:
    (alone,) = claim_of(replace(MEASURED, runs=(run(1, 1, None),), energy_source="none")).runs
    assert (alone.input_j_per_m, alone.output_j_per_m) == (None, None)


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    """Also one that is there and full; nothing is left behind where it can be."""
    place = tmp_path / "measurements"
    require_writable(place)
    assert list(place.iterdir()) == []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot be written: File too large"):
            require_writable(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        require_writable(tmp_path / "file")
