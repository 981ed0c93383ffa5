"""Opening and closing the real node."""

from __future__ import annotations

import logging
import sys

import pytest
import trio
from tests.integration.p2p.attacks import node, says_hello
from tests.integration.p2p.worlds import LOOPBACK, echo, key

from rowen.p2p import hardening
from rowen.p2p.host import open_network
from rowen.protocol.errors import UserError


async def test_a_taken_port_is_named_and_the_message_says_what_to_do() -> None:
    """Stock libp2p sets SO_REUSEPORT and would share the port without a word."""
    async with node("first") as first:
        port = first.addresses[0].split("/")[4]
        with pytest.raises(UserError, match=f"port {port} on 127.0.0.1 is taken.*another port"):
            async with node("second", listen=(f"/ip4/127.0.0.1/tcp/{port}",)):
                raise AssertionError("it listens")


async def test_a_port_is_free_again_after_closing() -> None:
    async with node("first") as first:
        listen = first.addresses[0].rpartition("/p2p/")[0]
    async with node("second", listen=(listen,)) as second:
        assert second.addresses[0].startswith(listen)


async def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(UserError, match="not an address of this machine"):
        async with node("n", listen=("/ip4/192.0.2.1/tcp/0",)):
            raise AssertionError("it listens")


@pytest.mark.parametrize(
    "listen",
    ["", "4001", "/ip4/127.0.0.1", "/ip4/x/tcp/1", "/ip4/127.0.0.1/udp/1", "/ip4/::1/tcp/1"],
)
async def test_a_malformed_listen_address_is_the_users_error(listen: str) -> None:
    with pytest.raises(UserError, match="expected one like"):
        async with node("n", listen=(listen,)):
            raise AssertionError("it listens")


async def test_wildcards_are_advertised_as_the_addresses_they_stand_for() -> None:
    async with node("n", listen=("/ip4/0.0.0.0/tcp/0",)) as network, node("client") as client:
        network.set_handler(echo)
        assert network.addresses
        assert not any("/0.0.0.0/" in address for address in network.addresses)
        loopback = [address for address in network.addresses if "/127.0.0.1/" in address]
        await says_hello(client, loopback[0])


async def test_ipv6_works_where_the_machine_has_it() -> None:
    try:
        async with node("n", listen=("/ip6/::1/tcp/0",)) as network, node("client") as client:
            network.set_handler(echo)
            await says_hello(client, network.addresses[0])
    except UserError as error:
        pytest.skip(f"no IPv6 here: {error}")


async def test_a_client_that_listens_on_nothing_has_no_addresses_and_works() -> None:
    async with node("server") as server, node("client", listen=()) as client:
        server.set_handler(echo)
        assert client.addresses == ()
        await says_hello(client, server.addresses[0])


@pytest.mark.parametrize("bad", [b"", b"short", bytes(32), b"\xff" * 32, bytes(33)])
async def test_a_bad_key_is_the_users_error_and_is_not_shown(bad: bytes) -> None:
    with pytest.raises(UserError) as caught:
        async with open_network(bad):
            raise AssertionError("it runs")
    assert not bad or bad.hex() not in str(caught.value)


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    """Not wrapped in the groups of nurseries that callers know nothing of."""
    cause = ValueError("why")
    with pytest.raises(UserError, match="mine") as caught:
        async with open_network(key("n"), listen=[LOOPBACK]):
            raise UserError("mine") from cause
    assert caught.value.__cause__ is cause


async def test_closing_does_not_wait_for_peers() -> None:
    """Handlers are cancelled; a peer that holds on cannot keep us."""
    async with node("client") as client, node("server") as server:

        async def stay(stream: object) -> None:
            await trio.sleep_forever()

        server.set_handler(stay)
        await client.dial(server.addresses[0])


async def test_another_version_of_libp2p_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "version", lambda name: "0.9.0")
    with pytest.raises(ImportError, match=r"libp2p 0\.9\.0 is installed.*0\.8\.1"):
        hardening.require_version()


async def test_libp2p_neither_logs_nor_configures_logging() -> None:
    """Stock installs a handler on the root logger and prints every peer's misbehaviour."""
    program = (
        "import logging, rowen.p2p.host\n"
        "from libp2p.network.connection import swarm_connection\n"
        "swarm_connection.logging.debug('x')\n"
        "logging.getLogger('libp2p.network.swarm').error('a peer misbehaved')\n"
        "assert logging.getLogger().handlers == []\n"
    )
    done = await trio.run_process(
        [sys.executable, "-c", program], capture_stdout=True, capture_stderr=True
    )
    assert done.stderr == b""
    hardening.quieten()
    hardening.quieten()
    handlers = logging.getLogger("libp2p").handlers
    assert [type(handler) for handler in handlers].count(logging.NullHandler) == 1
