"""Every work-around for py-libp2p, in one place, for one version of it.

Stock 0.8.1 must not face strangers. Each row below was seen to fail, and each has a test
in `tests/integration/p2p/test_hardening.py` that fails without its answer.

| # | stock behaviour | answer |
|---|---|---|
| 1 | any exception in a stream handler, even over garbage, kills the host | `swarm._guarded` |
| 2 | a bad pubsub message kills the node | no pubsub yet; guard `push_msg` when it comes |
| 3 | plaintext and secio are offered: anyone can claim any PeerId | `upgrade.upgrader` |
| 4 | inbound slots are never released: the 251st connection is refused | `admission` |
| 5 | a cancelled write corrupts the connection, a cancelled read loses data | `yamux_stream` |
| 6 | the receive window is not enforced | `yamux._on_header` |
| 7 | a reader that pauses 5 s loses its stream | `Limits.stall_s` |
| 8 | one address per dial; a failure blocks the peer for 60 s | `swarm.connect` |
| 9 | a black hole stays connected, a killed peer seems to end | `yamux._watch`, `session` |
| 10 | nothing reconnects | `Network.dial` finds or makes a live connection |
| 11 | silent connections and un-negotiated streams pile up | `admission`, `yamux._on_syn` |
| 12 | streams leak when a handler returns; 256 at most | `swarm._guarded`, `Limits` |
| 13 | every dial sleeps 250 ms; always the stock Yamux | `swarm.connect`, `upgrade.Muxers` |

They are subclasses and instances of our own, so other users of libp2p in the same process
are left alone; the one exception is `quieten`.
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import version
from typing import Final

LIBP2P_VERSION: Final = "0.8.1"


def require_version() -> None:
    """Refuse to run on a libp2p that these work-arounds were not written and tested for.

    Raises:
        ImportError: Another version is installed.
    """
    found = version("libp2p")
    if found != LIBP2P_VERSION:
        raise ImportError(
            f"libp2p {found} is installed; rowen.p2p.hardening is written for {LIBP2P_VERSION} "
            f"exactly. Install libp2p=={LIBP2P_VERSION}, or port the work-arounds and run "
            f"tests/integration/p2p/test_hardening.py"
        )


def quieten() -> None:
    """Keep libp2p from writing to stderr and from configuring the root logger.

    It logs every peer's misbehaviour as a warning or error, and `swarm_connection` calls
    `logging.debug` on the root logger, which installs a handler there as a side effect. Set
    LIBP2P_DEBUG to see its logs.
    """
    from libp2p.network.connection import swarm_connection

    # A module global, because the calls are spelled `logging.debug(…)`; idempotent.
    setattr(swarm_connection, "logging", logging.getLogger(swarm_connection.__name__))  # noqa: B010 - mypy rightly forbids the plain assignment
    if os.environ.get("LIBP2P_DEBUG"):
        return
    root = logging.getLogger("libp2p")
    root.setLevel(logging.CRITICAL)
    root.propagate = False
    if logging.NullHandler not in map(type, root.handlers):
        root.addHandler(logging.NullHandler())


require_version()
quieten()
