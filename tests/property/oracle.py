"""The rules of money once more, written from the documents and not from the code."""

from fractions import Fraction
from hashlib import sha256
from math import ceil

from rowen.protocol.statements import Order


def price(order: Order, input_units: int, cached_units: int, output_units: int) -> int:
    """Prices are per million; a started token unit is owed."""
    units = (
        Fraction(order.price_input, 10**6) * (input_units - cached_units)
        + Fraction(order.price_cached, 10**6) * cached_units
        + Fraction(order.price_output, 10**6) * output_units
    )
    return order.price_request + ceil(units)


def head(entries: list[bytes]) -> bytes:
    """MTH. "k is the largest power of two smaller than n." Source: RFC 9162, 2.1.1."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return sha256(b"\x01" + head(entries[:k]) + head(entries[k:])).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH. Source: RFC 9162, 2.1.3.1."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), head(entries[k:])]
    return [*path(m - k, entries[k:]), head(entries[:k])]


def proof(m: int, entries: list[bytes]) -> list[bytes]:
    """PROOF. Source: RFC 9162, 2.1.4.1."""
    return _subproof(m, entries, is_whole=True)


def _subproof(m: int, entries: list[bytes], *, is_whole: bool) -> list[bytes]:
    if m == len(entries):
        return [] if is_whole else [head(entries)]
    k = split(len(entries))
    if m <= k:
        return [*_subproof(m, entries[:k], is_whole=is_whole), head(entries[k:])]
    return [*_subproof(m - k, entries[k:], is_whole=False), head(entries[:k])]
