"""The receipt log of a channel: an RFC 9162 Merkle tree with SHA-256.

A leaf entry is the 32-byte EIP-712 digest of a receipt: what the provider signed, bound to
chain and contract. Heads and proofs are those of https://www.rfc-editor.org/rfc/rfc9162
section 2.1, so transparency-log tools verify them unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """``SHA-256(0x00 ‖ entry)``."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(0x01 ‖ left ‖ right)``."""
    return sha256(b"\x01" + left + right).digest()


class Frontier(msgspec.Struct, frozen=True):
    """A tree reduced to what appending needs; immutable, O(log count) in size and time.

    Attributes:
        count: Leaves.
        peaks: Roots of the perfect subtrees, largest and leftmost first; one for each bit
            set in ``count``.
    """

    count: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, entry: bytes) -> Frontier:
        """The tree with one more leaf."""
        peaks = list(self.peaks)
        node = leaf_hash(entry)
        size = self.count
        # Each trailing 1 bit of the old count is a peak as tall as the new node.
        while size & 1:
            node = node_hash(peaks.pop(), node)
            size >>= 1
        peaks.append(node)
        return Frontier(self.count + 1, tuple(peaks))

    def root(self) -> bytes:
        """Tree head, 32 bytes. "The hash of an empty list is the hash of an empty string"."""
        if not self.peaks:
            return EMPTY_ROOT
        peaks = reversed(self.peaks)
        node = next(peaks)
        for peak in peaks:
            # node_hash, spelled out: every voucher in and out comes by here.
            node = sha256(b"\x01" + peak + node).digest()
        return node


def root_of(entries: Sequence[bytes]) -> bytes:
    """Tree head over all entries."""
    return _range_root([leaf_hash(entry) for entry in entries])


def _split(count: int) -> int:
    """Largest power of two smaller than count (count ≥ 2)."""
    return 1 << (count - 1).bit_length() - 1


def _range_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    # Pairing neighbours and carrying an odd one up builds the same tree as RFC 9162's split.
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) & 1:
            paired.append(level[-1])
        level = paired
    return level[0]


def inclusion_proof(entries: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, entries), leaf side first. Source: RFC 9162, 2.1.3.1."""
    if not 0 <= index < len(entries):
        raise ValueError(f"index {index} outside a log of {len(entries)}")
    leaves = [leaf_hash(entry) for entry in entries]
    proof: list[bytes] = []
    while len(leaves) > 1:
        k = _split(len(leaves))
        if index < k:
            proof.append(_range_root(leaves[k:]))
            leaves = leaves[:k]
        else:
            proof.append(_range_root(leaves[:k]))
            leaves = leaves[k:]
            index -= k
    proof.reverse()
    return proof


def verify_inclusion(
    entry: bytes, index: int, count: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Whether entry stands at index of the tree with this head. Source: RFC 9162, 2.1.3.2."""
    if not 0 <= index < count:
        return False
    fn, sn, node = index, count - 1, leaf_hash(entry)
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            node = node_hash(node, sibling)
        fn >>= 1
        sn >>= 1
    return sn == 0 and node == root


def consistency_proof(entries: Sequence[bytes], old_count: int) -> list[bytes]:
    """PROOF(old_count, entries). Source: RFC 9162, 2.1.4.1."""
    if not 0 < old_count <= len(entries):
        raise ValueError(f"old size {old_count} outside 1..{len(entries)}")
    leaves = [leaf_hash(entry) for entry in entries]
    proof: list[bytes] = []
    is_whole = True
    while old_count < len(leaves):
        k = _split(len(leaves))
        if old_count <= k:
            proof.append(_range_root(leaves[k:]))
            leaves = leaves[:k]
        else:
            proof.append(_range_root(leaves[:k]))
            leaves = leaves[k:]
            old_count -= k
            is_whole = False
    if not is_whole:
        proof.append(_range_root(leaves))
    proof.reverse()
    return proof


def verify_consistency(
    old_count: int, old_root: bytes, count: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the new tree only appends to the old. Source: RFC 9162, 2.1.4.2."""
    if old_count == count:
        return not proof and old_root == root
    if not 0 < old_count < count or not proof:
        return False
    path = list(proof)
    if old_count & (old_count - 1) == 0:
        path.insert(0, old_root)
    fn, sn = old_count - 1, count - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for node in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = node_hash(node, fr)
            sr = node_hash(node, sr)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            sr = node_hash(sr, node)
        fn >>= 1
        sn >>= 1
    return sn == 0 and fr == old_root and sr == root
