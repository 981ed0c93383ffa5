"""Importing Ethereum's libraries without what one of them does to the interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    """Around the first import of web3 or eth_account.

    Both import py_ecc, which sets the interpreter's recursion limit to 100,000. Then nested
    input from a peer would overflow the C stack and kill the process, where now it raises
    ``RecursionError``.
    """
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
