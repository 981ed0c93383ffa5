"""What `rowen.p2p.network` promises, tested alike over memory and over libp2p."""

from __future__ import annotations

import random
import struct

import pytest
import trio
import trio.lowlevel
import trio.testing
from tests.integration.p2p.worlds import (
    KINDS,
    Kind,
    echo,
    key,
    pour,
    read_all,
    read_exactly,
    world,
)

from rowen.p2p.limits import Limits
from rowen.p2p.network import RECEIVE_BYTES_MAX, Stream
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.ids import address_of_peer_id

pytestmark = pytest.mark.parametrize("kind", KINDS)


class Inbox:
    """A handler that hands its streams to the test."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Stream](100)
        self.release = trio.Event()

    async def __call__(self, stream: Stream) -> None:
        await self._send.send(stream)
        await self.release.wait()

    async def next(self) -> Stream:
        return await self._receive.receive()


async def test_both_ends_know_who_the_other_is(kind: Kind) -> None:
    """The PeerId is the operator's key, so it is known before anything is said."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        inbox = Inbox()
        server.set_handler(inbox)
        stream = await client.dial(server.addresses[0])
        far = await inbox.next()
        assert stream.peer_id == server.peer_id
        assert far.peer_id == client.peer_id
        assert server.addresses[0].endswith(f"/p2p/{server.peer_id}")
        assert len(address_of_peer_id(client.peer_id)) == 20


async def test_bytes_arrive_in_order_and_in_pieces_of_the_promised_size(kind: Kind) -> None:
    """Nothing is lost or reordered, whatever the sizes."""
    sizes = [1, 2, 199, 4096, 16_384, 16_385, 65_536, 65_537, 300_000, 1]
    sent = b"".join(random.Random(size).randbytes(size) for size in sizes)
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        pieces: list[bytes] = []
        done = trio.Event()

        async def collect(stream: Stream) -> None:
            while piece := await stream.receive():
                pieces.append(piece)
            done.set()

        server.set_handler(collect)
        stream = await client.dial(server.addresses[0])
        at = 0
        for size in sizes:
            await stream.send(sent[at : at + size])
            at += size
        await stream.send_eof()
        await done.wait()
        assert b"".join(pieces) == sent
        assert max(map(len, pieces)) <= RECEIVE_BYTES_MAX


async def test_a_payload_far_beyond_the_window_passes(kind: Kind) -> None:
    """Backpressure slows a sender and loses nothing."""
    data = random.Random(5).randbytes(8 << 20)
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        server.set_handler(echo)
        stream = await client.dial(server.addresses[0])
        received = b""
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send(data)
                await stream.send_eof()

            nursery.start_soon(send)
            received = await read_all(stream)
        assert received == data


async def test_half_close_leaves_the_other_direction_open(kind: Kind) -> None:
    """A client may say it is done asking and still read the answer."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")

        async def answer_late(stream: Stream) -> None:
            question = await read_all(stream)
            await stream.send(b"you said " + question)

        server.set_handler(answer_late)
        stream = await client.dial(server.addresses[0])
        await stream.send(b"hello")
        await stream.send_eof()
        assert await read_all(stream) == b"you said hello"
        assert await stream.receive() == b""
        with pytest.raises(Unavailable):
            await stream.send(b"more")


async def test_an_exception_in_a_handler_costs_that_stream_only(kind: Kind) -> None:
    """Its peer sees a broken stream; everyone else goes on."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")

        async def fragile(stream: Stream) -> None:
            if await stream.receive() == b"break":
                raise RuntimeError("a bug in a handler")
            await stream.send(b"fine")

        server.set_handler(fragile)
        bystander = await client.dial(server.addresses[0])
        victim = await client.dial(server.addresses[0])
        await victim.send(b"break")
        with pytest.raises(Unavailable):
            await victim.receive()
        await bystander.send(b"hello")
        assert await bystander.receive() == b"fine"
        later = await client.dial(server.addresses[0])
        await later.send(b"hello")
        assert await later.receive() == b"fine"


async def test_many_streams_at_once_do_not_mix(kind: Kind) -> None:
    """Streams of one peer share a connection and nothing else."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        server.set_handler(echo)
        limiter = trio.CapacityLimiter(8)
        heard: dict[int, bytes] = {}

        async def talk(n: int) -> None:
            async with limiter:
                stream = await client.dial(server.addresses[0])
            for round_ in range(5):
                said = struct.pack(">II", n, round_) * 50
                await stream.send(said)
                assert await read_exactly(stream, len(said)) == said
            heard[n] = said
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            for n in range(40):
                nursery.start_soon(talk, n)
        assert sorted(heard) == list(range(40))


async def test_cancelling_receives_loses_nothing(kind: Kind) -> None:
    """A receive with a timeout may be tried again for ever."""
    count = 3000
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")

        async def tick(stream: Stream) -> None:
            for n in range(count):
                await stream.send(struct.pack(">I", n))
                if n % 7 == 0:
                    await trio.lowlevel.checkpoint()

        server.set_handler(tick)
        stream = await client.dial(server.addresses[0])
        got = bytearray()
        cancelled = 0
        finished = False
        while not finished:
            with trio.move_on_after(0.0005 * (cancelled % 3)) as scope:
                chunk = await stream.receive()
                got += chunk
                finished = not chunk
            cancelled += scope.cancelled_caught
        assert got == b"".join(struct.pack(">I", n) for n in range(count))
        assert cancelled > 0


@pytest.mark.parametrize("delay_steps", range(0, 24, 3))
async def test_a_cancelled_send_never_corrupts_the_connection(kind: Kind, delay_steps: int) -> None:
    """It happened whole, or not at all, or its stream is reset; other streams never notice."""
    block = bytes(range(256)) * 1024
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        received: list[bytes] = []
        ended = trio.Event()

        async def sink_or_echo(stream: Stream) -> None:
            first = await stream.receive()
            if first == b"echo":
                await echo(stream)
                return
            data = bytearray(first)
            try:
                while chunk := await stream.receive():
                    data += chunk
            finally:
                received.append(bytes(data))
                ended.set()

        server.set_handler(sink_or_echo)
        steady = await client.dial(server.addresses[0])
        await steady.send(b"echo")
        stream = await client.dial(server.addresses[0])
        sent_whole = 0
        async with trio.open_nursery() as nursery:

            async def pour() -> None:
                nonlocal sent_whole
                try:
                    while True:
                        await stream.send(block)
                        sent_whole += 1
                except Unavailable:
                    return

            nursery.start_soon(pour)
            for _ in range(delay_steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await stream.aclose()
        await ended.wait()
        data = received[0]
        whole = block * (sent_whole + 1)
        assert data == whole[: len(data)]
        for n in range(20):
            await steady.send(struct.pack(">I", n))
            assert await read_exactly(steady, 4) == struct.pack(">I", n)


async def test_a_peer_that_stops_reading_makes_the_sender_fail_not_hang(kind: Kind) -> None:
    """After `stall_s` the stream is reset; the connection's other streams are unharmed."""
    limits = Limits(stall_s=0.3)
    async with world(kind, limits) as w:
        server, client = await w.node("server"), await w.node("client")
        release = trio.Event()

        async def lazy(stream: Stream) -> None:
            if await stream.receive() == b"echo":
                await echo(stream)
            else:
                await release.wait()

        server.set_handler(lazy)
        steady = await client.dial(server.addresses[0])
        await steady.send(b"echo")
        stream = await client.dial(server.addresses[0])
        with pytest.raises(Unavailable, match="stopped reading"):
            await pour(stream)
        await steady.send(b"still here")
        assert await read_exactly(steady, 10) == b"still here"
        release.set()


async def test_a_reset_reaches_the_peer(kind: Kind) -> None:
    """The peer is not left waiting."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        inbox = Inbox()
        server.set_handler(inbox)
        stream = await client.dial(server.addresses[0])
        await stream.send(b"x")
        far = await inbox.next()
        assert await far.receive() == b"x"
        await stream.reset()
        with pytest.raises(Unavailable):
            await far.receive()
        with pytest.raises(Unavailable):
            await stream.receive()
        with pytest.raises(Unavailable):
            await stream.send(b"y")


async def test_closing_delivers_what_was_sent_before(kind: Kind) -> None:
    """`aclose` is the end of the stream, not a reset, and never raises, even twice."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        got: list[bytes] = []
        done = trio.Event()

        async def collect(stream: Stream) -> None:
            got.append(await read_all(stream))
            done.set()

        server.set_handler(collect)
        stream = await client.dial(server.addresses[0])
        await stream.send(b"last words")
        await stream.aclose()
        await stream.aclose()
        await stream.reset()
        await done.wait()
        assert got == [b"last words"]


async def test_two_tasks_may_not_use_one_direction_at_once(kind: Kind) -> None:
    """Their bytes would interleave."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        inbox = Inbox()
        server.set_handler(inbox)
        stream = await client.dial(server.addresses[0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive)
            await trio.testing.wait_all_tasks_blocked(0.01)
            with pytest.raises(RuntimeError):
                await stream.receive()
            nursery.cancel_scope.cancel()


async def test_nobody_at_the_address_is_unavailable(kind: Kind) -> None:
    """Dialling is the caller's to retry."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        server.set_handler(echo)
        peer_id = server.peer_id
        dead = {
            "memory": f"/memory/99/p2p/{peer_id}",
            "libp2p": f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id}",
        }[kind]
        with pytest.raises(Unavailable):
            await client.dial(dead)
        # Neither is the peer blocked afterwards.
        stream = await client.dial(server.addresses[0])
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"


async def test_somebody_else_at_the_address_is_unavailable(kind: Kind) -> None:
    """Who answers must prove the PeerId in the address."""
    async with world(kind) as w:
        server, client, other = [await w.node(name) for name in ("server", "client", "other")]
        server.set_handler(echo)
        address = server.addresses[0].replace(server.peer_id, other.peer_id)
        with pytest.raises(Unavailable):
            await client.dial(address)


async def test_a_node_without_a_handler_refuses(kind: Kind) -> None:
    """A node that only buys serves nobody."""
    async with world(kind) as w:
        server, client = await w.node("server"), await w.node("client")
        with pytest.raises(Unavailable):
            await client.dial(server.addresses[0])


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/",
        "hello",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1/tcp/4001",
        "/ip4/127.0.0.1/tcp/4001/p2p/",
        "/ip4/127.0.0.1/tcp/4001/p2p/xyz",
        "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
        "/ip4/999.0.0.1/tcp/4001/p2p/{peer}",
        "/ip4/127.0.0.1/tcp/70000/p2p/{peer}",
        "/ip4/127.0.0.1/tcp/0/p2p/{peer}",
        "/ip4/127.0.0.1/udp/4001/p2p/{peer}",
        "/ip4/127.0.0.1/tcp/4001/ws/p2p/{peer}",
        "/memory/x/p2p/{peer}",
        "/memory/1/p2p/{peer}x",
        "/p2p/{peer}",
    ],
)
async def test_a_malformed_address_is_the_users_error(kind: Kind, address: str) -> None:
    """The message shows the address and what one looks like."""
    async with world(kind) as w:
        client, other = await w.node("client"), await w.node("other")
        text = address.format(peer=other.peer_id)
        with pytest.raises(UserError):
            await client.dial(text)


async def test_dialling_oneself_is_the_users_error(kind: Kind) -> None:
    """A node is no peer of its own."""
    async with world(kind) as w:
        node = await w.node("node")
        node.set_handler(echo)
        with pytest.raises(UserError, match="itself"):
            await node.dial(node.addresses[0])


async def test_the_same_key_is_the_same_peer(kind: Kind) -> None:
    """libp2p and our own derivation agree on every key."""
    from coincurve import PrivateKey

    from rowen.protocol.ids import peer_id_of_public_key

    async with world(kind) as w:
        for n in range(5):
            node = await w.node(n)
            public = PrivateKey(key(n)).public_key.format()
            assert node.peer_id == peer_id_of_public_key(public)
