"""A session with one provider: found, greeted, attached to our channel, and listened to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from rowen.client.account import Account
from rowen.p2p.network import Network
from rowen.p2p.session import Patience, Session, open_session
from rowen.protocol import messages
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, Reason, Refused, Unavailable, UserError
from rowen.protocol.ids import address_of_peer_id, parse_address
from rowen.protocol.messages import FromProvider
from rowen.protocol.offers import read_offer
from rowen_scheduler.market import Offer

GREETING_S = 15.0


def provider_of(text: str) -> bytes:
    """A provider's address from what a person types: 0x… or a multiaddress.

    Raises:
        UserError: Neither.
    """
    if text.startswith("0x"):
        return parse_address(text)
    peer_id = text.rpartition("/p2p/")[2]
    if "/p2p/" not in text:
        raise UserError(f"{text!r} is neither 0x… nor a multiaddress ending in /p2p/<PeerId>")
    try:
        return address_of_peer_id(peer_id)
    except PeerError as error:
        raise UserError(f"provider address {text!r}: {error}") from error


async def _next(session: Session) -> FromProvider:
    raw = await session.receive()
    if raw is None:
        raise Unavailable("the provider ended the session")
    return messages.decode_from_provider(raw)


@asynccontextmanager
async def greet(
    network: Network,
    address: str,
    domain: Domain,
    now_ms: Callable[[], int],
    patience: Patience | None = None,
) -> AsyncIterator[tuple[Session, Offer]]:
    """Dials a provider and reads its offer; the session lives as long as the block.

    Raises:
        UserError: The address is malformed.
        Unavailable: Nobody answers there.
        PeerError: The offer is not the peer's own, not for this deployment, or expired.
    """
    with trio.fail_after(GREETING_S) as limit:
        stream = await network.dial(address)
        async with open_session(stream, patience) as session:
            said = await _next(session)
            if not isinstance(said, messages.Hello):
                raise PeerError(f"expected hello, got {type(said).__name__}")
            provider = address_of_peer_id(session.peer_id)
            offer = read_offer(said, domain, provider, now_ms())
            limit.deadline = float("inf")
            yield session, offer


async def attach(session: Session, account: Account, wait_s: float) -> None:
    """Introduces our channel, and settles what was left open when we last parted.

    A deposit that has not enough confirmations yet is waited for.

    Args:
        session: With the channel's provider, greeted.
        account: The channel.
        wait_s: Longest wait for confirmations, and then again for the receipts left open.

    Raises:
        Refused: The provider will not have this channel.
        PeerError: Its log and ours contradict each other.
        Unavailable: The session or the journal failed.
        trio.TooSlowError: It does not answer, or does not send the receipts it announced.
    """
    # Heartbeats keep a session alive that says nothing, or nothing to the point.
    with trio.fail_after(wait_s + GREETING_S):
        attached = await _attached(session, account, wait_s)
    account.attached(session, attached)
    with trio.fail_after(wait_s):
        while account.state.log.count < attached.receipt_count and not account.state.stopped:
            # It announced them, so they are on their way; each may take only so long.
            with trio.fail_after(GREETING_S):
                said = await _next(session)
            await account.heard(said)
    await account.caught_up()


async def _attached(session: Session, account: Account, wait_s: float) -> messages.Attached:
    until = trio.current_time() + wait_s
    while True:
        await session.send(messages.encode(account.attach_message()))
        said = await _next(session)
        if isinstance(said, messages.Attached):
            return said
        if not isinstance(said, messages.No):
            raise PeerError(f"expected attached, got {type(said).__name__}")
        no = Refused(_reason(said.reason), said.detail, said.retry_ms)
        if no.retry_ms is None or trio.current_time() + no.retry_ms / 1000 > until:
            raise no
        await trio.sleep(no.retry_ms / 1000)


async def listen(session: Session, account: Account) -> None:
    """Applies what the provider says until the session is over.

    Raises:
        PeerError: The provider broke the protocol.
        Unavailable: The session or the journal failed; also when the provider ended it.
    """
    while True:
        await account.heard(await _next(session))


def _reason(word: str) -> Reason:
    try:
        return Reason(word)
    except ValueError as error:
        raise PeerError(f"unknown reason {word!r}") from error
