"""Seals and row checks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen.protocol.errors import UserError
from rowen.store.base import JournalCorrupt
from rowen.store.sealing import Column, Vault

SALT = bytes(32)
VAULT = Vault(bytes(range(32)), SALT)
ROW: tuple[Column, ...] = (b"channel", 3, "word", b"")

columns = st.lists(
    st.one_of(st.binary(max_size=9), st.integers(-(2**63), 2**63 - 1), st.text(max_size=9)),
    min_size=1,
    max_size=5,
).map(tuple)


def test_a_sealed_text_opens_where_it_was_sealed_and_nowhere_else() -> None:
    sealed = VAULT.seal(("secret",), ("receipts", b"channel", 3))
    assert b"secret" not in sealed
    assert VAULT.unseal(sealed, ("receipts", b"channel", 3)).endswith(b"secret")
    for place in (
        ("orders", b"channel", 3),
        ("receipts", b"other", 3),
        ("receipts", b"channel", 4),
    ):
        with pytest.raises(JournalCorrupt, match="seal is broken"):
            VAULT.unseal(sealed, place)


def test_every_byte_of_a_seal_counts() -> None:
    sealed = VAULT.seal(("secret",), ("receipts", 1))
    for at in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[at] ^= 1
        with pytest.raises(JournalCorrupt):
            VAULT.unseal(bytes(damaged), ("receipts", 1))
    for cut in (0, 5, 12, 20, len(sealed) - 1):
        with pytest.raises(JournalCorrupt):
            VAULT.unseal(sealed[:cut], ("receipts", 1))


def test_equal_texts_look_different() -> None:
    place = ("receipts", 1)
    assert VAULT.seal(("yes",), place) != VAULT.seal(("yes",), place)


@given(columns, columns)
def test_different_rows_have_different_checks(
    one: tuple[Column, ...], other: tuple[Column, ...]
) -> None:
    """Columns do not run into each other, and 0 is not an empty text."""
    assert (VAULT.check("t", one) == VAULT.check("t", other)) == (
        one == other and list(map(type, one)) == list(map(type, other))
    )


def test_a_check_is_bound_to_key_file_and_table() -> None:
    checks = {
        VAULT.check("orders", ROW),
        VAULT.check("receipts", ROW),
        Vault(bytes(32), SALT).check("orders", ROW),
        Vault(bytes(range(32)), bytes([1]) * 32).check("orders", ROW),
    }
    assert len(checks) == 4
    VAULT.verify("orders", (*ROW, VAULT.check("orders", ROW)))
    for wrong in (b"", None, 0, bytes(16)):
        with pytest.raises(JournalCorrupt, match="orders"):
            VAULT.verify("orders", (*ROW, wrong))


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_sealing_key_has_32_bytes(size: int) -> None:
    with pytest.raises(UserError, match="expected 32"):
        Vault(bytes(size), SALT)
