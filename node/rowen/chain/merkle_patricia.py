"""Ethereum's state proofs, checked over bytes: RLP and the Merkle Patricia trie.

Written out, instead of taken from ``rlp`` and ``trie``, because the input is a stranger's: no
recursion, nothing decoded that is not needed, one kind of error. The libraries are the oracle
in the tests. Sources: the Ethereum Yellow Paper, appendices B and D.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rowen.protocol.errors import PeerError
from rowen.protocol.ids import keccak

_NODES_MAX: Final = 65
"""A key has 64 nibbles, and each node but the last uses one at least."""

EMPTY_ROOT: Final = keccak(b"\x80")


def encode_list(items: Sequence[bytes | int]) -> bytes:
    """An RLP list of strings and non-negative integers."""
    body = b"".join(
        _encode(item if isinstance(item, bytes) else _big_endian(item)) for item in items
    )
    return _head(len(body), 0xC0) + body


def split_list(encoded: bytes) -> list[bytes]:
    """Items of an RLP list, each still encoded.

    Raises:
        PeerError: Not exactly one list.
    """
    is_list, start, end = _item(encoded, 0)
    if not is_list or end != len(encoded):
        raise PeerError("a proof holds something other than one RLP list")
    items = []
    while start < end:
        _, _, item_end = _item(encoded, start)
        items.append(encoded[start:item_end])
        start = item_end
    if start != end:
        raise PeerError("an RLP item in a proof is longer than its list")
    return items


def payload(encoded: bytes) -> bytes:
    """The bytes of an RLP string.

    Raises:
        PeerError: Not exactly one string.
    """
    is_list, start, end = _item(encoded, 0)
    if is_list or end != len(encoded):
        raise PeerError("a proof holds an RLP list where a string belongs")
    return encoded[start:end]


def number(encoded: bytes) -> int:
    """A non-negative RLP integer.

    Raises:
        PeerError: Not one, or not in its shortest form.
    """
    raw = payload(encoded)
    if raw[:1] == b"\0":
        raise PeerError("a number in a proof has leading zeros")
    return int.from_bytes(raw, "big")


def lookup(root: bytes, key: bytes, proof: Sequence[bytes]) -> bytes | None:
    """What a trie holds for a key, proved; None if it is proved to hold nothing.

    Args:
        root: Of the trie, 32 bytes.
        key: As the trie has it: keccak256 of an address or of a slot, 32 bytes.
        proof: The nodes from the root towards the key, RLP, none left over.

    Raises:
        PeerError: The nodes do not prove it.
    """
    if root == EMPTY_ROOT and not proof:
        return None
    if not 1 <= len(proof) <= _NODES_MAX:
        raise PeerError(f"a proof has {len(proof)} nodes, expected 1 to {_NODES_MAX}")
    path = _nibbles(key)
    nodes = iter(proof)
    node = _hashed(nodes, root)
    while True:
        child, below = _step(node, path)
        if below is None or child == b"":
            if next(nodes, None) is not None:
                raise PeerError("a proof has nodes left over")
            return child or None
        path = below
        # A node shorter than a hash stands inside its parent; a longer one is referred to.
        node = child if child[0] >= 0xC0 else _hashed(nodes, payload(child))


def _encode(raw: bytes) -> bytes:
    if len(raw) == 1 and raw[0] < 0x80:
        return raw
    return _head(len(raw), 0x80) + raw


def _head(size: int, offset: int) -> bytes:
    if size <= 55:
        return bytes((offset + size,))
    width = _big_endian(size)
    return bytes((offset + 55 + len(width),)) + width


def _big_endian(value: int) -> bytes:
    """Without leading zeros, so that 0 is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _hashed(nodes: Iterator[bytes], expected: bytes) -> bytes:
    node = next(nodes, None)
    if node is None or keccak(node) != expected:
        raise PeerError(f"a proof lacks the node 0x{expected.hex()}")
    return node


def _step(node: bytes, path: list[int]) -> tuple[bytes, list[int] | None]:
    """One node down: the child and the path below it, or the value and None; b"" is nothing."""
    items = split_list(node)
    if len(items) == 17:
        if not path:
            return payload(items[16]), None
        child = items[path[0]]
        return (b"" if child == b"\x80" else child), path[1:]
    if len(items) != 2:
        raise PeerError(f"a proof node has {len(items)} items, expected 2 or 17")
    # Hex-prefix: the first nibble says leaf (2) and odd (1).
    prefix = _nibbles(payload(items[0]))
    if not prefix or prefix[0] > 3:
        raise PeerError("a proof node has a malformed path")
    is_leaf = prefix[0] >= 2
    part = prefix[1:] if prefix[0] % 2 else prefix[2:]
    if is_leaf:
        return (payload(items[1]) if part == path else b""), None
    if path[: len(part)] != part or not part:
        return b"", None
    return items[1], path[len(part) :]


def _nibbles(data: bytes) -> list[int]:
    return [half for byte in data for half in (byte >> 4, byte & 15)]


def _item(data: bytes, at: int) -> tuple[bool, int, int]:
    """Whether the item at an offset is a list, and where its payload begins and ends."""
    if at >= len(data):
        raise PeerError("RLP in a proof ends too early")
    first = data[at]
    if first < 0x80:
        return False, at, at + 1
    is_list = first >= 0xC0
    size = first - (0xC0 if is_list else 0x80)
    start = at + 1
    if size > 55:
        width = size - 55
        size = int.from_bytes(data[start : start + width], "big")
        start += width
        if size <= 55 or data[at + 1] == 0:
            raise PeerError("RLP in a proof has a length in a longer form than needed")
    elif size == 1 and not is_list and data[start : start + 1] < b"\x80":
        raise PeerError("RLP in a proof has a byte in a longer form than needed")
    if start + size > len(data):
        raise PeerError("RLP in a proof ends too early")
    return is_list, start, start + size
