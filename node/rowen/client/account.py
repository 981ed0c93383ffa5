"""One channel at its client: the buyer's state, the journal behind it, the session before it.

Everything that changes the state goes through here one event at a time: compute, write to
the journal, then send. A receipt is journaled together with the voucher that pays it.
"""

from __future__ import annotations

import trio
from msgspec.structs import replace

from rowen.client.inbox import Billed, Failed, Inbox, Over, Started, Text
from rowen.p2p.session import Session
from rowen.protocol import buyer, messages
from rowen.protocol import buyer_events as on
from rowen.protocol.buyer_channel import BuyerChannel
from rowen.protocol.errors import PeerError, Reason, Refused, Unavailable
from rowen.protocol.jobs import Finish, JobInput
from rowen.protocol.messages import Signed, open_signed, seal
from rowen.protocol.signing import Key
from rowen.protocol.statements import Order, Receipt
from rowen.protocol.units import allowance_of
from rowen.store.base import DisputeKept, Entry, JobDropped, Journal, OrderKept
from rowen.store.keeping import Keeper

NO_SESSION = "no session with the provider"


class Account:
    """A channel this node buys on.

    Attributes:
        state: The buyer's view.
        voucher: The newest voucher it signed.
    """

    def __init__(
        self,
        state: BuyerChannel,
        *,
        journal: Journal,
        key: Key,
        voucher: Signed | None = None,
        settled_count: int = 0,
    ) -> None:
        self.state = state
        self.voucher = voucher
        self._keeper = Keeper(journal, state.channel_id, settled_count)
        self._key = key
        self._lock = trio.Lock()
        self._session: Session | None = None
        self._inboxes: dict[bytes, Inbox] = {}

    # --- session

    def attach_message(self) -> messages.Attach:
        """How this side introduces the channel."""
        domain = self.state.domain
        return messages.Attach(
            domain.chain_id, domain.escrow, self.state.payer, self.state.log.count, self.voucher
        )

    def attached(self, session: Session, provider: messages.Attached) -> None:
        """Takes the provider's view of the log.

        Raises:
            PeerError: It holds a voucher newer than ours.
        """
        theirs = provider.voucher
        if theirs is not None and theirs != self.voucher:
            raise PeerError(
                "the provider holds a voucher that this journal does not know. If the journal "
                "was restored from an old copy, this channel must not be used any more"
            )
        if provider.receipt_count < self.state.log.count:
            raise PeerError(
                f"the provider's log has {provider.receipt_count} receipts, ours "
                f"{self.state.log.count}: it lost receipts that are paid for"
            )
        self._session = session

    async def lost(self, why: Exception) -> None:
        """The session is over; open jobs wait for the provider, their readers do not."""
        self._session = None
        # Also when the journal failed: nothing is written here, and readers must hear of it.
        async with self._lock:
            for job_id in list(self.state.jobs):
                self.state, _ = buyer.step(self.state, on.ProviderLost(job_id))
            inboxes, self._inboxes = self._inboxes, {}
        for inbox in inboxes.values():
            inbox.put(Failed(why))

    async def caught_up(self) -> None:
        """Every receipt the provider wrote is paid: what is still open, it does not know."""
        for job_id in list(self.state.jobs):
            await self.apply(on.CaughtUp(job_id))

    def funded(self, locked: int) -> None:
        """Takes note of what is locked on chain now."""
        self.state = replace(self.state, locked=locked)

    # --- jobs

    async def order(self, order: Order, salt: bytes, job_input: JobInput, now_ms: int) -> Inbox:
        """Journals an order, then sends it.

        Args:
            order: To sign.
            salt: Of its input hash.
            job_input: What it is for.
            now_ms: Unix time.

        Raises:
            UserError: The channel is stopped or has not enough left.
            Unavailable: The journal or the session failed. The job may or may not run; the next
                attach settles it.
        """
        async with self._lock:
            self._keeper.check()
            if self._session is None:
                # An order that cannot be sent would still hold its part of the deposit.
                raise Unavailable(NO_SESSION)
            allowance = allowance_of(job_input)
            state = buyer.place(self.state, order, allowance)
            encoded = messages.encode_input(job_input)
            signed = seal(order, state.domain, self._key)
            kept = OrderKept(
                channel_id=state.channel_id,
                job_id=order.job_id,
                order=signed,
                salt=salt,
                input=encoded,
                input_units_max=allowance.input_units_max[-1],
                started_at_ms=now_ms,
            )
            await self._keeper.keep(kept)
            self.state = state
            inbox = self._inboxes[order.job_id] = Inbox()
            await self._send(messages.Submit(signed, salt, encoded))
        return inbox

    async def cancel(self, job_id: bytes) -> None:
        """Asks the provider to stop; the final receipt still comes."""
        await self.apply(on.UserCancelled(job_id))

    async def deadline_passed(self, job_id: bytes) -> None:
        """Gives a job up because its time is over."""
        await self.apply(on.DeadlinePassed(job_id))

    # --- what the provider says

    async def heard(self, said: messages.FromProvider) -> None:
        """Applies one message.

        Raises:
            PeerError: The provider broke the protocol.
            Unavailable: The journal or the session failed.
        """
        if isinstance(said, messages.Chunk):
            await self.apply(on.ProviderSent(said.job, said.at, said.units, said.text))
        elif isinstance(said, messages.Bill):
            await self._billed(said)
        elif isinstance(said, messages.Accepted):
            await self.apply(on.ProviderAccepted(said.job, said.input_units))
            if inbox := self._inboxes.get(said.job):
                inbox.put(Started(said.input_units))
        elif isinstance(said, messages.No):
            await self._refused(said)
        else:
            raise PeerError(f"{type(said).__name__} in the middle of a session")

    async def _billed(self, said: messages.Bill) -> None:
        opened = open_signed(said.receipt, Receipt, self.state.domain)
        try:
            finish = Finish(said.finish) if said.finish else None
        except ValueError as error:
            raise PeerError(f"unknown finish {said.finish!r}") from error
        event = on.ProviderBilled(
            said.job, opened.statement, opened.digest, opened.signer, finish, said.detail
        )
        await self.apply(event, said)

    async def _refused(self, said: messages.No) -> None:
        try:
            no = Refused(Reason(said.reason), said.detail, said.retry_ms)
        except ValueError as error:
            raise PeerError(f"unknown reason {said.reason!r}") from error
        if said.job is None:
            raise no
        if said.job not in self.state.jobs:
            return
        await self.apply(on.ProviderRefused(said.job))
        async with self._lock:
            await self._keeper.keep(self._dropped(said.job, str(no)))
        if inbox := self._inboxes.pop(said.job, None):
            inbox.put(Failed(no, is_settled=True))

    # --- inside the lock

    async def apply(self, event: on.Event, bill: messages.Bill | None = None) -> None:
        """Applies one event and does what follows from it.

        Raises:
            PeerError: The provider broke the protocol; nothing changed.
            Unavailable: The journal or the session failed.
        """
        async with self._lock:
            self._keeper.check()
            state, effects = buyer.step(self.state, event)
            entries: list[Entry] = []
            said: list[messages.FromClient] = []
            voucher = self.voucher
            for effect in effects:
                if isinstance(effect, on.Deliver):
                    self._keeper.delivered(effect.job, effect.text)
                elif isinstance(effect, on.Pay) and bill is not None:
                    voucher = seal(effect.voucher, state.domain, self._key)
                    entries += self._paid(effect, bill, voucher)
                    if state.is_settled():
                        entries += self._keeper.settled(state.log, voucher)
                    said.append(messages.Pay(voucher))
                elif isinstance(effect, on.SendCancel):
                    said.append(messages.Cancel(effect.job))
                elif isinstance(effect, on.Dispute) and bill is not None:
                    entries += self._disputed(effect, bill, state.stopped)
                    said.append(messages.Disputed(effect.receipt.sequence, effect.detail))
                elif isinstance(effect, on.Ended) and effect.receipt is None:
                    entries.append(self._dropped(effect.job, effect.detail))
            await self._keeper.keep(*entries)
            self.state, self.voucher = state, voucher
            try:
                await self._send(*said)
            finally:
                # After the voucher is on its way: who sees the end may close the client.
                self._tell(effects, bill)

    def _tell(self, effects: list[on.Effect], bill: messages.Bill | None) -> None:
        """Hands the effects to whoever reads the answers."""
        for effect in effects:
            inbox = self._inboxes.get(effect.job)
            if inbox is None:
                continue
            if isinstance(effect, on.Deliver):
                inbox.put(Text(effect.text, effect.units))
            elif isinstance(effect, on.Pay) and bill is not None:
                inbox.put(Billed(effect.receipt, bill.receipt))
            elif isinstance(effect, on.Ended):
                inbox.put(Over(effect.finish, effect.detail))
                del self._inboxes[effect.job]
            elif isinstance(effect, on.Dispute):
                disputed = PeerError(
                    f"receipt disputed: {effect.detail}; it is kept, and `rowen audit report` says"
                    " what it costs the provider"
                )
                inbox.put(Failed(disputed, is_settled=True))

    def _paid(self, effect: on.Pay, bill: messages.Bill, voucher: Signed) -> list[Entry]:
        keeper = self._keeper
        return [
            keeper.receipt(effect.job, effect.receipt, bill.receipt, bill.finish, bill.detail),
            keeper.voucher(effect.voucher, voucher),
        ]

    def _disputed(self, effect: on.Dispute, bill: messages.Bill, why: str) -> list[Entry]:
        return [
            DisputeKept(
                channel_id=self.state.channel_id,
                sequence=effect.receipt.sequence,
                receipt=bill.receipt,
                detail=effect.detail,
            ),
            self._keeper.stopped(why),
        ]

    def _dropped(self, job_id: bytes, detail: str) -> JobDropped:
        return JobDropped(channel_id=self.state.channel_id, job_id=job_id, detail=detail)

    async def _send(self, *said: messages.FromClient) -> None:
        if not said:
            return
        if self._session is None:
            raise Unavailable(NO_SESSION)
        # A message that is half lost to a cancelled task would leave a gap; the session itself
        # bounds how long this takes.
        with trio.CancelScope(shield=True):
            await self._session.send(*map(messages.encode, said))
