"""The developer's client: finds providers, buys answers, pays as they stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
import trio

from rowen.chain.base import ChannelKey, Escrow
from rowen.client.account import Account
from rowen.client.answer import Answer
from rowen.client.asking import Asking
from rowen.client.link import attach, greet, listen, provider_of
from rowen.client.offers import Asker
from rowen.client.parts import Request
from rowen.client.recovery import replay
from rowen.p2p.network import Network
from rowen.p2p.session import Patience
from rowen.protocol.errors import RowenError, Unavailable, UserError
from rowen.protocol.ids import format_address
from rowen.protocol.signing import Key
from rowen.store.base import ChannelOpened, Journal
from rowen_scheduler.market import Offer
from rowen_scheduler.selection import Match, Preferences, Rejection, select

CLOSE_S = 5.0
PROVIDERS_MAX = 1_000

log = structlog.get_logger("rowen.client")


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a client buys.

    Attributes:
        payer: Wallet whose channels are used, 20 bytes.
        providers: Multiaddresses to ask for offers.
        confirmations: Blocks on top of a deposit before it counts.
        attach_wait_s: Longest wait for a deposit's confirmations.
        answer_s_max: Time a provider has for one job.
        end_wait_s: Longest wait for the last receipt of a job we left.
        discovery_wait_s: Longest wait for a first provider to be found, when none is known.
        offer_wait_s: Once a provider has made an offer, how long the others may take in all.
        silence_s: How long a provider that took longer is not waited for again.
        busy_wait_s: When nobody is free, how long an answer waits for those who said when to ask
            again.
    """

    payer: bytes
    providers: tuple[str, ...]
    confirmations: int = 2
    attach_wait_s: float = 60.0
    answer_s_max: float = 600.0
    end_wait_s: float = 10.0
    discovery_wait_s: float = 5.0
    offer_wait_s: float = 4.0
    silence_s: float = 60.0
    busy_wait_s: float = 30.0


@dataclass
class _Link:
    """One provider we talk to."""

    offer: Offer
    account: Account
    listening: trio.CancelScope
    over: trio.Event = field(default_factory=trio.Event)
    put_away: trio.Event = field(default_factory=trio.Event)


class Client(Asking):
    """Buys answers. Use ``open_client``, or ``rowen.Client`` without trio.

    Attributes:
        settings: How it buys.
        now_ms: Wall clock, Unix milliseconds.
        entropy: Random bytes for job ids and salts.
    """

    def __init__(
        self,
        *,
        key: Key,
        network: Network,
        escrow: Escrow,
        journal: Journal,
        settings: ClientSettings,
        nursery: trio.Nursery,
        now_ms: Callable[[], int] = _wall_clock_ms,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        patience: Patience | None = None,
        found: AsyncIterable[str] | None = None,
    ) -> None:
        self.settings = settings
        self.now_ms = now_ms
        self.entropy = entropy
        self._key = key
        self._network = network
        self._escrow = escrow
        self._journal = journal
        self._nursery = nursery
        self._patience = patience
        self._domain = escrow.deployment.domain
        self._addresses = {provider_of(address): address for address in settings.providers}
        self._links: dict[bytes, _Link] = {}
        self._linking: dict[bytes, trio.Lock] = {}
        self._accounts: dict[bytes, Account] = {}
        self._asker = Asker(
            self._offer, offer_wait_s=settings.offer_wait_s, silence_s=settings.silence_s
        )
        self._is_closed = False
        self._found = found
        self._found_one = trio.Event()

    # --- the public part

    def answer(self, request: Request) -> Answer:
        """See ``Asking``."""
        return Answer(self, request)

    async def offers(self, *, patiently: bool = False) -> tuple[list[Offer], list[Rejection]]:
        """Asks every known provider at once for its present offer.

        Args:
            patiently: Waits for silent providers although others have made offers.

        Returns:
            The offers, and why there is none from the others.
        """
        if self._found is not None and not self._addresses:
            with trio.move_on_after(self.settings.discovery_wait_s):
                await self._found_one.wait()
        return await self._asker.offers(dict(self._addresses), patiently=patiently)

    async def close(self) -> None:
        """Ends every session cleanly, so that no voucher on its way is lost."""
        self._is_closed = True
        with trio.move_on_after(CLOSE_S):
            for link in self._links.values():
                link.listening.cancel()
            for link in self._links.values():
                await link.over.wait()

    # --- what an Answer needs

    async def matches(self, preferences: Preferences) -> tuple[list[Match], list[Rejection]]:
        """Providers for a request, best first, and why the others will not do."""
        offers, silent = await self.offers()
        matches, unfit = select(offers, preferences, now_ms=self.now_ms())
        if silent and not matches:
            # Better a slow provider than none.
            offers, silent = await self.offers(patiently=True)
            matches, unfit = select(offers, preferences, now_ms=self.now_ms())
        return matches, silent + unfit

    async def account(self, provider: bytes) -> Account:
        """Our channel with a provider, attached to a live session.

        Raises:
            UserError: There is no funded channel.
            Refused: The provider will not have it.
            PeerError: The provider broke the protocol.
            Unavailable: The provider, the chain or the journal does not answer.
        """
        async with self._linking.setdefault(provider, trio.Lock()):
            link = self._links.get(provider)
            if link is None or link.over.is_set():
                if link is not None:
                    # Or the new session's jobs would be given up together with the old one's.
                    await link.put_away.wait()
                link = await self._connect(provider)
                self._links[provider] = link
            return link.account

    async def refresh(self, account: Account) -> None:
        """Takes note of money that was added to a channel since we attached to it.

        Raises:
            Unavailable: The chain does not answer.
        """
        view = await self._escrow.channel(
            account.state.channel_id, confirmations=self.settings.confirmations
        )
        # Never less: what is locked shrinks only when we leave, and then no session lives.
        if view.locked > account.state.locked:
            account.funded(view.locked)

    async def settle_open_jobs(self) -> list[Rejection]:
        """Attaches to every provider we know at once, so that receipts left open are paid.

        One that is silent keeps nobody else from being paid.

        Returns:
            Why, for each provider that could not be reached; what it is owed stays owed.
        """
        rejections: list[Rejection] = []

        async def settle(provider: bytes) -> None:
            try:
                await self.account(provider)
            except RowenError as error:
                rejections.append(Rejection(provider, str(error)))

        async with trio.open_nursery() as nursery:
            for provider in list(self._addresses):
                nursery.start_soon(settle, provider)
        return rejections

    # --- sessions

    async def look(self) -> None:
        """Learns the addresses of providers that are found, until none is found any more."""
        if self._found is None:
            return
        async for address in self._found:
            try:
                provider = provider_of(address)
            except UserError:
                # A stranger's hint; another kind of key cannot be a provider of ours.
                continue
            if len(self._addresses) < PROVIDERS_MAX:
                self._addresses.setdefault(provider, address)
                self._found_one.set()

    async def _offer(self, provider: bytes, address: str) -> Offer:
        link = self._links.get(provider)
        if link and not link.over.is_set() and link.offer.expires_at_ms > self.now_ms():
            return link.offer
        async with greet(self._network, address, self._domain, self.now_ms, self._patience) as (
            _,
            offer,
        ):
            return offer

    async def _connect(self, provider: bytes) -> _Link:
        if self._is_closed:
            raise Unavailable("the client is closed")
        account = await self._open_account(provider)
        outcome: list[_Link | Exception] = []
        ready = trio.Event()
        self._nursery.start_soon(self._hold, provider, account, outcome, ready)
        await ready.wait()
        found = outcome[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def _hold(
        self,
        provider: bytes,
        account: Account,
        outcome: list[_Link | Exception],
        ready: trio.Event,
    ) -> None:
        """Keeps one session until it breaks; reports once when it is attached."""
        link: _Link | None = None
        why: Exception = Unavailable("the client is closing")
        try:
            async with greet(
                self._network,
                self._addresses[provider],
                self._domain,
                self.now_ms,
                self._patience,
            ) as (session, offer):
                await attach(session, account, self.settings.attach_wait_s)
                with trio.CancelScope() as listening:
                    link = _Link(offer, account, listening)
                    outcome.append(link)
                    ready.set()
                    await listen(session, account)
        except (RowenError, trio.TooSlowError) as error:
            why = error if isinstance(error, RowenError) else Unavailable("it did not answer")
            log.info("session with provider ended", provider=format_address(provider), why=str(why))
        finally:
            with trio.CancelScope(shield=True):
                if link is not None:
                    link.over.set()
                await account.lost(why)
                if link is not None:
                    link.put_away.set()
            if not outcome:
                outcome.append(why)
            ready.set()

    async def _open_account(self, provider: bytes) -> Account:
        key = ChannelKey(self.settings.payer, provider, self._key.address)
        view = await self._escrow.channel(key.id, confirmations=0)
        account = self._accounts.get(key.id)
        if account is not None:
            account.funded(view.locked)
            return account
        kept = {each.channel_id for each in await self._journal.openings("buyer")}
        if view.locked == 0 and key.id not in kept:
            raise UserError(
                f"no channel with provider {format_address(provider)}: open one with "
                f"`rowen channel open {format_address(provider)} AMOUNT`"
            )
        opened = ChannelOpened(
            channel_id=key.id,
            role="buyer",
            chain_id=self._domain.chain_id,
            escrow=self._domain.escrow,
            payer=key.payer,
            provider=provider,
            signer=key.signer,
        )
        await self._journal.append(opened)
        replayed = await replay(self._journal, opened, view.locked)
        if view.claimed > replayed.state.log.total:
            address = format_address(provider)
            raise UserError(
                f"provider {address} claimed {view.claimed} token units on chain, the newest "
                f"voucher in this journal is for {replayed.state.log.total}: it was restored from "
                "an old copy. Put the newest one back, or ask for what is left with "
                f"`rowen channel close {address}` and buy from another home"
            )
        account = Account(
            replayed.state,
            journal=self._journal,
            key=self._key,
            voucher=replayed.voucher,
            settled_count=replayed.settled_count,
        )
        self._accounts[key.id] = account
        return account


@asynccontextmanager
async def open_client(
    *,
    key: Key,
    network: Network,
    escrow: Escrow,
    journal: Journal,
    settings: ClientSettings,
    now_ms: Callable[[], int] = _wall_clock_ms,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
    patience: Patience | None = None,
    found: AsyncIterable[str] | None = None,
) -> AsyncIterator[Client]:
    """A client whose sessions live as long as the block.

    Args:
        key: Session key: it signs orders and vouchers, and is the client's libp2p identity.
        network: Of the same key.
        escrow: The deployment to pay through.
        journal: Where orders, receipts and vouchers are kept.
        settings: How to buy.
        now_ms: Wall clock.
        entropy: Random bytes.
        patience: Of the sessions.
        found: Addresses of more providers, as they are discovered.
    """
    async with trio.open_nursery() as nursery:
        client = Client(
            key=key,
            network=network,
            escrow=escrow,
            journal=journal,
            settings=settings,
            nursery=nursery,
            now_ms=now_ms,
            entropy=entropy,
            patience=patience,
            found=found,
        )
        nursery.start_soon(client.look)
        try:
            yield client
        finally:
            await client.close()
            nursery.cancel_scope.cancel()
