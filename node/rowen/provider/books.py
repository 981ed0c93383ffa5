"""Every channel this node sells on: recovered at start, opened when a funded client comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
import trio
from msgspec.structs import replace

from rowen.chain.base import ChannelKey, Escrow
from rowen.protocol import seller
from rowen.protocol import seller_events as on
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import Reason, Refused, Unavailable
from rowen.protocol.messages import Signed, open_signed
from rowen.protocol.metering import Reading
from rowen.protocol.seller_billing import NOT_METERED, Meter, Spent
from rowen.protocol.seller_channel import Job, JobState, SellerChannel
from rowen.protocol.signing import Key
from rowen.protocol.statements import Order, Receipt, Voucher
from rowen.provider.account import Account
from rowen.provider.settings import ProviderSettings
from rowen.provider.tally import Tally
from rowen.store.base import (
    ChannelOpened,
    ChannelStopped,
    Journal,
    LogSettled,
    OrderKept,
    ReceiptKept,
    VoucherKept,
)

log = structlog.get_logger("rowen.provider")

CHAIN_WAIT_S = 10.0
BAD_DEBT_S = 3600
"""After so long without work a debt counts as lost, and makes room for new clients."""
RETRY_MS = 1_000


@dataclass(frozen=True, slots=True)
class _Seen:
    view: ChannelView
    at_s: float


class Books:
    """The accounts of one provider, and what the chain says of their channels."""

    def __init__(
        self,
        *,
        key: Key,
        domain: Domain,
        escrow: Escrow,
        journal: Journal,
        settings: ProviderSettings,
        now_ms: Callable[[], int],
        tally: Tally,
        spent: Callable[[bytes], Spent] = lambda _job: NOT_METERED,
    ) -> None:
        self._key = key
        self._domain = domain
        self._escrow = escrow
        self._journal = journal
        self._settings = settings
        self._now_ms = now_ms
        self._tally = tally
        self._spent = spent
        self._accounts: dict[bytes, Account] = {}
        # Those that may leave something unpaid. Of the others there may be any number.
        self._risky: dict[bytes, Account] = {}
        self._views: dict[bytes, _Seen] = {}

    @property
    def domain(self) -> Domain:
        """The deployment these channels live on."""
        return self._domain

    @property
    def accounts(self) -> dict[bytes, Account]:
        """Open accounts by channel id."""
        return self._accounts

    def check_total(self, channel_id: bytes) -> None:
        """Whether one more job on this channel keeps within the credit given in total.

        Clients are cheap to make, so a line for each of them bounds nothing by itself.

        Raises:
            Refused: The total is used up.
        """
        others = self.at_risk(but=channel_id)
        self._risky[channel_id] = self._accounts[channel_id]
        if others + self._settings.credit > self._settings.credit_total:
            raise Refused(
                Reason.BUSY,
                f"other clients may leave {others} unpaid, one more line is "
                f"{self._settings.credit}, in total {self._settings.credit_total} is given",
                RETRY_MS,
            )

    def at_risk(self, *, but: bytes = b"") -> int:
        """What all clients together may yet leave unpaid, token units; see ``Account.risk``.

        Args:
            but: Channel that is not counted.
        """
        since_ms = self._now_ms() - BAD_DEBT_S * 1000
        key_to_risk = {key: one.risk(since_ms=since_ms) for key, one in self._risky.items()}
        # It comes back with its next job.
        self._risky = {key: self._risky[key] for key, risk in key_to_risk.items() if risk}
        return sum(risk for key, risk in key_to_risk.items() if key != but)

    async def recover(self) -> None:
        """Rebuilds every account from the journal, and ends the jobs a crash cut off.

        Raises:
            ValueError: The journal contradicts itself.
            Unavailable: The journal cannot be read.
        """
        for opened in await self._journal.openings("seller"):
            if Domain(opened.chain_id, opened.escrow) != self._domain:
                # Another deployment's channel; its vouchers are claimed there.
                continue
            account = await self._replay(opened)
            self._accounts[opened.channel_id] = account
            for job_id, job in account.state.jobs.items():
                if job.state is not JobState.BILLED:
                    await account.apply(on.EngineFailed(job_id, "the provider restarted"))
            if account.state.unpaid:
                self._risky[opened.channel_id] = account

    async def account(self, payer: bytes, signer: bytes) -> Account:
        """The account of a funded channel.

        Raises:
            Refused: No confirmed funds, the chain cannot be asked, or the books are an old copy.
        """
        key = ChannelKey(payer, self._key.address, signer)
        account = self._accounts.get(key.id)
        if account is not None:
            await self._require_newest(account)
            return account
        # Nothing is remembered of a channel without money: strangers cost no memory.
        view = await self.view(key.id)
        if view.locked == 0:
            raise Refused(
                Reason.CHANNEL_UNKNOWN,
                f"no funds with {self._settings.confirmations} confirmations for payer "
                f"0x{payer.hex()} and session key 0x{signer.hex()}",
                RETRY_MS,
            )
        opened = ChannelOpened(
            channel_id=key.id,
            role="seller",
            chain_id=self._domain.chain_id,
            escrow=self._domain.escrow,
            payer=payer,
            provider=self._key.address,
            signer=signer,
        )
        await self._journal.append(opened)
        # Another session of the same client may have come first while we waited.
        account = self._accounts.setdefault(key.id, self._account_of(self._fresh(opened)))
        await self._require_newest(account)
        return account

    async def _require_newest(self, account: Account) -> None:
        """Stops a channel whose vouchers on chain are newer than ours, before anything is said.

        We would sign receipts again that were signed with other content, which is proof of fraud.

        Raises:
            Refused: Its books were restored from an old copy.
        """
        try:
            view = await self.view(account.state.channel_id)
        except Refused:
            # What is owed is settled without the chain; orders wait for it.
            return
        known = account.state.paid.total
        if view.claimed <= known:
            return
        why = (
            f"{view.claimed} token units were claimed with vouchers of this channel, the newest "
            f"in these books is for {known}: they were restored from an old copy"
        )
        if not account.state.stopped:
            log.error("channel stopped", channel=account.state.channel_id.hex(), why=why)
            await account.stop(why)
        raise Refused(Reason.CHANNEL_STOPPED, why)

    async def view(self, channel_id: bytes, *, age_s_max: float | None = None) -> ChannelView:
        """The channel on chain, confirmed and recent.

        Args:
            channel_id: 32 bytes.
            age_s_max: Oldest that will do; by default what the settings say.

        Raises:
            Refused: The chain does not answer; no credit on a stale view.
        """
        age_s_max = self._settings.view_age_s_max if age_s_max is None else age_s_max
        seen = self._views.get(channel_id)
        if seen and trio.current_time() - seen.at_s <= age_s_max:
            return seen.view
        try:
            with trio.fail_after(CHAIN_WAIT_S):
                view = await self._escrow.channel(
                    channel_id, confirmations=self._settings.confirmations
                )
        except (Unavailable, trio.TooSlowError) as error:
            raise Refused(
                Reason.CHAIN_STALE, "the chain does not answer; no new work until it does", RETRY_MS
            ) from error
        # A stranger's is not remembered; a channel of ours may be empty, and is not asked for
        # again with every order.
        if view.locked or channel_id in self._accounts:
            self._views[channel_id] = _Seen(view, trio.current_time())
        return view

    def forget_view(self, channel_id: bytes) -> None:
        """Has the next ``view`` ask the chain: an event says that the channel changed."""
        self._views.pop(channel_id, None)

    def forget_views(self) -> None:
        """Has ``view`` ask the chain about every channel again."""
        self._views.clear()

    def _fresh(self, opened: ChannelOpened) -> SellerChannel:
        return SellerChannel(
            domain=self._domain,
            channel_id=opened.channel_id,
            payer=opened.payer,
            provider=opened.provider,
            signer=opened.signer,
            credit=self._settings.credit,
        )

    def _account_of(
        self, state: SellerChannel, voucher: Signed | None = None, settled_count: int = 0
    ) -> Account:
        return Account(
            state,
            voucher=voucher,
            settled_count=settled_count,
            journal=self._journal,
            key=self._key,
            now_ms=self._now_ms,
            tally=self._tally,
            spent=self._spent,
        )

    async def _replay(self, opened: ChannelOpened) -> Account:
        state = self._fresh(opened)
        voucher: Signed | None = None
        settled_count = 0
        async for entry in self._journal.to_replay(opened.channel_id):
            if isinstance(entry, LogSettled):
                state = replace(state, issued=entry.log(), paid=entry.log())
                voucher, settled_count = entry.voucher, entry.receipt_count
            elif isinstance(entry, OrderKept):
                state = seller.start(state, self._job_of(entry))
            elif isinstance(entry, ReceiptKept):
                receipt = Receipt.decode(entry.receipt.words)
                is_last = bool(entry.finish)
                state = seller.restore_receipt(state, receipt, entry.text, is_last=is_last)
            elif isinstance(entry, VoucherKept):
                signed = open_signed(entry.voucher, Voucher, self._domain)
                paid = on.ClientPaid(signed.statement, signed.signer)
                state, _ = seller.step(state, paid, Meter(now_ms=self._now_ms()))
                voucher = entry.voucher
            elif isinstance(entry, ChannelStopped):
                state = seller.stop(state, entry.detail)
        return self._account_of(state, voucher, settled_count)

    def _job_of(self, kept: OrderKept) -> Job:
        order = Order.decode(kept.order.words)
        return Job(
            order=order,
            order_hash=order.digest(self._domain),
            output_units_max=kept.output_units_max,
            started_at_ms=kept.started_at_ms,
            reading=Reading(kept.input_units, 0, 0),
        )
