"""Sessions over the in-memory network, on a clock that jumps."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
import trio.testing

from rowen.p2p.limits import Limits
from rowen.p2p.network import Stream
from rowen.p2p.session import Patience, Session, open_session
from rowen.protocol.errors import PeerError, Unavailable
from rowen.protocol.framing import Kind, encode_control, encode_frames
from rowen.testing.network import Link, MemoryHub, MemoryNetwork

PATIENCE = Patience(heartbeat_s=10, silence_s=35, stall_s=30)


@asynccontextmanager
async def pair(
    seed: int = 1, **weather: object
) -> AsyncIterator[tuple[Stream, Stream, MemoryHub, MemoryNetwork, MemoryNetwork]]:
    """Join two nodes by a stream: (dialer's end, listener's end, hub, dialer, listener)."""
    async with MemoryHub(random.Random(seed), Limits(window_bytes=65_536)) as hub:
        client, server = hub.network(b"c" * 32), hub.network(b"s" * 32)
        send, receive = trio.open_memory_channel[Stream](1)
        held = trio.Event()

        async def hand_over(stream: Stream) -> None:
            await send.send(stream)
            await held.wait()

        server.set_handler(hand_over)
        if weather:
            hub.change_link(client, server, **weather)
            hub.change_link(server, client, **weather)
        near = await client.dial(server.addresses[0])
        yield near, await receive.receive(), hub, client, server


async def pour(session: Session, message: bytes) -> None:
    while True:
        await session.send(message)


async def drain(source: Session | Stream, into: list[bytes] | None = None) -> None:
    while message := await source.receive():
        if into is not None:
            into.append(message)


async def send_all(stream: Stream, messages: list[bytes]) -> None:
    with contextlib.suppress(Unavailable):
        async with open_session(stream, PATIENCE) as session:
            for message in messages:
                await session.send(message)


async def test_messages_keep_their_bounds_whatever_the_stream_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Fragments and latency below, whole messages above."""
    messages = [random.Random(n).randbytes(n * 37 % 3000) for n in range(300)]
    async with pair(fragments=True, latency_s=0.05, jitter_s=0.02) as (near, far, *_):
        got: list[bytes] = []

        async def collect() -> None:
            async with open_session(far, PATIENCE) as there:
                while (message := await there.receive()) is not None:
                    got.append(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            async with open_session(near, PATIENCE) as here:
                for at in range(0, 300, 3):
                    await here.send(*messages[at : at + 3])
        assert got == messages


async def test_a_clean_end_differs_from_a_vanished_peer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """END, then None; a stream that just stops is Unavailable."""
    async with pair() as (near, far, *_), open_session(near, PATIENCE) as here:
        await here.send(b"one")
        await here.end()
        there = Session(far, PATIENCE)
        assert await there.receive() == b"one"
        assert await there.receive() is None
        assert await there.receive() is None
        with pytest.raises(Unavailable):
            await here.send(b"two")

    async with pair() as (near, far, *_):
        await near.send(encode_frames([b"one"]))
        await near.send_eof()
        there = Session(far, PATIENCE)
        assert await there.receive() == b"one"
        with pytest.raises(Unavailable, match="vanished"):
            await there.receive()


async def test_a_killed_peer_is_unavailable(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (near, far, _, client, _server), open_session(far, PATIENCE) as there:
        await near.send(encode_frames([b"one"]) + b"\0\0")
        assert await there.receive() == b"one"
        client.kill()
        with pytest.raises(Unavailable):
            await there.receive()


async def test_leaving_with_an_exception_tells_the_peer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The peer must not take half a conversation for a whole one; the exception stays itself."""
    async with pair() as (near, far, *_):
        there = Session(far, PATIENCE)
        with pytest.raises(KeyError, match="mine"):
            async with open_session(near, PATIENCE):
                raise KeyError("mine")
        with pytest.raises(Unavailable):
            await there.receive()


async def test_idle_sessions_stay_alive_by_heartbeats(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Hours of quiet are no reason to part."""
    async with (
        pair() as (near, far, *_),
        open_session(near, PATIENCE) as here,
        open_session(far, PATIENCE) as there,
    ):
        await trio.sleep(4 * 3600)
        await here.send(b"good morning")
        assert await there.receive() == b"good morning"


async def test_a_black_hole_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    """No bytes for `silence_s`: the peer is lost, though no error came from below."""
    async with (
        pair() as (near, far, hub, client, server),
        open_session(near, PATIENCE) as here,
        open_session(far, PATIENCE),
    ):
        await trio.sleep(60)
        hub.partition(client, server)
        began_s = trio.current_time()
        with pytest.raises(Unavailable, match="sent nothing for 35 s"):
            await here.receive()
        assert 25 <= trio.current_time() - began_s <= 50


async def test_a_slow_owner_is_not_a_lost_peer(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody calls receive for a while: the peer's heartbeats still count as life."""
    async with (
        pair() as (near, far, *_),
        open_session(near, PATIENCE) as here,
        open_session(far, PATIENCE) as there,
    ):
        await trio.sleep(600)
        await there.send(b"one", b"two")
        await trio.sleep(600)
        assert await here.receive() == b"one"
        assert await here.receive() == b"two"


async def test_a_peer_that_stops_reading_fails_the_send(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Within `stall_s` or so, and its stream is reset."""
    async with pair() as (near, far, *_):
        async with open_session(near, PATIENCE) as here:
            with pytest.raises(Unavailable, match="stopped reading"):
                await pour(here, bytes(10_000))
            with pytest.raises(Unavailable):
                await here.send(b"x")
        assert trio.current_time() < 100
        with pytest.raises(Unavailable):
            await drain(far)


async def test_many_tasks_may_send_and_messages_stay_whole(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Writers take turns; each one's messages keep their order."""
    async with pair(fragments=True) as (near, far, *_):
        got: list[bytes] = []

        async def collect() -> None:
            async with open_session(far, PATIENCE) as there:
                while (message := await there.receive()) is not None:
                    got.append(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            async with open_session(near, PATIENCE) as here, trio.open_nursery() as senders:

                async def talk(who: int) -> None:
                    for n in range(20):
                        await here.send(bytes([who, n]) * 2000, bytes([who, n]))

                for who in range(10):
                    senders.start_soon(talk, who)
        for who in range(10):
            mine = [message for message in got if message[0] == who]
            assert mine == [m for n in range(20) for m in (bytes([who, n]) * 2000, bytes([who, n]))]


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_send_leaves_whole_messages_or_a_broken_stream(
    autojump_clock: trio.testing.MockClock, steps: int
) -> None:
    async with pair(fragments=True) as (near, far, *_):
        got: list[bytes] = []

        async def collect() -> None:
            try:
                async with open_session(far, PATIENCE) as there:
                    while (message := await there.receive()) is not None:
                        got.append(message)
            except Unavailable:
                return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            async with (
                open_session(near, PATIENCE) as here,
                trio.open_nursery() as senders,
            ):

                async def pour(fill: bytes) -> None:
                    while True:
                        await here.send(fill * 9_000)

                senders.start_soon(pour, b"a")
                senders.start_soon(pour, b"b")
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                senders.cancel_scope.cancel()
        assert set(got) <= {b"a" * 9_000, b"b" * 9_000}


async def test_cancelled_receives_lose_no_message(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair(fragments=True, latency_s=0.003) as (near, far, *_):

        async def count_up() -> None:
            async with open_session(near, PATIENCE) as here:
                for n in range(500):
                    await here.send(n.to_bytes(2, "big") * 20)
                    await trio.sleep(0.001)

        got: list[int] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_up)
            async with open_session(far, PATIENCE) as there:
                ended = False
                while not ended:
                    with trio.move_on_after(0.0004):
                        message = await there.receive()
                        ended = message is None
                        if message is not None:
                            got.append(int.from_bytes(message[:2], "big"))
        assert got == list(range(500))


@pytest.mark.parametrize(
    "junk",
    [b"\xff" * 8, b"\0\0\0\1\7", encode_control(Kind.END) + encode_frames([b"more"])],
    ids=["oversize", "unknown kind", "data after END"],
)
async def test_broken_framing_is_the_peers_error(
    autojump_clock: trio.testing.MockClock, junk: bytes
) -> None:
    """And the stream is reset, so that the peer notices."""
    async with pair() as (near, far, *_):
        there = Session(far, PATIENCE)
        await near.send(junk)
        with pytest.raises(PeerError):
            await drain(there)
        with pytest.raises(Unavailable):
            await near.receive()


@pytest.mark.parametrize("cut_at", range(0, 60, 7))
async def test_a_connection_cut_at_any_byte_is_unavailable_not_a_clean_end(
    autojump_clock: trio.testing.MockClock, cut_at: int
) -> None:
    """Whole messages before the cut arrive; then Unavailable."""
    messages = [b"0123456789"] * 4
    async with pair() as (near, far, hub, client, server):
        hub.change_link(client, server, drop_after_bytes=cut_at)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all, near, messages)
        there = Session(far, PATIENCE)
        got: list[bytes] = []
        with pytest.raises(Unavailable):
            await drain(there, got)
        assert got == messages[: cut_at // 15]


def test_the_default_weather_is_fine() -> None:
    assert Link() == Link(latency_s=0, is_cut=False, is_read=True, drop_after_bytes=None)
