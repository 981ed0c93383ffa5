"""A provider: greets clients with its offers, serves their sessions, and claims what they owe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio

from rowen.chain.base import Escrow
from rowen.p2p.network import Network, Stream
from rowen.p2p.rates import TokenBucket
from rowen.p2p.session import Patience, open_session
from rowen.protocol.admission import Terms
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, Reason, Refused, Unavailable
from rowen.protocol.jobs import trial_of
from rowen.protocol.messages import Hello
from rowen.protocol.offers import sign_offer
from rowen.protocol.signing import Key
from rowen.provider.books import Books
from rowen.provider.conversation import Conversation
from rowen.provider.metering import Meters
from rowen.provider.price_list import Plan, PriceList, fixed
from rowen.provider.seats import Seats
from rowen.provider.settings import ProviderSettings
from rowen.provider.stock import Stock, Ware
from rowen.provider.tally import Tally
from rowen.store.base import Contradiction, Journal, JournalFailed
from rowen_scheduler.market import Offer, Variant

log = structlog.get_logger("rowen.provider")


class Provider:
    """One operator key selling what its engines make.

    Attributes:
        books: Its channels.
        journal: Where its money facts are.
        settings: The owner's decisions.
        stock: What it sells, and the places of its engines.
        meters: Of its jobs' energy.
        now_ms: Wall clock, Unix milliseconds.
        tally: What it did since it started.
    """

    def __init__(
        self,
        *,
        key: Key,
        domain: Domain,
        network: Network,
        escrow: Escrow,
        journal: Journal,
        wares: Sequence[Ware],
        settings: ProviderSettings,
        now_ms: Callable[[], int],
        patience: Patience | None = None,
        plan: Plan = fixed,
        meters: Meters | None = None,
    ) -> None:
        self.key = key
        self.journal = journal
        self.settings = settings
        self.now_ms = now_ms
        self.meters = meters or Meters()
        self.stock = Stock(wares, settings.caps)
        self._prices = PriceList(self.stock, plan)
        self.tally = Tally()
        self.books = Books(
            key=key,
            domain=domain,
            escrow=escrow,
            journal=journal,
            settings=settings,
            now_ms=now_ms,
            tally=self.tally,
            spent=self.meters.spent,
        )
        self._domain = domain
        self._network = network
        self._patience = patience
        self._greeting: tuple[int, tuple[Variant, ...], Hello] | None = None
        self._seats = Seats(settings.sessions_max, settings.sessions_per_peer_max)
        self._broken = trio.Event()
        self._broken_by: BaseExceptionGroup[Exception] | None = None

    async def start(self) -> None:
        """Recovers the books, then takes sessions; each runs in a task of the network's.

        Raises:
            ValueError: The journal contradicts itself.
            Unavailable: The journal cannot be read.
        """
        await self.books.recover()
        self._network.set_handler(self._serve)
        log.info(
            "serving",
            peer_id=self._network.peer_id,
            variants=sorted(key.hex() for key in self.stock.shelves),
        )

    async def run(self) -> None:
        """Watches over a started node until cancelled.

        Raises:
            ExceptionGroup: Of ``JournalFailed`` when the disk failed, or of ``AssertionError``
                or ``Contradiction`` when one of our own rules is broken.
        """
        await self._broken.wait()
        assert self._broken_by is not None
        raise self._broken_by

    @property
    def terms(self) -> Terms:
        """What orders are judged by at this moment."""
        return Terms(
            variants=self._prices.least(self.now_ms()),
            jobs_max=self.settings.jobs_max,
            deadline_ms_max=self.settings.deadline_s_max * 1000,
        )

    @property
    def sessions(self) -> int:
        """Clients connected now."""
        return len(self._seats)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where clients find it."""
        return self._network.addresses

    async def probe_engines(self) -> None:
        """Has each engine that is on sale do the least it can.

        Raises:
            Unavailable: One of them does not answer.
        """
        for shelf in self.stock.shelves.values():
            try:
                shelf.check_open()
            except Refused as no:
                if no.reason is Reason.ENGINE_DOWN:
                    raise Unavailable(no.detail) from no
                # Closed on purpose: its owner has the GPU.
                continue
            await shelf.engine.count_input(trial_of(shelf.variant.kinds[0]))

    @property
    def closed(self) -> str:
        """Why nothing is on sale; empty when something is."""
        why = ""
        for shelf in self.stock.shelves.values():
            try:
                shelf.check_open()
            except Refused as no:
                if no.reason is Reason.ENGINE_DOWN:
                    return ""
                why = no.detail
            else:
                return ""
        return why

    def greeting(self) -> Hello:
        """The present offer, signed; a new one when a price changes or half its life is over."""
        now_ms = self.now_ms()
        lifetime_ms = self.settings.offer_lifetime_s * 1000
        variants = self._prices.now(now_ms)
        known = self._greeting
        if known is None or now_ms - known[0] > lifetime_ms // 2 or known[1] != variants:
            offer = Offer(
                provider=self.key.address,
                addresses=self._network.addresses,
                variants=variants,
                credit=self.settings.credit,
                jobs_max=self.settings.jobs_max,
                issued_at_ms=now_ms,
                expires_at_ms=now_ms + lifetime_ms,
            )
            self._prices.signed(variants, offer.expires_at_ms)
            known = (now_ms, variants, sign_offer(offer, self._domain, self.key))
            self._greeting = known
        return known[2]

    async def _serve(self, stream: Stream) -> None:
        seat = self._seats.take(stream.peer_id)
        if seat is None:
            await stream.reset()
            return
        try:
            with seat.scope:
                caps = self.settings.caps
                rate = TokenBucket(caps.messages_per_s, caps.messages_burst)
                async with open_session(stream, self._patience, rate) as session:
                    await Conversation(session, self, seat).run()
        except* (JournalFailed, AssertionError, Contradiction) as group:
            # Without its disk, or with one of its own rules broken, a node must not serve.
            self._broken_by = group
            self._broken.set()
        except* (PeerError, Unavailable) as group:
            # One client's fault or bad line; the others go on.
            log.info("session ended", peer_id=stream.peer_id, why=str(_first(group)))
        finally:
            self._seats.give_back(seat)


def _first(error: BaseException) -> BaseException:
    """What a person wants to know, out of the groups that nurseries wrap."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
