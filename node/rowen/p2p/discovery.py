"""Finding Rowen nodes on the same network by multicast DNS. Off unless asked for.

libp2p's own mDNS advertises 0.0.0.0 when told to listen there and mixes in every libp2p
program on the network; this one speaks to zeroconf directly, under a service type of its
own, and names only addresses that can be dialled.

What is found is a hint from whoever shares the network. Dialling proves the identity.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final

import trio
from zeroconf import Error as ZeroconfError
from zeroconf import ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from rowen.p2p.addresses import host_of, parse_dial_address, port_of
from rowen.p2p.network import Network
from rowen.p2p.scopes import shielded
from rowen.protocol.errors import Unavailable, UserError

SERVICE_TYPE: Final = "_rowen._tcp.local."

_ADDRESSES_PER_NODE_MAX = 8
_FOUND_MAX = 256
"""Addresses waiting to be looked at; what comes beyond is dropped and will be repeated."""
_LOOKUP_MS = 3000
_CLOSE_S = 5.0

log = logging.getLogger(__name__)


@asynccontextmanager
async def discover(
    network: Network, *, interfaces: Sequence[str] | None = None
) -> AsyncIterator[trio.MemoryReceiveChannel[str]]:
    """Announce `network` while the block runs, and yield a channel of other nodes' addresses.

    Every address ends in `/p2p/<PeerId>` and comes once. A node that listens on nothing only
    looks.

    Args:
        network: The node to announce.
        interfaces: IP addresses of the interfaces to use; by default those `network` is
            reachable at, or all of them if there is none.

    Raises:
        Unavailable: Multicast does not work here.
    """
    send, receive = trio.open_memory_channel[str](_FOUND_MAX)
    announced = network.addresses[:_ADDRESSES_PER_NODE_MAX]
    seat = _Seat(network.peer_id, announced, send)
    chosen = list(interfaces) if interfaces is not None else _interfaces_of(announced)
    try:
        await trio.to_thread.run_sync(seat.open, chosen)
    except (OSError, ZeroconfError, RuntimeError) as error:
        raise Unavailable(f"multicast DNS does not work here: {error!r}") from error
    try:
        yield receive
    finally:
        with shielded(_CLOSE_S):
            await trio.to_thread.run_sync(seat.close, abandon_on_cancel=True)
        send.close()
        receive.close()


def _interfaces_of(addresses: Sequence[str]) -> list[str]:
    hosts = {host_of(parse_dial_address(address).address) for address in addresses}
    return sorted(host for host in hosts if ip_address(host).version == 4)


class _Seat:
    """Our place in zeroconf: its threads on one side, a trio channel on the other."""

    def __init__(
        self, peer_id: str, addresses: Sequence[str], found: trio.MemorySendChannel[str]
    ) -> None:
        self._peer_id = peer_id
        self._addresses = addresses
        self._found = found
        self._token = trio.lowlevel.current_trio_token()
        self._seen: set[str] = set()
        self._zeroconf: Zeroconf | None = None
        self._lock = threading.Lock()

    def open(self, interfaces: list[str]) -> None:
        """Start announcing and looking. Blocks for about a second; runs in a thread."""
        zeroconf = Zeroconf(interfaces=interfaces) if interfaces else Zeroconf()
        with self._lock:
            self._zeroconf = zeroconf
        if self._addresses:
            zeroconf.register_service(self._service())
        # Zeroconf owns the browser's thread and stops it on close.
        ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[self._on_change])

    def close(self) -> None:
        """Say goodbye and stop. Blocks; runs in a thread."""
        with self._lock:
            zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is not None:
            zeroconf.unregister_all_services()
            zeroconf.close()

    def _service(self) -> ServiceInfo:
        # A random name: the PeerId stands in the addresses and needs no second place.
        name = f"{secrets.token_hex(16)}.{SERVICE_TYPE}"
        targets = [parse_dial_address(address).address for address in self._addresses]
        return ServiceInfo(
            SERVICE_TYPE,
            name,
            port=port_of(targets[0]),
            properties={f"a{at}": address for at, address in enumerate(self._addresses)},
            server=f"{name.partition('.')[0]}.local.",
            parsed_addresses=[host_of(target) for target in targets],
        )

    def _on_change(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """Look a service up; called in zeroconf's own thread, where blocking is allowed."""
        if state_change is ServiceStateChange.Removed:
            return
        info = zeroconf.get_service_info(service_type, name, timeout=_LOOKUP_MS)
        if info is None:
            return
        addresses = addresses_in(info.properties)
        try:
            self._token.run_sync_soon(self._deliver, addresses)
        except trio.RunFinishedError:
            return

    def _deliver(self, addresses: list[str]) -> None:
        for address in addresses:
            if address in self._seen or address.endswith(self._peer_id):
                continue
            try:
                self._found.send_nowait(address)
            except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
                # Not marked as seen, so that a later announcement brings it again.
                return
            if len(self._seen) >= _FOUND_MAX * 16:
                self._seen.clear()
            self._seen.add(address)


def addresses_in(properties: dict[bytes, Any]) -> list[str]:
    """Return the well-formed addresses in a service's TXT record, a bounded number of them."""
    found: list[str] = []
    for value in list(properties.values())[:_ADDRESSES_PER_NODE_MAX]:
        try:
            address = bytes(value or b"").decode("ascii")
            target = parse_dial_address(address)
            if ip_address(host_of(target.address)).is_unspecified:
                continue
        except (UserError, ValueError) as error:
            log.debug("announcement ignored", extra={"error": str(error)})
            continue
        found.append(address)
    return found
