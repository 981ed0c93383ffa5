"""What a unit is, kind by kind, and vectors as they travel. Threat 16."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen.protocol.errors import PeerError
from rowen.protocol.jobs import EmbeddingsInput, OcrInput
from rowen.protocol.units import Allowance, allowance_of
from rowen.protocol.vectors import read_vector, vector_text

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
VECTORS = st.lists(st.lists(FLOATS, min_size=1, max_size=8), min_size=1, max_size=5)
TEXTS = ("abc", "é", "x" * 10)
ALLOWANCE = allowance_of(EmbeddingsInput(TEXTS))


def bits(numbers: list[float]) -> bytes:
    return struct.pack(f">{len(numbers)}f", *numbers)


@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_a_vector_survives_the_wire_to_the_bit(numbers: list[float]) -> None:
    line = vector_text(numbers)
    assert line == bits(numbers).hex() + "\n"
    assert bits(list(read_vector(line[:-1]))) == bits(numbers)


@pytest.mark.parametrize(
    "line", ["", "3f8", "3f80000", "3f8000000", "3f80000g", "7f800000", "7fc00000", "3f80 0000"]
)
def test_what_is_no_vector_is_the_providers_fault(line: str) -> None:
    """Cut numbers, other signs, infinities and what is not a number."""
    with pytest.raises(PeerError):
        read_vector(line)


@given(VECTORS, st.data())
def test_numbers_are_counted_exactly_however_their_text_is_cut(
    vectors: list[list[float]], data: st.DataObject
) -> None:
    text = "".join(map(vector_text, vectors))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    signs = sum(map(ALLOWANCE.signs_in, parts))
    assert ALLOWANCE.output_units_at_most(signs) == sum(map(len, vectors))


def test_an_item_is_paid_for_when_it_is_answered() -> None:
    """Three, two and ten bytes; sixteen tokens may stand around each text."""
    assert ALLOWANCE.input_units_max == (0, 19, 37, 63)
    one = ALLOWANCE.signs_in(vector_text([1.0]))
    paid = [ALLOWANCE.input_units_at_most(ends, ends * one) for ends in range(5)]
    assert paid == [0, 19, 37, 63, 63]


def test_an_end_with_nothing_before_it_answers_nothing() -> None:
    assert ALLOWANCE.input_units_at_most(3, ALLOWANCE.signs_in("\n\n\n")) == 0
    assert ALLOWANCE.input_units_at_most(3, ALLOWANCE.signs_in("3f800000\n\n\n")) == 19


@pytest.mark.parametrize("text", ["3F800000\n", "zzzzzzzz\n", "3f800000 ", "\u0661\n"])
def test_what_is_in_no_vector_is_not_counted(text: str) -> None:
    with pytest.raises(PeerError):
        ALLOWANCE.signs_in(text)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.data())
def test_characters_of_pages_are_counted_exactly_however_they_are_cut(
    pages: list[str], data: st.DataObject
) -> None:
    allowance = allowance_of(OcrInput((b"picture",) * 4))
    text = "".join(page.replace("\f", " ") + "\f" for page in pages)
    cut = data.draw(st.integers(0, len(text)))
    signs = allowance.signs_in(text[:cut]) + allowance.signs_in(text[cut:])
    assert allowance.output_units_at_most(signs) == len(text)
    assert allowance.input_units_at_most(text.count("\f"), signs) == len(pages)
    assert allowance.input_units_max == (0, 1, 2, 3, 4)


@given(st.text(max_size=50), st.integers(0, 100))
def test_a_text_has_no_more_tokens_than_bytes_and_a_few(text: str, silent: int) -> None:
    allowance = Allowance(input_units_max=(7,), silent_units_max=silent)
    signs = allowance.signs_in(text)
    assert allowance.output_units_at_most(signs) == len(text.encode()) + silent
    assert allowance.input_units_at_most(0, signs) == 7
