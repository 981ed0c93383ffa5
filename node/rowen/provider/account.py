"""One channel at its provider: the seller's state, the journal behind it, the session before it.

Everything that changes the state goes through ``apply``, one event at a time: compute, write
to the journal, then send. If the journal fails, the account is halted for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from rowen.p2p.session import Session
from rowen.protocol import messages, seller
from rowen.protocol import seller_events as on
from rowen.protocol.errors import Unavailable
from rowen.protocol.messages import Signed
from rowen.protocol.seller_billing import NOT_METERED, Meter, Spent
from rowen.protocol.seller_channel import Job, JobState, SellerChannel
from rowen.protocol.signing import Key
from rowen.protocol.statements import Receipt, Voucher
from rowen.provider.tally import Tally
from rowen.store.base import Entry, Journal, OrderKept, ReceiptKept
from rowen.store.keeping import Keeper

LEAVE_S = 10.0
PART_CHARS = 128 * 1024
"""Of a text sent again in one message: in UTF-8 half a frame at most."""


def _order_kept(state: SellerChannel, job: Job, submit: messages.Submit) -> OrderKept:
    return OrderKept(
        channel_id=state.channel_id,
        job_id=job.order.job_id,
        order=submit.order,
        salt=submit.salt,
        input=submit.input,
        input_units=job.reading.input_units,
        output_units_max=job.output_units_max,
        started_at_ms=job.started_at_ms,
    )


class JobControl:
    """What the account may tell the task that runs a job.

    Attributes:
        scope: Cancelling it stops the engine.
        output_units_max: What engine, order and money allow together.
    """

    def __init__(self, output_units_max: int) -> None:
        self.output_units_max = output_units_max
        self.scope = trio.CancelScope()
        self._may_run = trio.Event()
        self._may_run.set()

    def pause(self) -> None:
        """Makes ``ready`` wait."""
        self._may_run = trio.Event()

    def resume(self) -> None:
        """Lets ``ready`` return."""
        self._may_run.set()

    async def ready(self) -> None:
        """Returns when the engine may go on."""
        await self._may_run.wait()


class Account:
    """A channel this node sells on.

    Attributes:
        state: The seller's view.
        voucher: The newest voucher it holds.
    """

    def __init__(
        self,
        state: SellerChannel,
        *,
        journal: Journal,
        key: Key,
        now_ms: Callable[[], int],
        tally: Tally,
        voucher: Signed | None = None,
        settled_count: int = 0,
        spent: Callable[[bytes], Spent] = lambda _job: NOT_METERED,
    ) -> None:
        self.state = state
        self.voucher = voucher
        self._journal = journal
        self._keeper = Keeper(journal, state.channel_id, settled_count)
        self._key = key
        self._now_ms = now_ms
        self._tally = tally
        self._spent = spent
        self._lock = trio.Lock()
        self._session: Session | None = None
        self._scope: trio.CancelScope | None = None
        self._left = trio.Event()
        self._controls: dict[bytes, JobControl] = {}
        self._is_accepting = False
        # What a former life left unpaid may still be paid.
        self._worked_at_ms = now_ms()

    @property
    def is_attached(self) -> bool:
        """Whether a client is connected."""
        return self._session is not None

    async def displace(self) -> None:
        """Ends the session the channel has now, if any, and waits until it is billed.

        A client that reconnects may be back before its old connection is known to be dead.
        """
        while self._scope is not None:
            self._scope.cancel()
            await self._left.wait()

    @property
    def open_jobs(self) -> int:
        """Jobs that run now."""
        return len(self._controls)

    def risk(self, *, since_ms: int) -> int:
        """What this client may yet leave unpaid, token units.

        The whole credit line while it has jobs; then what it owes, unless its last work was
        before ``since_ms``: such a debt is bad and counts as lost.
        """
        if self._controls or self._is_accepting:
            return self.state.credit
        return self.state.exposure() if self._worked_at_ms >= since_ms else 0

    # --- sessions

    async def attach(self, session: Session, attach: messages.Attach) -> None:
        """Makes this session the channel's, and sends what it has not been paid for yet.

        The caller has checked that the session's peer is the channel's signer, and has
        reserved the channel with ``lead``.

        Raises:
            PeerError: The voucher contradicts the log.
            Unavailable: The journal or the session failed.
        """
        async with self._lock:
            self._keeper.check()
            await self._end_jobs()
            if attach.voucher is not None and attach.voucher != self.voucher:
                await self._take_voucher(attach.voucher)
            self._session = session
            greeting = messages.Attached(self.state.issued.count, self.voucher)
            await session.send(messages.encode(greeting))
            await self._send_unpaid(session)

    def lead(self, scope: trio.CancelScope) -> None:
        """Reserves the channel for one session, after ``displace`` and without a checkpoint.

        The session calls ``leave`` whatever happens; ``scope`` is cancelled when a newer one
        wants the channel.
        """
        assert self._scope is None
        self._scope = scope
        self._left = trio.Event()

    async def leave(self) -> None:
        """Ends the open jobs of a client that left; what they delivered is billed."""
        self._session = None
        try:
            with trio.move_on_after(LEAVE_S) as scope:
                scope.shield = True
                async with self._lock:
                    await self._end_jobs()
        finally:
            self._scope = None
            self._left.set()

    async def _end_jobs(self) -> None:
        # What a slow disk kept from ending when the client left ends when it is back.
        for job_id, job in self.state.jobs.items():
            if job.state is not JobState.BILLED:
                await self._apply(on.ClientLost(job_id))

    async def _send_unpaid(self, session: Session) -> None:
        """Sends chunks and bill of every receipt no voucher covers, oldest first."""
        numbers = range(self.state.paid.count, self.state.issued.count)
        # What lies before a job's unpaid segments was paid for and is the client's already.
        starts = {job_id: job.output_bytes for job_id, job in self.state.jobs.items()}
        for number in numbers:
            receipt = await self._kept(number)
            starts[receipt.job_id] -= len(receipt.text.encode())
        # One at a time: together they may be more than a stranger should make us hold.
        for number in numbers:
            receipt = await self._kept(number)
            at = starts[receipt.job_id]
            units = Receipt.decode(receipt.receipt.words).output_units
            frames = []
            # A segment may be longer than a frame; its reading is told with each part.
            for first in range(0, max(1, len(receipt.text)), PART_CHARS):
                text = receipt.text[first : first + PART_CHARS]
                frames.append(messages.encode(messages.Chunk(receipt.job_id, at, units, text)))
                at += len(text.encode())
            bill = messages.Bill(receipt.receipt, receipt.job_id, receipt.finish, receipt.detail)
            await session.send(*frames, messages.encode(bill))
            starts[receipt.job_id] = at

    async def _kept(self, number: int) -> ReceiptKept:
        kept = await self._journal.receipt(self.state.channel_id, number)
        assert kept is not None, "a receipt is journaled before it is in the log"
        return kept

    # --- jobs

    async def accept(
        self, submit: messages.Submit, admit: Callable[[SellerChannel], Job]
    ) -> JobControl:
        """Admits an order, journals it, then tells the client.

        Args:
            submit: As it arrived.
            admit: Decides on the state of this moment; see ``admission.admit``.

        Raises:
            Refused: By ``admit``, or the job id was seen before.
            Unavailable: The journal failed; the job does not run.
        """
        async with self._lock:
            self._keeper.check()
            with self._reserved():
                job = admit(self.state)
                job_id = job.order.job_id
                await self._keeper.keep(_order_kept(self.state, job, submit))
                self.state = seller.start(self.state, job)
                control = self._controls[job_id] = JobControl(job.output_units_max)
            await self._send(messages.Accepted(job_id, job.reading.input_units))
        return control

    async def apply(self, event: on.Event) -> None:
        """Applies one event and does what follows from it.

        Raises:
            PeerError: The client broke the protocol; nothing changed.
            Unavailable: The journal failed.
        """
        async with self._lock:
            await self._apply(event)

    async def pay(self, voucher: Signed) -> None:
        """Takes a voucher that arrived.

        Raises:
            PeerError: It is not what this channel owes.
            Unavailable: The journal failed.
        """
        async with self._lock:
            await self._take_voucher(voucher)

    async def stop(self, why: str) -> None:
        """Takes no more jobs on this channel, ever."""
        async with self._lock:
            await self._keeper.keep(self._keeper.stopped(why))
            self.state = seller.stop(self.state, why)

    @contextmanager
    def _reserved(self) -> Iterator[None]:
        """Counts the credit line as risked while an order is on its way to the disk."""
        self._is_accepting = True
        try:
            yield
        finally:
            self._is_accepting = False

    # --- inside the lock

    async def _take_voucher(self, signed: Signed) -> None:
        opened = messages.open_signed(signed, Voucher, self.state.domain)
        before = self.state.paid.count
        await self._apply(on.ClientPaid(opened.statement, opened.signer), signed)
        if self.state.paid.count > before:
            self.voucher = signed

    async def _apply(self, event: on.Event, signed_voucher: Signed | None = None) -> None:
        self._keeper.check()
        meter = Meter(
            now_ms=self._now_ms(), job_to_spent={job: self._spent(job) for job in self._controls}
        )
        state, effects = seller.step(self.state, event, meter)
        entries: list[Entry] = []
        said: list[messages.FromProvider] = []
        for effect in effects:
            self._prepare(effect, signed_voucher, entries, said)
        if isinstance(event, on.ClientDisputed) and state.stopped != self.state.stopped:
            entries.append(self._keeper.stopped(state.stopped))
        if entries and signed_voucher and state.is_settled():
            entries += self._keeper.settled(state.paid, signed_voucher)
        await self._keeper.keep(*entries)
        self.state = state
        self._control(effects)
        if said:
            await self._send(*said)

    def _prepare(
        self,
        effect: on.Effect,
        signed_voucher: Signed | None,
        entries: list[Entry],
        said: list[messages.FromProvider],
    ) -> None:
        """Turns an effect into what to journal and what to say; nothing is done yet."""
        if isinstance(effect, on.Deliver):
            self._worked_at_ms = self._now_ms()
            self._keeper.delivered(effect.job, effect.text)
            said.append(messages.Chunk(effect.job, effect.at, effect.units, effect.text))
        elif isinstance(effect, on.Bill):
            receipt = Signed(effect.receipt.encode(), self._key.sign(effect.digest))
            finish = effect.finish.value if effect.finish else ""
            entries.append(
                self._keeper.receipt(effect.job, effect.receipt, receipt, finish, effect.detail)
            )
            said.append(messages.Bill(receipt, effect.job, finish, effect.detail))
        elif isinstance(effect, on.KeepVoucher) and signed_voucher is not None:
            entries.append(self._keeper.voucher(effect.voucher, signed_voucher))

    def _control(self, effects: list[on.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, on.Pause):
                self._controls[effect.job].pause()
            elif isinstance(effect, on.Resume):
                self._controls[effect.job].resume()
            elif isinstance(effect, on.StopEngine) and effect.job in self._controls:
                # A job restored from the journal has no engine to stop.
                self._controls[effect.job].scope.cancel()
            elif isinstance(effect, on.Bill) and effect.finish is not None:
                self._controls.pop(effect.job, None)
                self._tally.ended(effect.receipt, effect.finish)

    async def _send(self, *said: messages.FromProvider) -> None:
        if self._session is None:
            return
        try:
            # A message that is half lost to a cancelled task would leave a gap; the session
            # itself bounds how long this takes.
            with trio.CancelScope(shield=True):
                await self._session.send(*map(messages.encode, said))
        except Unavailable:
            # The reader of this session notices too and detaches; what was said is journaled
            # and goes out again when the client returns.
            return
