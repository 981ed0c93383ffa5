"""Finding nodes by multicast DNS, on loopback only."""

from __future__ import annotations

import pytest
import trio
from tests.integration.p2p.attacks import node, says_hello
from tests.integration.p2p.worlds import HANG_S, echo

from rowen.p2p.discovery import addresses_in, discover

LOOPBACK_ONLY = ["127.0.0.1"]


async def test_two_nodes_find_each_other_and_can_talk() -> None:
    """What is announced can be dialled as it is; nobody finds itself."""
    with trio.fail_after(HANG_S):
        async with (
            node("server") as server,
            node("client") as client,
            discover(server, interfaces=LOOPBACK_ONLY) as found_by_server,
            discover(client, interfaces=LOOPBACK_ONLY) as found_by_client,
        ):
            server.set_handler(echo)
            address = await found_by_client.receive()
            assert address == server.addresses[0]
            await says_hello(client, address)
            assert await found_by_server.receive() == client.addresses[0]


async def test_a_node_that_listens_on_nothing_only_looks() -> None:
    with trio.fail_after(HANG_S):
        async with (
            node("server") as server,
            node("client", listen=()) as client,
            discover(server, interfaces=LOOPBACK_ONLY) as found_by_server,
            discover(client, interfaces=LOOPBACK_ONLY) as found_by_client,
        ):
            assert await found_by_client.receive() == server.addresses[0]
            with pytest.raises(trio.WouldBlock):
                found_by_server.receive_nowait()


PEER = "16Uiu2HAkyPofYXaTC8VcTmJYwKa6sjPFmkcPeGeYdRGWigLzSfQp"


def test_junk_in_announcements_is_ignored() -> None:
    """Anyone on the network can announce anything."""
    good = f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"
    properties = {
        b"a0": b"\xff\xfe",
        b"a1": None,
        b"a2": f"/ip4/0.0.0.0/tcp/4001/p2p/{PEER}".encode(),
        b"a3": b"/ip4/192.0.2.1/tcp/4001",
        b"a4": f"/dns4/example.org/tcp/4001/p2p/{PEER}".encode(),
        b"a5": good.encode(),
    }
    assert addresses_in(properties) == [good]
    assert len(addresses_in({str(n).encode(): good.encode() for n in range(100)})) == 8
