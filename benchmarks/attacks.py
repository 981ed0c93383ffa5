"""What an abusive peer can do to a provider. Each attack goes on until it is cancelled."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Final, cast

import trio
from libp2p.exceptions import BaseLibp2pError

from benchmarks import soak, trade
from benchmarks.whole import INFO
from rowen.client.link import greet
from rowen.p2p.addresses import host_of, parse_dial_address, port_of
from rowen.p2p.hardening.yamux import Yamux
from rowen.p2p.hardening.yamux_stream import (
    FLAG_SYN,
    HEADER,
    HEADER_BYTES,
    TYPE_DATA,
    TYPE_PING,
    TYPE_WINDOW,
    YamuxStream,
)
from rowen.p2p.host import Libp2pNetwork, open_network
from rowen.p2p.network import JOB_PROTOCOL
from rowen.p2p.session import Session
from rowen.protocol import messages
from rowen.protocol.admission import input_hash
from rowen.protocol.errors import RowenError
from rowen.protocol.framing import Kind, encode_control
from rowen.protocol.ids import channel_id_of
from rowen.protocol.messages import Signed
from rowen.protocol.statements import Order
from rowen_scheduler.market import Variant

# Where plain connections come from; the honest clients come from 127.0.0.1.
ELSEWHERE: Final = "127.0.0.2"
CROWD: Final = 64
CHUNK_BYTES: Final = 60_000
AT_ONCE: Final = 64
# The last channel is the attacker's.
CHANNEL: Final = soak.CHANNELS - 1

Attack = Callable[[str], Awaitable[None]]


async def connections(address: str) -> None:
    """Connects, says nothing, and comes again at once when it is turned away."""
    target = parse_dial_address(address).address

    async def hold() -> None:
        with trio.socket.socket() as socket:
            await socket.bind((ELSEWHERE, 0))
            await socket.connect((host_of(target), port_of(target)))
            while await socket.recv(1024):
                pass

    await _again_and_again(hold, CROWD)


async def identities(address: str) -> None:
    """Proves a new identity, again and again: each costs both sides a handshake."""
    numbers = count()

    async def prove() -> None:
        secret = trade.named(f"sybil {next(numbers)} of {os.getpid()}")
        async with open_network(secret) as network:
            await _connect(network, address)

    await _again_and_again(prove, 1)


async def pings(address: str) -> None:
    """Asks whether the connection lives, thousands of times in one packet."""
    await _pour(address, HEADER.pack(0, TYPE_PING, FLAG_SYN, 0, 7))


async def windows(address: str) -> None:
    """Grants a window to a stream that there is not."""
    await _pour(address, HEADER.pack(0, TYPE_WINDOW, 0, 99, 1))


async def crumbs(address: str) -> None:
    """Sends data, a byte a frame, to a stream that there is not."""
    await _pour(address, HEADER.pack(0, TYPE_DATA, 0, 99, 1) + b"x")


async def drops(address: str) -> None:
    """Sends a byte at a time, each encrypted by itself."""
    frame = HEADER.pack(0, TYPE_PING, FLAG_SYN, 0, 7)

    async def drip() -> None:
        async with _connected(address) as conn:
            while not conn.is_closed:
                for at in range(HEADER_BYTES):
                    await conn.secured_conn.write(frame[at : at + 1])

    await _again_and_again(drip, 1)


async def streams(address: str) -> None:
    """Opens streams and never says what for."""
    ids = count(1, 2)
    await _pour(address, lambda: HEADER.pack(0, TYPE_WINDOW, FLAG_SYN, next(ids), 0))


async def beats(address: str) -> None:
    """Says that it lives, thousands of times in one packet, and nothing else."""

    async def insist() -> None:
        async with _connected(address) as conn, _job_stream(conn) as stream:
            while not conn.is_closed:
                await stream.write(encode_control(Kind.HEARTBEAT) * (CHUNK_BYTES // 2))

    await _again_and_again(insist, 1)


async def strangers(address: str) -> None:
    """Asks for an account without ever having had a channel."""
    domain = soak.escrow_of_all().deployment.domain
    nobody = trade.named("nobody")[:20]
    ask = messages.encode(messages.Attach(domain.chain_id, domain.escrow, nobody, 0))

    async def insist() -> None:
        async with _greeted(trade.named("a stranger"), address) as (session, _):
            await _flood(session, ask)

    await _again_and_again(insist, 1)


async def vouchers(address: str) -> None:
    """A customer that sends the same old voucher without end."""

    async def insist() -> None:
        async with _customer(address) as (session, _, voucher):
            await _flood(session, messages.encode(messages.Pay(voucher)))

    await _again_and_again(insist, 1)


async def orders(address: str) -> None:
    """A customer that orders what will be refused, and does not wait for the refusal."""

    async def insist() -> None:
        async with _customer(address) as (session, variant, _):
            await _flood(session, messages.encode(_hopeless_order(variant, trade.INPUT)))

    await _again_and_again(insist, 1)


async def tomes(address: str) -> None:
    """The same with the longest inputs: each is hashed before it is refused."""

    async def insist() -> None:
        async with _customer(address) as (session, variant, _):
            tome = bytes(messages.INPUT_BYTES_MAX)
            await _flood(session, messages.encode(_hopeless_order(variant, tome)), at_once=1)

    await _again_and_again(insist, 1)


async def jobs(address: str) -> None:
    """A customer that buys the shortest answers as fast as it can, and pays for them."""
    async with AsyncExitStack() as stack:
        client = await soak.open_buyer(stack, CHANNEL, address)

        async def buy() -> None:
            await client.chat("Hay?", model=INFO.model, max_cost=10**9, max_output=1).read()

        await _again_and_again(buy, 32)


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        connections, identities, pings, windows, crumbs, drops, streams,
        beats, strangers, vouchers, orders, tomes, jobs,
    )
}  # fmt: skip
"""By name."""


# --- how


async def _again_and_again(act: Callable[[], Awaitable[None]], crowd: int) -> None:
    """So many at the same time do this for ever, whatever comes of it."""

    async def insist() -> None:
        while True:
            with contextlib.suppress(RowenError, BaseLibp2pError, OSError):
                await act()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(crowd):
            nursery.start_soon(insist)


async def _connect(network: object, address: str) -> Yamux:
    target = parse_dial_address(address)
    conn = await cast(Libp2pNetwork, network)._swarm.connect(target.peer, target.address)
    return cast(Yamux, conn.muxed_conn)


@asynccontextmanager
async def _connected(address: str) -> AsyncIterator[Yamux]:
    """A connection of our own making; what is said on it is read and forgotten."""
    async with open_network(trade.named(f"mallory {os.getpid()}")) as network:
        yield await _connect(network, address)


@asynccontextmanager
async def _job_stream(conn: Yamux) -> AsyncIterator[YamuxStream]:
    stream = await conn.open_stream()
    await stream.write(_said("/multistream/1.0.0") + _said(JOB_PROTOCOL))
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            while await stream.read():
                pass

        nursery.start_soon(read)
        yield stream
        nursery.cancel_scope.cancel()


def _said(line: str) -> bytes:
    return bytes([len(line) + 1]) + line.encode() + b"\n"


async def _pour(address: str, frame: bytes | Callable[[], bytes]) -> None:
    """Sends frames as fast as they are taken."""
    made = frame if callable(frame) else lambda: frame

    async def insist() -> None:
        async with _connected(address) as conn:
            while not conn.is_closed:
                packet = b"".join(made() for _ in range(CHUNK_BYTES // HEADER_BYTES))
                await conn.secured_conn.write(packet)

    await _again_and_again(insist, 1)


@asynccontextmanager
async def _greeted(secret: bytes, address: str) -> AsyncIterator[tuple[Session, Variant]]:
    domain = soak.escrow_of_all().deployment.domain
    async with (
        open_network(secret) as network,
        greet(network, address, domain, lambda: time.time_ns() // 1_000_000) as (session, offer),
    ):
        yield session, offer.variants[0]


@asynccontextmanager
async def _customer(address: str) -> AsyncIterator[tuple[Session, Variant, Signed]]:
    """Buys one answer as anybody would, and comes again to make trouble."""
    async with AsyncExitStack() as stack:
        client = await soak.open_buyer(stack, CHANNEL, address)
        await client.chat("Hay?", model=INFO.model, max_cost=10**9, max_output=1).read()
        account = await client.account(trade.PROVIDER.address)
        attach = account.attach_message()
    assert attach.voucher is not None
    async with _greeted(soak.session(CHANNEL).secret, address) as (session, variant):
        await session.send(messages.encode(attach))
        await session.receive()
        yield session, variant, attach.voucher


def _hopeless_order(variant: Variant, job_input: bytes) -> messages.Submit:
    key = soak.session(CHANNEL)
    order = Order(
        channel_id=channel_id_of(trade.PAYER, trade.PROVIDER.address, key.address),
        job_id=trade.named("hopeless"),
        variant=variant.id,
        input_hash=input_hash(trade.SALT, job_input),
        price_input=variant.price_input,
        price_cached=variant.price_cached,
        price_output=variant.price_output,
        price_request=variant.price_request,
        output_units_max=1,
        amount_max=0,
        deadline_ms=time.time_ns() // 1_000_000 + 600_000,
    )
    domain = soak.escrow_of_all().deployment.domain
    return messages.Submit(messages.seal(order, domain, key), trade.SALT, job_input)


async def _flood(session: Session, message: bytes, at_once: int = AT_ONCE) -> None:
    """Sends this without end; what is answered is read and forgotten."""
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            while await session.receive() is not None:
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        while True:
            await session.send(*[message] * at_once)
