"""What `rowen.p2p` relies on in py-libp2p 0.8.1, so that an upgrade shows what changed.

The defects themselves are attacked in `tests/integration/p2p/test_hardening.py`; here stand the
shapes that the work-arounds take hold of.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version

from hypothesis import given, settings
from hypothesis import strategies as st

from rowen.protocol.ids import address_of_peer_id, address_of_public_key, peer_id_of_public_key

# The order of secp256k1's group; keys are below it.
GROUP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def test_the_pinned_version_is_installed() -> None:
    from rowen.p2p.hardening import LIBP2P_VERSION

    assert version("libp2p") == LIBP2P_VERSION


@given(st.integers(min_value=1, max_value=GROUP_ORDER - 1))
@settings(max_examples=50, deadline=None)
def test_libp2p_and_we_name_a_key_alike(secret: int) -> None:
    """PeerId ⇄ public key ⇄ EVM address, for any operator key."""
    from coincurve import PrivateKey
    from libp2p.crypto.secp256k1 import create_new_key_pair
    from libp2p.peer.id import ID

    key = secret.to_bytes(32, "big")
    theirs = ID.from_pubkey(create_new_key_pair(key).public_key)
    public = PrivateKey(key).public_key
    ours = peer_id_of_public_key(public.format())
    assert ours == str(theirs)
    assert ours.startswith("16Uiu2")
    assert address_of_peer_id(ours) == address_of_public_key(public.format(compressed=False))
    carried = ID.from_string(ours).extract_public_key()
    assert carried is not None
    assert carried.to_bytes() == public.format()


def test_the_swarm_has_one_entry_for_inbound_streams() -> None:
    """Row 1: `set_stream_handler` is the only writer of `common_stream_handler`."""
    from libp2p.network import swarm

    source = inspect.getsource(swarm.Swarm)
    assert source.count("self.common_stream_handler =") == 2
    assert "self.common_stream_handler = stream_handler" in inspect.getsource(
        swarm.Swarm.set_stream_handler
    )


def test_the_upgrader_keeps_its_muxers_in_one_replaceable_place() -> None:
    """Row 13: `upgrade_connection` goes through `muxer_multistream.new_conn`."""
    from libp2p.transport.upgrader import TransportUpgrader

    source = inspect.getsource(TransportUpgrader.upgrade_connection)
    assert "self.muxer_multistream.new_conn(conn, peer_id)" in source


def test_a_noise_session_hands_out_one_message_when_asked_for_anything() -> None:
    """`read(n)` waits for all n bytes, `read()` for one message; our Yamux reads with `read()`."""
    from libp2p.security.secure_session import SecureSession

    source = inspect.getsource(SecureSession.read)
    assert "if n is None:" in source
    assert "while len(result) < n:" in source


def test_the_auto_connector_rests_at_zero_watermarks() -> None:
    """It dials strangers until there are as many connections as the mean of the watermarks."""
    from libp2p.network.auto_connector import AutoConnector

    source = inspect.getsource(AutoConnector.maybe_connect)
    assert "if num_connections + in_flight >= target:" in source


def test_the_swarm_closes_its_connections_through_their_muxer() -> None:
    """`SwarmConn` learns of the end from `accept_stream`, which our Yamux makes raise."""
    from libp2p.network.connection.swarm_connection import SwarmConn

    source = inspect.getsource(SwarmConn._handle_new_streams)
    assert "except MuxedConnUnavailable" in source
    assert "await self.close()" in source
