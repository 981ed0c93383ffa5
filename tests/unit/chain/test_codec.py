"""The ABI's encoding where it could go wrong; ``test_assumptions_chain`` has all calls."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode as encode_theirs
from hypothesis import given
from hypothesis import strategies as st

from rowen.chain.codec import decode, encode, members

WORDS = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint96", 2**96),
        ("uint64", -1),
        ("bool", 2),
        ("address", b"short"),
        ("bytes32", b"long" * 9),
        ("uint8", b"\1"),
        ("address", 7),
    ],
)
def test_a_value_outside_its_type_is_refused(kind: str, value: object) -> None:
    """Nothing is cut or padded in silence: it would be another amount, or another address."""
    with pytest.raises(ValueError, match=r"is outside|is no"):
        encode((kind,), (value,))


def test_tuples_are_taken_apart_at_their_own_level() -> None:
    assert members("(address,(uint8,(bytes,uint96)[]),bytes32[])") == (
        "address", "(uint8,(bytes,uint96)[])", "bytes32[]",
    )  # fmt: skip


@given(
    parts=st.lists(st.tuples(st.binary(max_size=70), st.integers(0, 255)), max_size=4), last=WORDS
)
def test_dynamic_values_inside_tuples_inside_arrays_are_pointed_to(
    parts: list[tuple[bytes, int]], last: bytes
) -> None:
    kinds = ("(bytes,uint8)[]", "bytes32")
    assert encode(kinds, (parts, last)) == encode_theirs(kinds, (parts, last))


@given(text=st.text(max_size=80), number=st.integers(0, 2**256 - 1), flag=st.booleans())
def test_what_a_function_returns_is_read_back(text: str, number: int, flag: bool) -> None:
    kinds = ("string", "uint256", "bool")
    assert decode(kinds, encode_theirs(kinds, (text, number, flag))) == (text, number, flag)


@given(raw=st.binary(max_size=200))
def test_a_strangers_answer_is_read_or_refused(raw: bytes) -> None:
    """A token can return anything; offsets beyond the end are no reason to crash."""
    for kinds in (("string",), ("uint96", "bool"), ("address", "bytes")):
        try:
            decode(kinds, raw)
        except ValueError:
            continue


def test_dirty_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="is no address"):
        decode(("address",), b"\1" * 32)
