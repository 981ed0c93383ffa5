"""Our trie reader against the ``trie`` and ``rlp`` libraries, and against bytes of strangers."""

from contextlib import suppress
from typing import Protocol, cast

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from rowen.chain.merkle_patricia import EMPTY_ROOT, encode_list, lookup, number, payload, split_list
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import keccak

NAMES = st.binary(min_size=1, max_size=3)


class Trie(Protocol):
    """What we use of ``HexaryTrie``, whose methods have no types."""

    root_hash: bytes

    def set(self, key: bytes, value: bytes) -> None: ...

    def get_proof(self, key: bytes) -> tuple[object, ...]: ...


def build(entries: dict[bytes, bytes]) -> Trie:
    trie = cast(Trie, HexaryTrie({}))
    for name, value in entries.items():
        trie.set(keccak(name), rlp.encode(value))
    return trie


def proof_of(trie: Trie, key: bytes) -> list[bytes]:
    return [rlp.encode(node) for node in trie.get_proof(key) if node != b""]


def test_the_empty_trie_holds_nothing() -> None:
    assert HexaryTrie({}).root_hash == EMPTY_ROOT
    assert lookup(EMPTY_ROOT, keccak(b"any"), []) is None


@given(
    entries=st.dictionaries(NAMES, st.binary(min_size=1, max_size=40), min_size=1, max_size=60),
    asked=NAMES,
)
def test_presence_and_absence_are_what_the_library_says(
    entries: dict[bytes, bytes], asked: bytes
) -> None:
    trie = build(entries)
    for name in (*entries, asked):
        expected = rlp.encode(entries[name]) if name in entries else None
        assert lookup(trie.root_hash, keccak(name), proof_of(trie, keccak(name))) == expected


@given(
    entries=st.dictionaries(NAMES, st.binary(min_size=1, max_size=40), min_size=2, max_size=40),
    data=st.data(),
)
def test_a_proof_changed_anywhere_proves_nothing(
    entries: dict[bytes, bytes], data: st.DataObject
) -> None:
    trie = build(entries)
    name = data.draw(st.sampled_from(sorted(entries)))
    proof = proof_of(trie, keccak(name))
    index = data.draw(st.integers(0, len(proof) - 1))
    node = bytearray(proof[index])
    at = data.draw(st.integers(0, len(node) - 1))
    node[at] ^= data.draw(st.integers(1, 255))
    changed = [*proof[:index], bytes(node), *proof[index + 1 :]]
    for bad in (changed, proof[:-1], [*proof, proof[-1]], proof[1:], []):
        with pytest.raises(PeerError):
            lookup(trie.root_hash, keccak(name), bad)


@given(raw=st.binary(max_size=200))
def test_bytes_of_a_stranger_end_in_a_value_or_a_peer_error(raw: bytes) -> None:
    """P12: whatever the node says, and it is the root's own preimage."""
    for read in (
        lambda: lookup(keccak(raw), bytes(32), [raw]),
        lambda: split_list(raw),
        lambda: payload(raw),
        lambda: number(raw),
    ):
        with suppress(PeerError):
            read()


@given(items=st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=5)))
def test_lists_split_as_the_library_encodes_them(items: list[bytes] | bytes) -> None:
    encoded = rlp.encode(items)
    if isinstance(items, bytes):
        assert payload(encoded) == items
    else:
        assert split_list(encoded) == [rlp.encode(item) for item in items]


@given(items=st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 2**256 - 1)), max_size=40))
def test_lists_encode_as_the_library_encodes_them(items: list[bytes | int]) -> None:
    assert encode_list(items) == rlp.encode(items)


def test_nesting_costs_nothing() -> None:
    """A library that recurses would die of it."""
    deep = b""
    for _ in range(20_000):
        size = len(deep)
        width = (size.bit_length() + 7) // 8
        head = bytes([0xC0 + size]) if size <= 55 else bytes([0xF7 + width])
        deep = head + (size.to_bytes(width, "big") if size > 55 else b"") + deep
    assert len(split_list(deep)) == 1
    with pytest.raises(PeerError):
        lookup(keccak(deep), bytes(32), [deep])
