"""Who may connect: counts and rates per address, kept by us (rows 4 and 11).

Pure bookkeeping: the time is passed in and nothing here can block.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from rowen.p2p.limits import Limits
from rowen.p2p.rates import TokenBucket

_BUCKETS_MAX = 4096
"""Addresses whose rate is remembered; the least recently seen is forgotten first."""


def address_group(host: str) -> str:
    """Return the unit that limits count: an IPv4 address, or an IPv6 /64.

    One home or server usually owns a whole /64, so counting single IPv6 addresses
    would limit nobody.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))


@dataclass(eq=False, slots=True)
class Ticket:
    """One admitted inbound connection.

    Attributes:
        group: What `address_group` says of its address.
        evict: Ends the connection; called when an unproven one must make room.
        proven: True once the peer has proven an identity.
    """

    group: str
    evict: Callable[[], None]
    proven: bool = False


class Admission:
    """Counts the inbound connections that are alive now.

    libp2p's own limiter never releases a slot, so a node that used it would refuse
    everyone after 250 connections in its lifetime.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = 0
        self._by_group: Counter[str] = Counter()
        self._unproven: OrderedDict[Ticket, None] = OrderedDict()
        self._unproven_by_group: Counter[str] = Counter()
        self._rates: OrderedDict[str, TokenBucket] = OrderedDict()

    @property
    def total(self) -> int:
        """Connections admitted and not released."""
        return self._total

    @property
    def unproven(self) -> int:
        """Those of them that have not proven an identity."""
        return len(self._unproven)

    def admit(self, host: str, now_s: float, evict: Callable[[], None]) -> Ticket | None:
        """Return a ticket for a new connection from `host`, or None to refuse it."""
        limits = self._limits
        group = address_group(host)
        if (
            not self._rate(group).take(now_s)
            or self._by_group[group] >= limits.connections_per_ip_max
            or self._unproven_by_group[group] >= limits.handshakes_per_ip_max
        ):
            return None
        if len(self._unproven) >= limits.handshakes_max:
            # Many addresses, all silent: the oldest had its chance.
            oldest = next(iter(self._unproven))
            self.release(oldest)
            oldest.evict()
        if self._total >= limits.connections_max:
            return None
        ticket = Ticket(group, evict)
        self._total += 1
        self._by_group[group] += 1
        self._unproven[ticket] = None
        self._unproven_by_group[group] += 1
        return ticket

    def prove(self, ticket: Ticket) -> None:
        """Note that the peer behind `ticket` has proven an identity."""
        ticket.proven = True
        if ticket in self._unproven:
            del self._unproven[ticket]
            _decrement(self._unproven_by_group, ticket.group)

    def release(self, ticket: Ticket) -> None:
        """Give the connection's place back. Safe to call twice."""
        if ticket.group == "":
            return
        self.prove(ticket)
        self._total -= 1
        _decrement(self._by_group, ticket.group)
        ticket.group = ""

    def _rate(self, group: str) -> TokenBucket:
        bucket = self._rates.pop(group, None)
        if bucket is None:
            limits = self._limits
            bucket = TokenBucket(limits.connects_per_ip_per_s, limits.connects_per_ip_burst)
            if len(self._rates) >= _BUCKETS_MAX:
                self._rates.popitem(last=False)
        self._rates[group] = bucket
        return bucket


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
