"""One client's session: it attaches to a channel, submits jobs, pays, and leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import chain, repeat
from typing import Protocol

import trio

from rowen.engine.base import Engine, Finished, Piece
from rowen.p2p.session import Session
from rowen.protocol import admission, messages
from rowen.protocol import seller_events as on
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import PeerError, Reason, Refused, Unavailable, UserError
from rowen.protocol.ids import address_of_peer_id
from rowen.protocol.jobs import JobInput, kind_of
from rowen.protocol.messages import open_signed
from rowen.protocol.seller_channel import Job, SellerChannel
from rowen.protocol.statements import Order
from rowen.provider.account import Account, JobControl
from rowen.provider.books import Books
from rowen.provider.metering import Meters
from rowen.provider.seats import Seat
from rowen.provider.settings import ProviderSettings
from rowen.provider.stock import Place, Shelf, Stock
from rowen.provider.tally import Tally
from rowen.store.base import Journal

BUSY_RETRY_MS = 2_000
ATTACH_PAUSES_S = (1.0, 2.0, 4.0, 5.0)
"""Between the questions of a client whose deposit is not confirmed yet; then always the last."""
EMPTY_VIEW_S_MAX = 2.0
"""Oldest view on which an order is refused for want of funds."""
DETAIL_MAX = 512


class Shop(Protocol):
    """What a conversation needs of the node it is held at."""

    books: Books
    journal: Journal
    settings: ProviderSettings
    stock: Stock
    tally: Tally
    meters: Meters
    now_ms: Callable[[], int]

    @property
    def terms(self) -> admission.Terms:
        """What orders are judged by at this moment."""
        ...

    def greeting(self) -> messages.Hello:
        """The present offer, signed."""
        ...


class Conversation:
    """Serves one session until the client leaves or breaks the protocol."""

    def __init__(self, session: Session, shop: Shop, seat: Seat) -> None:
        self._session = session
        self._seat = seat
        self._shop = shop
        self._signer = address_of_peer_id(session.peer_id)
        self._pending = 0

    async def run(self) -> None:
        """Runs to the end of the session.

        Raises:
            PeerError: The client broke the protocol.
            Unavailable: The session or the journal failed.
        """
        await self._session.send(messages.encode(self._shop.greeting()))
        found = None
        with trio.move_on_after(self._shop.settings.deposit_wait_s):
            found = await self._find_account()
        if found is None:
            return
        account, attach = found
        self._seat.is_paying = True
        await account.displace()
        with trio.CancelScope() as scope:
            account.lead(scope)
            try:
                await self._serve_account(account, attach)
            finally:
                await account.leave()

    async def _find_account(self) -> tuple[Account, messages.Attach] | None:
        """Waits for a channel with money; a client whose deposit is not confirmed asks again."""
        attach_wait_s = self._shop.settings.attach_wait_s
        for pause_s in chain(ATTACH_PAUSES_S, repeat(ATTACH_PAUSES_S[-1])):
            said = None
            with trio.move_on_after(attach_wait_s):
                said = await self._next()
            if said is None:
                return None
            if not isinstance(said, messages.Attach):
                raise PeerError(f"expected attach, got {type(said).__name__}")
            try:
                return await self._account_for(said), said
            except Refused as no:
                # Each answer may cost a question to the chain, so a stranger gets few.
                if no.retry_ms is not None:
                    no.retry_ms = max(no.retry_ms, round(pause_s * 1000))
                await self._refuse(None, no)
                await trio.sleep(pause_s)
        raise AssertionError("the pauses go on for ever")

    async def _serve_account(self, account: Account, attach: messages.Attach) -> None:
        try:
            await account.attach(self._session, attach)
        except PeerError as error:
            # Its voucher and our log disagree. Selling on would only lose more.
            await account.stop(str(error))
            await self._refuse(None, Refused(Reason.CHANNEL_STOPPED, str(error)))
            return
        async with trio.open_nursery() as nursery:
            await self._listen(account, nursery)
            nursery.cancel_scope.cancel()

    async def _account_for(self, attach: messages.Attach) -> Account:
        domain = self._shop.books.domain
        if (attach.chain_id, attach.escrow) != (domain.chain_id, domain.escrow):
            raise Refused(
                Reason.CHANNEL_UNKNOWN,
                f"this provider settles on chain {domain.chain_id}, escrow "
                f"0x{domain.escrow.hex()}; you came from chain {attach.chain_id}, escrow "
                f"0x{attach.escrow.hex()}",
            )
        return await self._shop.books.account(attach.payer, self._signer)

    async def _listen(self, account: Account, nursery: trio.Nursery) -> None:
        while True:
            said = await self._next()
            if said is None:
                return
            if isinstance(said, messages.Submit):
                await self._take(account, said, nursery)
            elif isinstance(said, messages.Pay):
                await account.pay(said.voucher)
            elif isinstance(said, messages.Cancel):
                await account.apply(on.ClientCancelled(said.job))
            elif isinstance(said, messages.Disputed):
                await account.apply(on.ClientDisputed(said.sequence, said.detail))
            else:
                raise PeerError("attached twice")

    async def _next(self) -> messages.FromClient | None:
        raw = await self._session.receive()
        return None if raw is None else messages.decode_from_client(raw)

    # --- jobs

    async def _take(self, account: Account, submit: messages.Submit, nursery: trio.Nursery) -> None:
        opened = open_signed(submit.order, Order, self._shop.books.domain)
        order = opened.statement
        try:
            hashed = admission.input_hash(submit.salt, submit.input)
            admission.check_order(account.state, order, opened.signer, hashed)
            if self._pending >= self._shop.settings.jobs_max:
                raise Refused(Reason.BUSY, f"{self._pending} jobs are open here", BUSY_RETRY_MS)
        except Refused as no:
            await self._refuse(order.job_id, no)
            return
        self._pending += 1
        nursery.start_soon(self._serve, account, submit, order)

    async def _serve(self, account: Account, submit: messages.Submit, order: Order) -> None:
        try:
            shelf = self._shop.stock.shelf(order.variant)
            await self._worth_reading(account, submit, order)
            async with shelf.place(order.job_id, order.channel_id, len(submit.input)) as place:
                job_input = _read_input(submit.input)
                admission.check_kind(shelf.variant, kind_of(job_input))
                control = await self._admit(account, submit, order, shelf, job_input)
                await self._run(account, order, shelf.engine, job_input, control, place)
        except Refused as no:
            # Nothing is refused any more once a job was accepted.
            await self._refuse(order.job_id, no)
        finally:
            self._pending -= 1

    async def _admit(
        self,
        account: Account,
        submit: messages.Submit,
        order: Order,
        shelf: Shelf,
        job_input: JobInput,
    ) -> JobControl:
        shop = self._shop
        try:
            input_units = await shelf.engine.count_input(job_input, tenant=order.channel_id)
        except UserError as error:
            raise Refused(Reason.INPUT_INVALID, str(error)[:DETAIL_MAX]) from error
        except Unavailable as error:
            retry_ms = shop.settings.caps.engine_retry_ms
            raise Refused(Reason.ENGINE_DOWN, "the engine does not answer", retry_ms) from error
        # Waiting for a place may have taken a while, and the chain may have moved.
        view = await shop.books.view(account.state.channel_id)

        def admit(state: SellerChannel) -> Job:
            shelf.check_open()
            shop.books.check_total(state.channel_id)
            return admission.admit(
                state,
                order,
                terms=shop.terms,
                view=view,
                kind=kind_of(job_input),
                input_units=input_units,
                now_ms=shop.now_ms(),
            )

        return await account.accept(submit, admit)

    async def _worth_reading(
        self, account: Account, submit: messages.Submit, order: Order
    ) -> ChannelView:
        """The view of the channel on which the order may be taken, as far as is known."""
        shop = self._shop

        def check(view: ChannelView) -> ChannelView:
            admission.check_worth_reading(
                account.state,
                order,
                terms=shop.terms,
                view=view,
                input_bytes=len(submit.input),
                now_ms=shop.now_ms(),
            )
            return view

        channel_id = account.state.channel_id
        try:
            return check(await shop.books.view(channel_id))
        except Refused as no:
            if no.reason not in (Reason.CHANNEL_EMPTY, Reason.CHANNEL_UNKNOWN):
                raise
            # It may have been topped up since we looked.
            return check(await shop.books.view(channel_id, age_s_max=EMPTY_VIEW_S_MAX))

    async def _run(
        self,
        account: Account,
        order: Order,
        engine: Engine,
        job_input: JobInput,
        control: JobControl,
        place: Place,
    ) -> None:
        job_id = order.job_id
        input_units = account.state.jobs[job_id].reading.input_units
        place.preempt = partial(account.apply, on.OwnerReturned(job_id))
        if place.is_preempted:
            await place.preempt()
        left_s = (order.deadline_ms - self._shop.now_ms()) / 1000
        with control.scope, self._shop.meters.job(job_id, input_units, place.gpus):
            with trio.move_on_after(max(0.0, left_s)) as deadline:
                try:
                    async with engine.generate(
                        job_input, control.output_units_max, tenant=order.channel_id
                    ) as pieces:
                        await self._pump(account, job_id, control, pieces)
                except (Unavailable, UserError) as error:
                    await account.apply(on.EngineFailed(job_id, str(error)[:DETAIL_MAX]))
            if deadline.cancelled_caught:
                await account.apply(on.DeadlinePassed(job_id))

    async def _pump(
        self,
        account: Account,
        job_id: bytes,
        control: JobControl,
        pieces: AsyncIterator[Piece | Finished],
    ) -> None:
        coalesce_s = self._shop.settings.coalesce_s
        async for piece in pieces:
            if isinstance(piece, Finished):
                await self._shop.meters.refresh()
                await account.apply(on.EngineFinished(job_id, piece.finish, piece.cached_units))
                return
            # An item's work is reading it: a vector's numbers all come from one look.
            self._shop.meters.worked(job_id, piece.input_units or piece.units)
            await account.apply(on.EngineSaid(job_id, piece.text, piece.units, piece.input_units))
            with trio.move_on_after(self._shop.settings.voucher_wait_s) as patience:
                await control.ready()
            if patience.cancelled_caught:
                await account.apply(on.ClientLost(job_id))
                return
            # The engine's tokens gather while we wait: fewer, larger writes.
            await trio.sleep(coalesce_s)
        raise Unavailable("the engine stopped without saying that it was done")

    async def _refuse(self, job: bytes | None, no: Refused) -> None:
        self._shop.tally.refused(no.reason)
        said = messages.No(job, no.reason.value, no.detail[:DETAIL_MAX], no.retry_ms)
        await self._session.send(messages.encode(said))


def _read_input(raw: bytes) -> JobInput:
    try:
        return messages.decode_input(raw)
    except PeerError as error:
        raise Refused(Reason.INPUT_INVALID, str(error)[:DETAIL_MAX]) from error
