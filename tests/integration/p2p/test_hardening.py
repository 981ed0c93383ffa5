"""Each defect of stock py-libp2p 0.8.1, attacked; the rows are those of `rowen.p2p.hardening`.

Every test here fails when its answer is taken out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import trio
import trio.testing
from tests.integration.p2p.attacks import (
    MULTISTREAM,
    connect,
    connections_of,
    data_frame,
    flood_until_dropped,
    muxed_of,
    node,
    open_tcp,
    protocols_of,
    read_to_the_end,
    says_hello,
    swarm_of,
    until,
    until_blocked,
    write_raw,
)
from tests.integration.p2p.worlds import LOOPBACK, echo, key, pour, read_all

from rowen.p2p.hardening.yamux import Yamux
from rowen.p2p.hardening.yamux_stream import (
    FLAG_SYN,
    HEADER,
    TYPE_PING,
    TYPE_WINDOW,
    WINDOW_BYTES_INITIAL,
)
from rowen.p2p.limits import Limits
from rowen.p2p.network import Stream
from rowen.p2p.session import open_session
from rowen.protocol.errors import Unavailable

# ---- row 1: exceptions in stream handlers

NEGOTIATIONS = {
    "bad utf-8 as protocol": MULTISTREAM + b"\x06\xff\xfe\xfd\xfc\xfb\n",
    "bad utf-8 as handshake": b"\x06\xff\xfe\xfd\xfc\xfb\n",
    "endless varint": b"\xff" * 30,
    "huge length": b"\xff\xff\xff\xff\x0f" + b"x" * 500,
    "empty command": MULTISTREAM + b"\x00",
    "no newline": MULTISTREAM + b"\x03abc",
    "random": bytes(range(256)),
}


@pytest.mark.parametrize("garbage", NEGOTIATIONS.values(), ids=NEGOTIATIONS)
async def test_row_1_garbage_in_a_negotiation_costs_that_stream_only(garbage: bytes) -> None:
    """Stock: one stream message `06 ff fe fd fc fb 0a` kills the host process."""
    async with node("server") as server, node("mallory") as mallory, node("client") as client:
        server.set_handler(echo)
        conn = await connect(mallory, server.addresses[0])
        stream = await conn.open_stream()
        await stream.write(garbage)
        await stream.close()
        await read_to_the_end(stream)
        await says_hello(client, server.addresses[0])


async def test_row_1_a_bug_in_our_handler_costs_that_stream_only() -> None:
    """Stock: any exception in a handler kills the host process."""
    async with node("server") as server, node("client") as client:

        async def buggy(stream: Stream) -> None:
            raise ZeroDivisionError

        server.set_handler(buggy)
        for _ in range(3):
            stream = await client.dial(server.addresses[0])
            with pytest.raises(Unavailable):
                await stream.receive()
        server.set_handler(echo)
        await says_hello(client, server.addresses[0])


HANDSHAKES = {
    "random": bytes(range(256)) * 20,
    "bad utf-8": MULTISTREAM + b"\x06\xff\xfe\xfd\xfc\xfb\n",
    "huge length": b"\xff\xff\xff\xff\x7f" + b"a" * 1000,
    "noise junk": MULTISTREAM + b"\x07/noise\n\x00\x20" + bytes(32) + b"\x00\x10" + bytes(16),
    "nothing": b"",
}


@pytest.mark.parametrize("junk", HANDSHAKES.values(), ids=HANDSHAKES)
async def test_row_1_junk_before_the_handshake_costs_that_connection_only(junk: bytes) -> None:
    """Whatever comes before an identity is proven is the sender's problem."""
    async with node("server") as server, node("client") as client:
        server.set_handler(echo)
        socket = await open_tcp(server.addresses[0])
        await socket.send_all(junk)
        await socket.aclose()
        await says_hello(client, server.addresses[0])
        await until(lambda: swarm_of(server).admission.unproven == 0)


FRAMES = {
    "unknown type": HEADER.pack(0, 9, 0, 1, 0),
    "unknown version": HEADER.pack(7, 0, 0, 1, 0),
    "stream id 0": HEADER.pack(0, TYPE_WINDOW, FLAG_SYN, 0, 0),
    "stream id of ours": HEADER.pack(0, TYPE_WINDOW, FLAG_SYN, 2, 0),
    "frame of 4 GiB": HEADER.pack(0, 0, 0, 1, 2**32 - 1),
    "random": bytes(range(7, 256)),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_row_1_broken_yamux_frames_cost_that_connection_only(frame: bytes) -> None:
    """A peer that breaks the multiplexer's rules is dropped."""
    async with node("server") as server, node("mallory") as mallory, node("client") as client:
        server.set_handler(echo)
        conn = await connect(mallory, server.addresses[0])
        await write_raw(conn, frame)
        await conn.event_closed.wait()
        await says_hello(client, server.addresses[0])


# ---- row 2: pubsub


async def test_row_2_no_pubsub_is_served() -> None:
    """Stock: garbage on `/meshsub` kills the node. There is none; whoever adds it guards it."""
    async with node("server") as server:
        server.set_handler(echo)
        assert protocols_of(server) == ("/rowen/job/1",)
        assert swarm_of(server).notifees == []


# ---- row 3: identities are proven


@pytest.mark.parametrize(
    "protocol", ["/plaintext/2.0.0", "/secio/1.0.0", "/tls/1.0.0", "/insecure/0.0.0"]
)
async def test_row_3_only_noise_is_offered(protocol: str) -> None:
    """Stock offers plaintext and secio, where knowing a public key is enough to be its owner."""
    async with node("server") as server:
        server.set_handler(echo)
        socket = await open_tcp(server.addresses[0])
        asked = protocol.encode() + b"\n"
        await socket.send_all(MULTISTREAM + bytes([len(asked)]) + asked)
        heard = b""
        while len(heard) < len(MULTISTREAM) + 4:
            heard += bytes(await socket.receive_some())
        assert heard == MULTISTREAM + b"\x03na\n"
        await socket.aclose()


async def test_row_3_we_do_not_fall_back_to_plaintext_as_dialler() -> None:
    """A server that answers `na` to Noise gets no connection."""
    async with node("client", listen=()) as client:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def only_plaintext(socket: trio.SocketStream) -> None:
            await socket.send_all(MULTISTREAM + b"\x03na\n\x11/plaintext/2.0.0\n")
            async for _ in socket:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, only_plaintext, listeners)
            port = listeners[0].socket.getsockname()[1]
            async with node("server", listen=()) as server:
                with pytest.raises(Unavailable):
                    await client.dial(f"/ip4/127.0.0.1/tcp/{port}/p2p/{server.peer_id}")
            nursery.cancel_scope.cancel()


# ---- row 4: inbound slots


async def test_row_4_slots_come_back_when_connections_end() -> None:
    """Stock: after 250 connections in the process's lifetime all new ones are refused."""
    limits = Limits(connections_max=3)
    async with node("server", limits=limits) as server:
        server.set_handler(echo)
        for n in range(12):
            async with node(n, listen=()) as client:
                await says_hello(client, server.addresses[0])
            await until(lambda: swarm_of(server).admission.total == 0)
        await until(lambda: connections_of(server) == [])


async def test_row_4_one_peer_has_its_share_of_connections_and_no_more() -> None:
    """PeerIds are counted once they are proven; others are not affected."""
    limits = Limits(connections_per_peer_max=2)
    async with node("server", limits=limits) as server, node("client") as client:
        server.set_handler(echo)
        async with node("mallory", listen=()) as mallory:
            conns = [await connect(mallory, server.addresses[0]) for _ in range(2)]
            third = await connect(mallory, server.addresses[0])
            await third.event_closed.wait()
            assert not any(conn.is_closed for conn in conns)
            await says_hello(client, server.addresses[0])


# ---- row 5: cancellation


async def test_row_5_cancelled_writes_never_corrupt_the_connection() -> None:
    """Stock: the connection was unusable after 34 of 60 cancelled writes."""
    async with node("server") as server, node("client") as client:

        async def sink_or_echo(stream: Stream) -> None:
            if await stream.receive() == b"hello":
                await stream.send(b"hello")
            else:
                await read_all(stream)

        server.set_handler(sink_or_echo)
        for trial in range(60):
            stream = await client.dial(server.addresses[0])
            with trio.move_on_after(0.0003 * trial):
                await pour(stream, b"x" * (1 << 18))
            await stream.reset()
            await says_hello(client, server.addresses[0])
        assert len(connections_of(client)) == 1


async def test_row_5_cancelled_reads_lose_nothing() -> None:
    """Stock: 10 of 3,000 values arrived."""
    values = 1000
    async with node("server") as server, node("client") as client:

        async def tick(stream: Stream) -> None:
            for n in range(values):
                await stream.send(n.to_bytes(4, "big"))
                await trio.sleep(0.0002)

        server.set_handler(tick)
        stream = await client.dial(server.addresses[0])
        got = bytearray()
        is_over = False
        while not is_over:
            with trio.move_on_after(0.0003):
                chunk = await stream.receive()
                got += chunk
                is_over = not chunk
        assert got == b"".join(n.to_bytes(4, "big") for n in range(values))


# ---- row 6: the receive window


async def hoard(stream: Stream) -> None:
    """Never read."""
    await trio.sleep_forever()


async def test_row_6_a_peer_that_ignores_the_window_is_dropped() -> None:
    """Stock: 315 MB were buffered on one unread stream."""
    async with node("server") as server, node("mallory") as mallory, node("client") as client:
        server.set_handler(hoard)
        stream = await mallory.dial(server.addresses[0])
        conn = connections_of(mallory)[0]
        muxed = muxed_of(stream)
        (there,) = connections_of(server)
        flood = data_frame(muxed, 1 << 18)
        peak = await flood_until_dropped(conn, flood, 300, lambda: there.unread_bytes)
        await there.event_closed.wait()
        assert "broke the protocol" in (there.failure or "")
        assert peak <= Limits().window_bytes
        server.set_handler(echo)
        await says_hello(client, server.addresses[0])


async def test_row_6_all_streams_of_a_connection_share_one_bound() -> None:
    """Each within its window, together they may still hold only `unread_bytes_max`."""
    limits = Limits(unread_bytes_max=1 << 20)
    async with node("server", limits=limits) as server, node("mallory") as mallory:
        server.set_handler(hoard)
        streams = [await mallory.dial(server.addresses[0]) for _ in range(8)]
        (there,) = connections_of(server)
        peak = 0
        for stream in streams:
            with trio.move_on_after(0.2):
                with contextlib.suppress(Unavailable):
                    await stream.send(bytes(WINDOW_BYTES_INITIAL))
            peak = max(peak, there.unread_bytes)
        await until(lambda: len(there.streams) < 8)
        assert peak <= limits.unread_bytes_max + 65_536


# ---- row 7: slow readers


async def test_row_7_a_reader_may_pause_longer_than_five_seconds(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Stock: a writer whose peer pauses 5 s loses the stream. Ours waits `stall_s`."""
    size = 4 << 20
    async with node("server") as server, node("client") as client:
        resume = trio.Event()
        got: list[int] = []

        async def pause(stream: Stream) -> None:
            await resume.wait()
            got.append(len(await read_all(stream)))

        server.set_handler(pause)
        stream = await client.dial(server.addresses[0])
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                await stream.send(bytes(size))
                await stream.send_eof()

            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked(0.05)
            mock_clock.jump(10)
            await trio.testing.wait_all_tasks_blocked(0.05)
            resume.set()
        await read_all(stream)
        assert got == [size]


# ---- row 8: dialling


async def test_row_8_a_failed_dial_blocks_nothing_afterwards() -> None:
    """Stock: 60 s of refusing to dial the peer at all."""
    async with node("server") as server, node("client") as client:
        server.set_handler(echo)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await client.dial(f"/ip4/127.0.0.1/tcp/1/p2p/{server.peer_id}")
        await says_hello(client, server.addresses[0])


async def test_row_8_every_known_address_is_tried() -> None:
    """Stock: one address per kind of transport; a dead first one fails the dial."""
    from multiaddr import Multiaddr

    from rowen.p2p.addresses import parse_peer_id

    async with node("server") as server, node("client") as client:
        swarm = swarm_of(client)
        peer = parse_peer_id(server.peer_id)
        live = Multiaddr(server.addresses[0].rpartition("/p2p/")[0])
        swarm.peerstore.add_addrs(peer, [Multiaddr("/ip4/127.0.0.1/tcp/1"), live], 3600)
        (conn,) = await swarm.dial_peer(peer)
        assert conn.muxed_conn.peer_id == peer


# ---- row 9: dead peers

DAY_S = 86_400.0  # of a clock that jumps


async def test_row_9_a_silent_connection_is_dropped(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock: still "connected" to a black hole after 75 s."""
    async with node("server", hang_s=DAY_S) as server, node("mallory", hang_s=DAY_S) as mallory:
        server.set_handler(echo)
        conn = await connect(mallory, server.addresses[0])
        await conn.open_stream()
        await until_blocked(lambda: len(connections_of(server)) == 1)
        (there,) = connections_of(server)
        # The peer's answers to our pings never leave it.
        monkeypatch.setattr(conn, "queue", lambda *_: None)
        for _ in range(4):
            mock_clock.jump(Limits().ping_s + 1)
            await trio.testing.wait_all_tasks_blocked(0.02)
        assert there.failure == f"the peer was silent for {Limits().silence_s:g} s"
        assert connections_of(server) == []


async def test_row_9_a_live_connection_is_kept_through_silence(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Pings are answered, so hours without traffic change nothing."""
    async with node("server", hang_s=DAY_S) as server, node("client", hang_s=DAY_S) as client:
        server.set_handler(echo)
        stream = await client.dial(server.addresses[0])
        for _ in range(40):
            mock_clock.jump(Limits().ping_s + 1)
            await trio.testing.wait_all_tasks_blocked(0.005)
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"


SERVER = """
    import sys, trio
    from rowen.p2p.host import open_network
    from rowen.p2p.session import open_session

    async def serve(stream):
        async with open_session(stream) as session:
            while (message := await session.receive()) is not None:
                await session.send(message)

    async def main():
        key, listen = bytes.fromhex(sys.argv[1]), sys.argv[2]
        async with open_network(key, listen=[listen]) as network:
            network.set_handler(serve)
            sys.stdout.write(network.addresses[0] + "\\n")
            sys.stdout.flush()
            await trio.sleep_forever()

    trio.run(main)
"""


def start_server(listen: str) -> tuple[subprocess.Popen[str], str]:
    program = [sys.executable, "-c", textwrap.dedent(SERVER), key("server").hex(), listen]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def test_rows_9_and_10_a_killed_peer_is_not_a_clean_end_and_can_be_dialled_again() -> None:
    """Stock: EOF for a killed peer, and nothing reconnects."""
    process, address = start_server(LOOPBACK)
    try:
        async with node("client", listen=()) as client:
            async with open_session(await client.dial(address)) as session:
                await session.send(b"one")
                assert await session.receive() == b"one"
                os.kill(process.pid, signal.SIGKILL)
                with pytest.raises(Unavailable):
                    await session.receive()
            process.wait()
            with pytest.raises(Unavailable):
                await client.dial(address)
            assert process.stdout is not None
            process.stdout.close()
            process, again = start_server(address.rpartition("/p2p/")[0])
            assert again == address
            async with open_session(await client.dial(address)) as session:
                await session.send(b"two")
                assert await session.receive() == b"two"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


# ---- row 11: hoarders


async def test_row_11_silent_connections_from_one_address_do_not_block_others() -> None:
    """Stock: 300 silent TCP connections block newcomers for 10 s."""
    async with node("server") as server, node("client", listen=()) as client:
        server.set_handler(echo)
        silent = [await open_tcp(server.addresses[0], "127.0.0.2") for _ in range(300)]
        await says_hello(client, server.addresses[0])
        assert swarm_of(server).admission.unproven <= Limits().handshakes_per_ip_max
        for socket in silent:
            await socket.aclose()


async def test_row_11_silent_connections_from_everywhere_make_room_for_newcomers() -> None:
    """The oldest that proves nothing goes first."""
    limits = Limits(handshakes_max=20)
    async with node("server", limits=limits) as server, node("client", listen=()) as client:
        server.set_handler(echo)
        silent = [
            await open_tcp(server.addresses[0], f"127.0.{n // 4}.{n % 4 + 2}") for n in range(200)
        ]
        await says_hello(client, server.addresses[0])
        assert swarm_of(server).admission.unproven <= limits.handshakes_max
        for socket in silent:
            await socket.aclose()


async def test_row_11_a_silent_connection_does_not_last(
    mock_clock: trio.testing.MockClock,
) -> None:
    """It has `handshake_s` to prove an identity."""
    async with node("server") as server:
        socket = await open_tcp(server.addresses[0])
        await until_blocked(lambda: swarm_of(server).admission.unproven == 1)
        mock_clock.jump(Limits().handshake_s + 1)
        await until_blocked(lambda: swarm_of(server).admission.total == 0)
        await socket.aclose()


async def test_row_11_streams_that_name_no_protocol_are_few_and_short_lived() -> None:
    """Stock: one peer held 4,646 unnegotiated streams."""
    async with node("server") as server, node("mallory") as mallory, node("client") as client:
        server.set_handler(echo)
        conn = await connect(mallory, server.addresses[0])
        for first in range(1, 10_001, 1000):
            opened = range(first, first + 1000, 2)
            frames = [HEADER.pack(0, TYPE_WINDOW, FLAG_SYN, sid, 0) for sid in opened]
            await write_raw(conn, b"".join(frames))
        await says_hello(client, server.addresses[0])
        (there,) = [c for c in connections_of(server) if str(c.peer_id) == mallory.peer_id]
        await until(lambda: there.streams)
        assert len(there.streams) <= Limits().unnegotiated_streams_max


async def test_row_11_questions_without_listening_to_answers_end_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ping costs the sender 12 bytes and us 12 bytes of memory, until it reads."""
    async with node("server") as server, node("mallory") as mallory, node("client") as client:
        server.set_handler(echo)
        conn = await connect(mallory, server.addresses[0])
        await until(lambda: connections_of(server))
        (there,) = connections_of(server)
        monkeypatch.setattr(conn.secured_conn, "read", trio.sleep_forever)
        pings = HEADER.pack(0, TYPE_PING, FLAG_SYN, 0, 7) * 5000
        peak = await flood_until_dropped(conn, pings, 2000, lambda: len(there._outbox))
        assert peak <= Limits().outbox_bytes_max + 64
        await says_hello(client, server.addresses[0])


# ---- row 12: leaks


async def test_row_12_a_handler_that_just_returns_closes_its_stream() -> None:
    """Stock: the stream leaks, and after 256 no more can be opened."""
    limits = Limits(streams_burst=1000)
    async with node("server", limits=limits) as server, node("client") as client:

        async def forgetful(stream: Stream) -> None:
            await stream.receive()

        server.set_handler(forgetful)
        for _ in range(300):
            stream = await client.dial(server.addresses[0])
            await stream.send(b"x")
            assert await stream.receive() == b""
            await stream.aclose()
        await until(lambda: not any(conn.streams for conn in connections_of(server)))
        assert not any(conn.streams for conn in connections_of(client))


async def test_row_12_the_last_stream_is_refused_not_awaited() -> None:
    """Stock waits for ever for a free slot; ours says Unavailable and hurts no other stream."""
    limits = Limits(streams_per_connection_max=5)
    async with node("server") as server, node("client", limits=limits) as client:
        server.set_handler(echo)
        streams = [await client.dial(server.addresses[0]) for _ in range(5)]
        with pytest.raises(Unavailable, match="5 streams are open"):
            await client.dial(server.addresses[0])
        for stream in streams:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
        await streams[0].aclose()
        await until(lambda: len(connections_of(client)[0].streams) == 4)
        await says_hello(client, server.addresses[0])


# ---- row 13: dials that sleep, the muxer that is not ours


async def test_row_13_a_dial_does_not_sleep(mock_clock: trio.testing.MockClock) -> None:
    """Stock: every dial sleeps 250 ms. On a clock that stands still it would never return."""
    async with node("server") as server, node("client") as client:
        server.set_handler(echo)
        served = trio.Event()

        async def visit() -> None:
            await says_hello(client, server.addresses[0])
            served.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit)
            await until_blocked(served.is_set)
        assert trio.current_time() == 0


async def test_row_13_our_yamux_is_used_on_both_sides() -> None:
    """Stock ignores `muxer_opt` for Yamux."""
    async with node("server") as server, node("client") as client:
        server.set_handler(echo)
        await says_hello(client, server.addresses[0])
        muxers = [type(conn) for conn in connections_of(server) + connections_of(client)]
        assert muxers == [Yamux, Yamux]
