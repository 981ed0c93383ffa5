"""The receipt log: known answers of Certificate Transparency, and the RFC's definitions."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property import oracle

from rowen.protocol import receipt_log as log

# The eight leaves and heads that every Certificate Transparency implementation is tested with.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
ENTRIES = [sha256(bytes((n & 255, n >> 8))).digest() for n in range(300)]
SIZES = st.integers(0, 300)


def grown(count: int, entries: list[bytes] = ENTRIES) -> log.Frontier:
    frontier = log.Frontier()
    for entry in entries[:count]:
        frontier = frontier.append(entry)
    return frontier


@pytest.mark.parametrize("count", range(9))
def test_heads_are_the_known_answers(count: int) -> None:
    assert log.root_of(LEAVES[:count]).hex() == ROOTS[count]
    assert grown(count, LEAVES).root().hex() == ROOTS[count]


# (index, count): the audit paths published with the same leaves.
KNOWN_PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


@pytest.mark.parametrize(("index", "count"), KNOWN_PATHS)
def test_inclusion_proofs_are_the_known_answers(index: int, count: int) -> None:
    proof = log.inclusion_proof(LEAVES[:count], index)
    assert [node.hex() for node in proof] == KNOWN_PATHS[index, count]


KNOWN_CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


@pytest.mark.parametrize(("old", "count"), KNOWN_CONSISTENCY)
def test_consistency_proofs_are_the_known_answers(old: int, count: int) -> None:
    proof = log.consistency_proof(LEAVES[:count], old)
    assert [node.hex() for node in proof] == KNOWN_CONSISTENCY[old, count]


@pytest.mark.parametrize("count", [*range(70), 127, 128, 129, 255, 256, 257, 300])
def test_every_way_to_the_head_is_the_definition(count: int) -> None:
    expected = oracle.head(ENTRIES[:count])
    assert log.root_of(ENTRIES[:count]) == expected
    assert grown(count).root() == expected


@pytest.mark.parametrize("count", range(1, 34))
def test_every_proof_of_a_small_log_is_the_definition_and_verifies(count: int) -> None:
    entries = ENTRIES[:count]
    root = oracle.head(entries)
    for index in range(count):
        proof = log.inclusion_proof(entries, index)
        assert proof == oracle.path(index, entries)
        assert log.verify_inclusion(entries[index], index, count, proof, root)
        old = index + 1
        proof = log.consistency_proof(entries, old)
        assert proof == oracle.proof(old, entries)
        assert log.verify_consistency(old, oracle.head(entries[:old]), count, root, proof)


@given(count=st.integers(1, 300), data=st.data())
def test_inclusion_is_the_definition(count: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, count - 1))
    entries = ENTRIES[:count]
    proof = log.inclusion_proof(entries, index)
    assert proof == oracle.path(index, entries)
    assert log.verify_inclusion(entries[index], index, count, proof, oracle.head(entries))


@given(count=st.integers(1, 300), data=st.data())
def test_consistency_is_the_definition(count: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, count))
    entries = ENTRIES[:count]
    proof = log.consistency_proof(entries, old)
    old_root, root = oracle.head(entries[:old]), oracle.head(entries)
    assert proof == oracle.proof(old, entries)
    assert log.verify_consistency(old, old_root, count, root, proof)


def bent(proof: list[bytes]) -> list[list[bytes]]:
    """Every single bit turned, every node left out or doubled, one more at either end."""
    wrong = []
    for at, node in enumerate(proof):
        for bit in range(256):
            raw = bytearray(node)
            raw[bit >> 3] ^= 1 << (bit & 7)
            wrong.append([*proof[:at], bytes(raw), *proof[at + 1 :]])
        wrong.append([*proof[:at], *proof[at + 1 :]])
        wrong.append([*proof[:at], node, *proof[at:]])
        wrong.append([*proof[:at], node[:-1], *proof[at + 1 :]])
        wrong.append([*proof[:at], node + b"\x00", *proof[at + 1 :]])
    return [*wrong, [*proof, bytes(32)], [bytes(32), *proof]]


@pytest.mark.parametrize(
    ("index", "count"), [(0, 1), (0, 2), (2, 3), (3, 7), (6, 7), (5, 11), (15, 16)]
)
def test_a_wrong_inclusion_proof_is_rejected(index: int, count: int) -> None:
    entries = ENTRIES[:count]
    root, proof = log.root_of(entries), log.inclusion_proof(entries, index)
    for wrong in bent(proof):
        assert not log.verify_inclusion(entries[index], index, count, wrong, root)
    for other in range(-2, count + 3):
        if other != index:
            assert not log.verify_inclusion(entries[index], other, count, proof, root)
    assert not log.verify_inclusion(b"", index, count, proof, root)
    assert not log.verify_inclusion(entries[index], index, count, proof, bytes(32))


@pytest.mark.parametrize(
    ("old", "count"), [(1, 2), (1, 8), (3, 7), (4, 7), (6, 8), (8, 9), (7, 16)]
)
def test_a_wrong_consistency_proof_is_rejected(old: int, count: int) -> None:
    entries = ENTRIES[:count]
    old_root, root = log.root_of(entries[:old]), log.root_of(entries)
    proof = log.consistency_proof(entries, old)
    for wrong in bent(proof):
        assert not log.verify_consistency(old, old_root, count, root, wrong)
    for other in range(-2, count + 3):
        if other != old:
            assert not log.verify_consistency(other, old_root, count, root, proof)
    assert not log.verify_consistency(old, bytes(32), count, root, proof)
    assert not log.verify_consistency(old, old_root, count, bytes(32), proof)
    assert not log.verify_consistency(old, root, count, old_root, proof)


def test_equal_logs_are_consistent_with_an_empty_proof_only() -> None:
    root = log.root_of(ENTRIES[:5])
    assert log.verify_consistency(5, root, 5, root, [])
    assert not log.verify_consistency(5, root, 5, root, [root])
    assert not log.verify_consistency(5, root, 5, bytes(32), [])


@given(count=SIZES, more=st.integers(0, 40))
def test_appending_never_changes_what_was_there(count: int, more: int) -> None:
    """A frontier is a value: both sides keep old heads while the log grows."""
    before = grown(count)
    root, peaks = before.root(), before.peaks
    after = before
    for entry in ENTRIES[:more]:
        after = after.append(entry)
    assert (before.root(), before.peaks, before.count) == (root, peaks, count)
    assert after.count == count + more
    assert len(after.peaks) == (count + more).bit_count()


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_a_proof_for_what_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        log.inclusion_proof(ENTRIES[:5], index)


@pytest.mark.parametrize("old", [-1, 0, 6])
def test_a_proof_from_a_size_that_never_was_is_refused(old: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        log.consistency_proof(ENTRIES[:5], old)
