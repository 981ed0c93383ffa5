"""Multiaddrs: reading what people and peers give us, and naming what we can be reached at."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

import ifaddr
from libp2p.peer.id import ID
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.ids import address_of_peer_id

__all__ = [
    "DialTarget",
    "Multiaddr",
    "dialable",
    "host_of",
    "ip_protocol",
    "parse_dial_address",
    "parse_listen_address",
    "parse_peer_id",
    "port_of",
]

_HOST_PROTOCOLS = ("ip4", "ip6", "dns4", "dns6", "dns")
_EXAMPLE = "/ip4/203.0.113.7/tcp/4001/p2p/16Uiu2HAm…"


class DialTarget(NamedTuple):
    """Where to dial and whom to expect there."""

    address: Multiaddr
    peer: ID


def parse_dial_address(text: str) -> DialTarget:
    """Split `/ip4|ip6|dns…/HOST/tcp/PORT/p2p/PEERID` into an address and a PeerId.

    Raises:
        UserError: It is anything else.
    """
    parts = text.strip().split("/")
    shape = f"{text!r} is not a peer's address; expected one like {_EXAMPLE}"
    if len(parts) != 7 or parts[0] or parts[3] != "tcp" or parts[5] != "p2p":
        raise UserError(shape)
    address = _parse("/".join(parts[:5]), shape)
    if port_of(address) == 0:
        raise UserError(f"{text!r} has port 0, which nobody can be reached at")
    return DialTarget(address, parse_peer_id(parts[6]))


def parse_peer_id(text: str) -> ID:
    """Read a PeerId that carries a secp256k1 key, as every operator's does.

    Raises:
        UserError: It is anything else.
    """
    try:
        # A hashed PeerId carries no key, so it could not be matched to who signs the receipts.
        address_of_peer_id(text)
        return ID.from_string(text)
    except (PeerError, ValueError, TypeError) as error:
        raise UserError(
            f"{text!r} is not an operator's PeerId; expected one like 16Uiu2HAm… ({error})"
        ) from error


def parse_listen_address(text: str) -> Multiaddr:
    """Read `/ip4|ip6/HOST/tcp/PORT`.

    Raises:
        UserError: It is anything else.
    """
    shape = f"{text!r} is not an address to listen on; expected one like /ip4/0.0.0.0/tcp/4001"
    parts = text.strip().split("/")
    if len(parts) != 5 or parts[0] or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp":
        raise UserError(shape)
    return _parse(text.strip(), shape)


def _parse(text: str, shape: str) -> Multiaddr:
    try:
        address = Multiaddr(text)
        port_of(address)
        host_of(address)
    except (ValueError, TypeError, LookupError, OSError, MultiaddrError) as error:
        raise UserError(f"{shape} ({error})") from error
    return address


def host_of(address: Multiaddr) -> str:
    """Return the IP address or DNS name in `address`."""
    protocol = next(iter(address.protocols())).name
    if protocol not in _HOST_PROTOCOLS:
        raise LookupError(f"{address} starts with {protocol}")
    return str(address.value_for_protocol(protocol))


def port_of(address: Multiaddr) -> int:
    """Return the TCP port in `address`."""
    return int(str(address.value_for_protocol("tcp")))


def ip_protocol(host: str) -> str:
    """Return `ip4` or `ip6`."""
    return "ip6" if ":" in host else "ip4"


def dialable(bound: Iterable[Multiaddr], peer: ID) -> tuple[str, ...]:
    """Return what peers can dial: wildcards expanded to this machine's own addresses.

    An interface address comes before loopback; link-local ones are left out, because they
    mean nothing without a zone.
    """
    found: dict[str, None] = {}
    for address in bound:
        host, port = host_of(address), port_of(address)
        hosts = _interface_hosts(host) if ip_address(host).is_unspecified else [host]
        for each in hosts:
            found[f"/{ip_protocol(each)}/{each}/tcp/{port}/p2p/{peer}"] = None
    return tuple(found)


def _interface_hosts(wildcard: str) -> list[str]:
    is_ipv6 = ":" in wildcard
    hosts = [
        str(ip.ip[0] if isinstance(ip.ip, tuple) else ip.ip)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if ip.is_IPv6 == is_ipv6
    ]
    usable = [host for host in hosts if not ip_address(host.partition("%")[0]).is_link_local]
    return sorted(usable, key=lambda host: (ip_address(host).is_loopback, host))
