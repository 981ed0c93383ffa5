"""What a peer may make us do in a second, on a clock that jumps."""

from __future__ import annotations

import random
from typing import cast
from unittest.mock import patch

import pytest
import trio
import trio.testing
from libp2p.abc import ISecureConn
from libp2p.peer.id import ID

from rowen.p2p.hardening.yamux import Yamux
from rowen.p2p.hardening.yamux_stream import FLAG_SYN, HEADER, TYPE_DATA, TYPE_PING, TYPE_WINDOW
from rowen.p2p.limits import Limits
from rowen.p2p.network import Stream
from rowen.p2p.rates import TokenBucket
from rowen.p2p.session import open_session
from rowen.protocol.framing import Kind, encode_control, encode_frames
from rowen.testing.network import MemoryHub

LIMITS = Limits(frames_per_s=100, frames_burst=200, silence_s=1000, idle_s=1000, ping_s=1000)


def test_what_was_spent_on_credit_is_waited_for() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=5)
    assert bucket.spend(0.0, 5) == 0
    assert bucket.spend(0.0, 20) == 2
    assert bucket.spend(1.5, 0) == 0.5
    assert not bucket.take(2.0)
    assert bucket.take(2.1)


def test_rest_earns_no_more_than_the_burst() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=5)
    assert bucket.spend(0.0, 0) == 0
    assert bucket.spend(1e9, 6) == pytest.approx(0.1)


class Wire:
    """A connection on which everything lies ready at once, and that then says no more."""

    def __init__(self, chunks: list[bytes], *, is_initiator: bool) -> None:
        self.is_initiator = is_initiator
        self._chunks = chunks

    async def read(self, _n: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._chunks.pop(0) if self._chunks else b""

    async def write(self, _data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


FLOODS = {
    "pings": HEADER.pack(0, TYPE_PING, FLAG_SYN, 0, 7),
    "windows of no stream": HEADER.pack(0, TYPE_WINDOW, 0, 99, 1),
    "crumbs for no stream": HEADER.pack(0, TYPE_DATA, 0, 99, 1) + b"x",
}


async def time_of(chunks: list[bytes], *, is_initiator: bool = False) -> float:
    """How long a connection takes to handle all of it."""
    wire = Wire(chunks, is_initiator=is_initiator)
    conn = Yamux(cast(ISecureConn, wire), ID(b"mallory"), LIMITS)
    began_s = trio.current_time()
    await conn.start()
    assert conn.failure == "the peer closed the connection"
    return trio.current_time() - began_s


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_frames_is_handled_at_a_rate(
    frame: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """Threat 49: thousands of frames in one read would be the only thing a node does."""
    # The chunk itself counts, and each turn of the 64 frames after it.
    turns = 1200 // 63
    assert await time_of([frame * 1200]) == pytest.approx((1200 + turns - 200) / 100, abs=0.3)


async def test_a_byte_in_a_packet_is_work_like_a_frame(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ping = FLOODS["pings"]
    drops = [ping[at : at + 1] for at in range(len(ping))] * 100
    assert await time_of(drops) == pytest.approx((1300 - 200) / 100, abs=0.1)


async def test_whom_we_dialled_may_say_as_much_as_it_likes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A provider streams many answers to one client."""
    assert await time_of([FLOODS["pings"] * 5000], is_initiator=True) == 0


@pytest.mark.parametrize("is_initiator", [False, True])
async def test_others_have_their_turns_during_a_flood(
    is_initiator: bool, autojump_clock: trio.testing.MockClock
) -> None:
    wire = Wire([FLOODS["windows of no stream"] * 5000], is_initiator=is_initiator)
    limits = Limits(frames_per_s=1e9, frames_burst=10**9)
    conn = Yamux(cast(ISecureConn, wire), ID(b"mallory"), limits)
    turns = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conn.start)
        while not conn.is_closed:
            await trio.lowlevel.checkpoint()
            turns += 1
    assert turns > 5000 / 64


# ---- sessions


async def taken(raw: bytes, count: int, rate: TokenBucket) -> tuple[list[bytes], float]:
    """What a session with this rate hands out of these bytes, and how long that takes."""
    found: list[bytes] = []
    done = trio.Event()

    async def serve(stream: Stream) -> None:
        async with open_session(stream, rate=rate) as session:
            while len(found) < count:
                # A wait that is cancelled loses no message.
                with trio.move_on_after(0.7):
                    found.append(await session.receive() or b"")
        done.set()

    began_s = trio.current_time()
    async with MemoryHub(random.Random(1), Limits(window_bytes=1 << 20)) as hub:
        client, server = hub.network(b"c" * 32), hub.network(b"s" * 32)
        server.set_handler(serve)
        stream = await client.dial(server.addresses[0])
        await stream.send(raw)
        await done.wait()
    return found, trio.current_time() - began_s


async def test_messages_of_a_session_are_taken_at_its_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bodies = [b"%d" % number for number in range(60)]
    found, took_s = await taken(encode_frames(bodies), 60, TokenBucket(2, 20))
    assert found == bodies
    assert took_s == pytest.approx((60 - 20) / 2, abs=1)


async def test_a_long_message_counts_for_more(autojump_clock: trio.testing.MockClock) -> None:
    tome, short = bytes(160 << 10), b"short"
    _, took_s = await taken(encode_frames([tome, short]), 2, TokenBucket(1, 1))
    assert took_s == pytest.approx(10, abs=1)


async def test_signs_of_life_count_too(autojump_clock: trio.testing.MockClock) -> None:
    beats = encode_control(Kind.HEARTBEAT) * 50
    _, took_s = await taken(beats + encode_frames([b"hello"]), 1, TokenBucket(2, 1))
    assert took_s == pytest.approx((50 - 1) / 2, abs=1)


async def test_no_more_is_read_before_the_last_is_paid_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A peer that says nothing but that it lives keeps nobody busy."""
    beats, read_at_s = encode_control(Kind.HEARTBEAT) * 50, list[float]()
    async with MemoryHub(random.Random(1), Limits(window_bytes=1 << 20)) as hub:
        client, server = hub.network(b"c" * 32), hub.network(b"s" * 32)
        done = trio.Event()

        async def serve(stream: Stream) -> None:
            receive = stream.receive

            async def noted() -> bytes:
                chunk = await receive()
                read_at_s.append(trio.current_time())
                return chunk

            with patch.object(stream, "receive", noted):
                async with open_session(stream, rate=TokenBucket(2, 1)) as session:
                    assert await session.receive() == b"hello"
            done.set()

        server.set_handler(serve)
        stream = await client.dial(server.addresses[0])
        for _ in range(3):
            await stream.send(beats)
            await trio.sleep(1)
        await stream.send(encode_frames([b"hello"]))
        await done.wait()
    first_s, second_s = read_at_s[:2]
    assert second_s - first_s >= 20
