"""An in-memory network for tests and the simulator: trio, no sockets, no real time.

It keeps the promises of `rowen.p2p.network` exactly as the libp2p one does (one
conformance suite runs over both), and can break them on command: latency, partitions,
connections cut at the nth byte, peers that stop reading, bytes cut anywhere. All
randomness comes from the `random.Random` it is given, so a seed replays a run.

    async with MemoryHub(random.Random(7)) as hub:
        provider = hub.network(provider_key)
        client = hub.network(client_key)
        provider.set_handler(serve)
        hub.change_link(client, provider, latency_s=0.05, fragments=True)
        stream = await client.dial(provider.addresses[0])
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import trio
from coincurve import PrivateKey

from rowen.p2p.limits import Limits
from rowen.p2p.network import Stream, StreamHandler
from rowen.protocol.errors import PeerError, RowenError, Unavailable, UserError
from rowen.protocol.ids import address_of_peer_id, peer_id_of_public_key
from rowen.testing.pipe import Pipe

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The weather from one node to another, one way.

    Attributes:
        latency_s: Time every byte travels.
        jitter_s: Up to this much more, at random; order is kept.
        is_cut: Nothing arrives until the link heals; nothing is lost either, as with TCP.
        is_read: False: the receiver's end takes no bytes, so the sender's window fills up.
        fragments: Reads return random fragments instead of all there is.
        drop_after_bytes: A stream dies once it has carried this many bytes this way.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    is_cut: bool = False
    is_read: bool = True
    fragments: bool = False
    drop_after_bytes: int | None = None


class MemoryHub:
    """The place where memory networks meet. Use `async with`, which runs their handlers.

    Args:
        rng: The only source of randomness.
        limits: `dial_s`, `stall_s` and `window_bytes` apply, in virtual time.
    """

    def __init__(self, rng: random.Random, limits: Limits | None = None) -> None:
        self.rng = rng
        self.limits = limits or Limits()
        self._nodes: list[MemoryNetwork] = []
        self._links: dict[tuple[str, str], Link] = {}
        self._pipes: dict[tuple[str, str], set[Pipe]] = {}
        self._nursery: trio.Nursery | None = None
        self._manager: Any = None

    async def __aenter__(self) -> MemoryHub:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        try:
            await self._manager.__aexit__(None, None, None)
        finally:
            self._nursery = None
        # The handlers never raise, so what the body raised goes out as it is.
        return False

    def network(self, key: bytes) -> MemoryNetwork:
        """Return the node with this 32-byte secp256k1 key, made at the first call."""
        peer_id = peer_id_of_public_key(PrivateKey(key).public_key.format())
        for node in self._nodes:
            if node.peer_id == peer_id:
                return node
        node = MemoryNetwork(self, len(self._nodes) + 1, peer_id)
        self._nodes.append(node)
        return node

    # ---- weather

    def link(self, sender: MemoryNetwork, receiver: MemoryNetwork) -> Link:
        """Return the present weather from `sender` to `receiver`."""
        return self.link_of(sender.peer_id, receiver.peer_id)

    def link_of(self, sender_id: str, receiver_id: str) -> Link:
        """Return the same by PeerId."""
        return self._links.get((sender_id, receiver_id), Link())

    def change_link(self, sender: MemoryNetwork, receiver: MemoryNetwork, **changes: Any) -> None:
        """Change fields of `Link` from `sender` to `receiver`, for open streams too."""
        way = (sender.peer_id, receiver.peer_id)
        self._links[way] = replace(self.link_of(*way), **changes)
        for pipe in list(self._pipes.get(way, ())):
            pipe.on_weather()

    def partition(self, one: MemoryNetwork, other: MemoryNetwork) -> None:
        """Let nothing through between two nodes, either way."""
        self.change_link(one, other, is_cut=True)
        self.change_link(other, one, is_cut=True)

    def heal(self, one: MemoryNetwork, other: MemoryNetwork) -> None:
        """End a partition; what was sent meanwhile arrives."""
        self.change_link(one, other, is_cut=False)
        self.change_link(other, one, is_cut=False)

    # ---- used by the nodes

    def node(self, number: int) -> MemoryNetwork | None:
        """Return the node with that number in its address."""
        return self._nodes[number - 1] if 0 < number <= len(self._nodes) else None

    def connect(self, dialer: MemoryNetwork, listener: MemoryNetwork) -> MemoryStream:
        """Join two nodes by a stream, start the listener's handler, return the dialer's end."""
        if self._nursery is None:
            raise RuntimeError("the hub is not running: use `async with MemoryHub(…)`")
        out = self._pipe(dialer.peer_id, listener.peer_id)
        back = self._pipe(listener.peer_id, dialer.peer_id)
        out.twin, back.twin = back, out
        near = MemoryStream(dialer, listener.peer_id, incoming=back, outgoing=out)
        far = MemoryStream(listener, dialer.peer_id, incoming=out, outgoing=back)
        self._nursery.start_soon(listener.serve, far)
        return near

    def _pipe(self, sender_id: str, receiver_id: str) -> Pipe:
        pipes = self._pipes.setdefault((sender_id, receiver_id), set())
        pipe = Pipe(
            rng=self.rng,
            link=lambda: self.link_of(sender_id, receiver_id),
            window_bytes=self.limits.window_bytes,
            stall_s=self.limits.stall_s,
            on_over=pipes.discard,
        )
        pipes.add(pipe)
        return pipe


class MemoryNetwork:
    """A `Network` in memory; made by `MemoryHub.network`."""

    def __init__(self, hub: MemoryHub, number: int, peer_id: str) -> None:
        self._hub = hub
        self._number = number
        self._peer_id = peer_id
        self._handler: StreamHandler | None = None
        self._streams: dict[MemoryStream, None] = {}

    @property
    def peer_id(self) -> str:
        """See `Network.peer_id`."""
        return self._peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """See `Network.addresses`; here always `/memory/N/p2p/…`."""
        return (f"/memory/{self._number}/p2p/{self._peer_id}",)

    def set_handler(self, handler: StreamHandler) -> None:
        """See `Network.set_handler`."""
        self._handler = handler

    async def dial(self, address: str) -> Stream:
        """See `Network.dial`."""
        number, peer_id = _parse(address)
        if peer_id == self._peer_id:
            raise UserError(f"{address} is this node itself")
        await trio.lowlevel.checkpoint()
        node = self._hub.node(number)
        if node is None or node._handler is None:
            raise Unavailable(f"cannot reach {address}: nobody answers there")
        if node.peer_id != peer_id:
            raise Unavailable(f"cannot reach {address}: {node.peer_id} answers there")
        await self._travel(node, address)
        return self._hub.connect(self, node)

    async def _travel(self, node: MemoryNetwork, address: str) -> None:
        """Take the time of one round trip, or of a dial into a partition."""
        there, back = self._hub.link(self, node), self._hub.link(node, self)
        if there.is_cut or back.is_cut:
            await trio.sleep(self._hub.limits.dial_s)
            raise Unavailable(f"{address} did not answer in {self._hub.limits.dial_s:g} s")
        await trio.sleep(there.latency_s + back.latency_s)

    def kill(self) -> None:
        """Die as a process does: every stream is cut in the middle, handlers and all.

        Peers see `Unavailable`. The node answers again once `set_handler` is called.
        """
        self._handler = None
        for stream in list(self._streams):
            stream.cut(f"connection to {self._peer_id} lost")

    async def serve(self, stream: MemoryStream) -> None:
        """Run the handler on one inbound stream; an exception costs that stream only."""
        is_clean = False
        try:
            if self._handler is not None:
                with stream.life:
                    await self._handler(stream)
                    is_clean = True
        except (PeerError, Unavailable) as error:
            log.info("job stream ended", extra={"peer": stream.peer_id, "error": str(error)})
        except Exception as error:  # noqa: BLE001 - one peer's stream is isolated here
            log.info("stream handler failed", extra={"error": repr(error)})
        finally:
            stream.finish(reset=not is_clean)

    def hold(self, stream: MemoryStream) -> None:
        """Note a stream as alive, so that `kill` finds it."""
        self._streams[stream] = None

    def let_go(self, stream: MemoryStream) -> None:
        """Forget a stream."""
        self._streams.pop(stream, None)


class MemoryStream:
    """A `Stream` in memory: two one-way pipes."""

    def __init__(
        self, node: MemoryNetwork, peer_id: str, *, incoming: Pipe, outgoing: Pipe
    ) -> None:
        self._node = node
        self._peer_id = peer_id
        self._incoming = incoming
        self._outgoing = outgoing
        self._is_sending = False
        self._is_receiving = False
        self.life = trio.CancelScope()
        node.hold(self)

    @property
    def peer_id(self) -> str:
        """See `Stream.peer_id`."""
        return self._peer_id

    async def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        if self._is_sending:
            raise RuntimeError("another task is sending on this stream")
        self._is_sending = True
        try:
            await self._outgoing.send(data)
        finally:
            self._is_sending = False

    async def receive(self) -> bytes:
        """See `Stream.receive`."""
        if self._is_receiving:
            raise RuntimeError("another task is receiving on this stream")
        self._is_receiving = True
        try:
            return await self._incoming.receive()
        finally:
            self._is_receiving = False

    async def send_eof(self) -> None:
        """See `Stream.send_eof`."""
        await trio.lowlevel.checkpoint()
        self._outgoing.check_open()
        self._outgoing.end()

    async def reset(self) -> None:
        """See `Stream.reset`."""
        self.finish(reset=True)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def aclose(self) -> None:
        """See `Stream.aclose`."""
        self.finish(reset=False)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def finish(self, *, reset: bool) -> None:
        """Close or reset without waiting."""
        if reset:
            self._outgoing.reset()
        else:
            self._outgoing.end()
            self._incoming.discard()
        self._node.let_go(self)

    def cut(self, why: str) -> None:
        """Break both ends at once, as a dying process does, and stop the handler here."""
        self._outgoing.fail(why)
        self._incoming.fail(why)
        self._node.let_go(self)
        self.life.cancel()


def _parse(address: str) -> tuple[int, str]:
    parts = address.split("/")
    is_shaped = len(parts) == 5 and (parts[0], parts[1], parts[3]) == ("", "memory", "p2p")
    if not is_shaped or not parts[2].isdecimal():
        raise UserError(f"{address!r} is not a peer's address; expected /memory/N/p2p/16Uiu2HAm…")
    try:
        address_of_peer_id(parts[4])
    except RowenError as error:
        raise UserError(f"{address!r}: {error}") from error
    return int(parts[2]), parts[4]
