"""A provider's money, with everything it needs and nothing else: key, disk, chain."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from rowen.chain.connect import open_escrow, open_wallet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.keystore import load_key, sealing_key
from rowen.chain.siblings import Siblings, judge, next_nonce
from rowen.chain.transactions import Attempt, Outcome, TransactionLog
from rowen.chain.wallet import RpcWallet
from rowen.config import Config
from rowen.home import Home, key_lock
from rowen.protocol.ids import parse_address
from rowen.protocol.signing import Key
from rowen.provider.earnings import EarningsReport, Grouping, Question, read_earnings
from rowen.provider.payouts import change_payout, payout_elsewhere, report_transaction, withdraw
from rowen.provider.reports import (
    PayoutReport,
    SettleReport,
    WithdrawReport,
)
from rowen.provider.settlement import Claimer
from rowen.provider.wall import parse_day, zone_of
from rowen.store.journal import SqliteJournal, open_journal
from rowen.store.lock import only_process


def now_ms() -> int:
    """Wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Till:
    """A provider's money: what is owed to it, claimed, and swept. Needs no engine or network."""

    def __init__(
        self,
        *,
        key: Key,
        escrow: RpcEscrow,
        wallet: RpcWallet,
        journal: SqliteJournal,
        log: TransactionLog,
    ) -> None:
        self.key = key
        self.escrow = escrow
        self.journal = journal
        self.wallet = wallet
        self._log = log
        self.claimer = Claimer(
            provider=key.address,
            domain=escrow.deployment.domain,
            journal=journal,
            escrow=escrow,
            wallet=wallet,
        )

    async def key_trouble(self) -> str:
        """What shows that another program uses the operator key; empty when nothing does.

        Raises:
            Unavailable: Chain or journal does not answer.
        """
        # The chain first: a transaction of ours in between is in the journal by then.
        nonce = await next_nonce(self.escrow, self.key.address)
        settled = await self._log.settled(self.key.address)
        return judge(Siblings([*settled, *await self._log.pending(self.key.address)], nonce))

    async def gas_price_wei(self) -> int:
        """What a unit of gas costs now.

        Raises:
            Unavailable: The chain does not answer.
        """
        return await self.wallet.gas_price_wei()

    async def pending(self) -> int:
        """Transactions of ours that are sent and not final.

        Raises:
            Unavailable: The journal does not answer.
        """
        return len(await self._log.pending(self.key.address))

    async def settle(self, *, sweep: bool) -> SettleReport:
        """Claims every unclaimed voucher and, if wished, moves the credit to the payout address.

        Raises:
            Unavailable: Journal or chain does not answer; what was sent stays pending.
            UserError: Too little gas money; or there is to be a sweep and no payout address is set,
                and then nothing is done.
        """
        if sweep:
            await payout_elsewhere(self.escrow, self.key.address)
        done = await self.claimer.settle()
        sent = await withdraw(self.escrow, self.wallet, is_wished=True) if sweep else None
        is_sent = sent is not None and sent.transaction is not None
        return SettleReport(
            claimed=done.claimed,
            skipped=done.skipped,
            credited=done.credited,
            transactions=[report_transaction(claim.receipt) for claim in done.claims],
            swept=sent.credit if sent and is_sent else 0,
            payout=sent.payout if sent and is_sent else "",
            sweep=sent.transaction if sent else None,
        )

    async def earnings(
        self, config: Config, by: Grouping, since: str | None, until: str | None
    ) -> EarningsReport:
        """What was earned, and what that cost.

        Args:
            config: Of zone, prices of gas and power, confirmations.
            by: What a line is about.
            since: First day, or None for the beginning.
            until: Last day, or None for now.

        Raises:
            UserError: No date, or no zone.
            Unavailable: Journal or chain does not answer.
        """
        question = Question(
            by=by,
            since=parse_day(since) if since else None,
            until=parse_day(until) if until else None,
            zone=zone_of(config.provider.timezone),
            coin_value=config.costs.coin_usd.units,
            kwh=config.costs.electricity_kwh.units,
            confirmations=config.chain.confirmations,
        )
        return await read_earnings(
            question,
            provider=self.key.address,
            journal=self.journal,
            escrow=self.escrow,
            wallet=self.wallet,
        )

    async def withdraw(self, *, is_wished: bool) -> WithdrawReport:
        """Sends the credit to the payout address, or says what would be sent.

        Args:
            is_wished: Whether to send it.

        Raises:
            Unavailable: The chain does not answer; what was sent stays pending.
            UserError: No payout address is set, or too little gas money.
        """
        return await withdraw(self.escrow, self.wallet, is_wished=is_wished)

    async def payout(self, wanted: str | None) -> PayoutReport:
        """Where earnings go, after asking for another address if one is wanted.

        Raises:
            Unavailable: The chain does not answer; what was sent stays pending.
            UserError: The contract refuses, or too little gas money.
        """
        address = parse_address(wanted) if wanted else None
        return await change_payout(self.escrow, self.wallet, address)


@asynccontextmanager
async def open_till(home: Home, config: Config, password: str) -> AsyncIterator[Till]:
    """A provider's money, with the journal locked to this process.

    Raises:
        UserError: Wrong password, wrong chain, another process holds the journal…
        Unavailable: Disk or chain does not answer.
    """
    key = await load_key(home.operator_key, password)
    async with AsyncExitStack() as stack:
        # Also where it is a copy in another home: two nodes with one key sign two truths.
        stack.enter_context(only_process(key_lock(key.address)))
        journal = await stack.enter_async_context(
            open_journal(home.seller_journal, sealing_key(key))
        )
        escrow = await stack.enter_async_context(open_escrow(config.chain))
        log = journal.transactions(config.chain.chain_id, Attempt, Outcome)
        wallet = await open_wallet(escrow, key, log, config.chain)
        yield Till(key=key, escrow=escrow, wallet=wallet, journal=journal, log=log)
