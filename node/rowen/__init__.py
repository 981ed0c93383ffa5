"""Rowen: a GPU's idle minutes, sold by the token and paid by the receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowen.client.sdk import AsyncClient, Client

if not __debug__:
    # A broken rule of ours must end the node with its traceback, not go on to sign something.
    raise ImportError(
        "rowen checks itself with assertions: run Python without -O, and unset PYTHONOPTIMIZE"
    )

__version__ = "0.1.0.dev0"
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    # On first use only: the SDK brings libp2p, which takes seconds to import.
    if name in ("AsyncClient", "Client"):
        from rowen.client import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module 'rowen' has no attribute {name!r}")
