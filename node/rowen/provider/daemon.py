"""The composition root of a provider: keys, disk, chain, engine and network behind one node."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from rowen.chain.base import TxReceipt, Wallet, fresh_intent
from rowen.chain.connect import open_escrow, open_wallet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.keystore import load_key, sealing_key
from rowen.chain.siblings import Siblings, judge, next_nonce
from rowen.chain.transactions import Attempt, Outcome, TransactionLog
from rowen.config import Config
from rowen.engine.base import Engine
from rowen.engine.models import entry, locate
from rowen.home import Home, key_lock
from rowen.p2p.network import Network
from rowen.protocol.amounts import format_usd
from rowen.protocol.errors import RowenError, UserError
from rowen.protocol.ids import format_address, parse_address
from rowen.protocol.signing import Key
from rowen.provider.account import Account
from rowen.provider.backlog import Backlog
from rowen.provider.control import Answerer, serve_control
from rowen.provider.earnings import EarningsReport, Grouping, Question, read_earnings
from rowen.provider.lease_reports import report_leases
from rowen.provider.leases import Leases
from rowen.provider.lending import open_leases, turn_switch
from rowen.provider.node import Provider
from rowen.provider.observing import Observer
from rowen.provider.payouts import change_payout, report_transaction, withdraw
from rowen.provider.price_list import Plan, plan_of
from rowen.provider.reports import (
    ChannelReport,
    PayoutReport,
    ProviderReport,
    SettleReport,
    VariantReport,
    WithdrawReport,
)
from rowen.provider.settings import Prices, ProviderSettings
from rowen.provider.settlement import Claimer, ClaimTerms, require_time_to_claim
from rowen.provider.stock import Shelf, Ware
from rowen.provider.wall import parse_day, zone_of
from rowen.provider.watch import Watch
from rowen.provider.watching import watch_chain
from rowen.store.journal import SqliteJournal, open_journal
from rowen.store.lock import only_process
from rowen_scheduler.claiming import ClaimPolicy

CHAIN_S = 10.0
GUARD_S = 600.0
GRACE_H = 24


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
        wallet: Wallet,
        journal: SqliteJournal,
        log: TransactionLog,
    ) -> None:
        self.key = key
        self.escrow = escrow
        self.journal = journal
        self._wallet = wallet
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
        return await self._wallet.gas_price_wei()

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
            UserError: Too little gas money.
        """
        done = await self.claimer.settle()
        credit = await self.escrow.credit(self.key.address) if sweep else 0
        swept: TxReceipt | None = None
        if credit:
            swept = await self._wallet.sweep(self.key.address, intent=fresh_intent("sweep"))
        payout = await self.escrow.payout(self.key.address) if swept else b""
        return SettleReport(
            claimed=done.claimed,
            skipped=done.skipped,
            credited=done.credited,
            transactions=[report_transaction(claim.receipt) for claim in done.claims],
            swept=credit if swept else 0,
            payout=format_address(payout) if payout else "",
            sweep=report_transaction(swept) if swept else None,
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
            wallet=self._wallet,
        )

    async def withdraw(self, *, is_wished: bool) -> WithdrawReport:
        """Sends the credit to the payout address, or says what would be sent.

        Args:
            is_wished: Whether to send it.

        Raises:
            Unavailable: The chain does not answer; what was sent stays pending.
            UserError: No payout address is set, or too little gas money.
        """
        return await withdraw(self.escrow, self._wallet, is_wished=is_wished)

    async def payout(self, wanted: str | None) -> PayoutReport:
        """Where earnings go, after asking for another address if one is wanted.

        Raises:
            Unavailable: The chain does not answer; what was sent stays pending.
            UserError: The contract refuses, or too little gas money.
        """
        address = parse_address(wanted) if wanted else None
        return await change_payout(self.escrow, self._wallet, address)


class Daemon:
    """A provider that serves.

    Attributes:
        till: Its money.
        provider: Its node.
        network: Where it listens.
        watch: Its health, metrics and alerts.
        leases: Of the GPUs that its engines use.
    """

    def __init__(
        self,
        home: Home,
        till: Till,
        provider: Provider,
        network: Network,
        leases: Leases,
        config: Config,
    ) -> None:
        self.till = till
        self.provider = provider
        self.network = network
        self.leases = leases
        self._config = config
        observer = Observer(
            provider=till.key.address,
            escrow=till.escrow,
            gas_price=till.gas_price_wei,
            claimer=till.claimer,
            journal_file=home.seller_journal,
            pending=till.pending,
            key_trouble=till.key_trouble,
            probe_engines=provider.probe_engines,
        )
        self.watch = Watch(provider, observer, config.watch, now_ms)

    async def run(
        self,
        home: Home,
        answerers: Mapping[str, Answerer] | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves, claims, and answers the control socket until cancelled or broken.

        Args:
            home: Where the socket is.
            answerers: More than ``status`` and ``settle`` to answer there.
            task_status: Started once the socket takes questions.

        Raises:
            ExceptionGroup: The disk failed or one of our own rules is broken.
        """
        own: dict[str, Answerer] = {
            "status": self._on_status,
            "settle": self._on_settle,
            "earnings": self._on_earnings,
            "withdraw": self._on_withdraw,
            "payout": self._on_payout,
            "pause": partial(turn_switch, home, self.leases, True),
            "resume": partial(turn_switch, home, self.leases, False),
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.provider.run)
            nursery.start_soon(self._claim)
            nursery.start_soon(self._guard)
            nursery.start_soon(self._follow)
            await nursery.start(self.watch.run)
            await nursery.start(self.leases.run)
            await nursery.start(serve_control, home, {**own, **(answerers or {})})
            task_status.started()

    async def status(self) -> ProviderReport:
        """The node at this moment. A chain that does not answer is said, not raised."""
        backlog: Backlog | None = None
        credit = gas_wei = None
        chain = "ok"
        try:
            with trio.fail_after(CHAIN_S):
                backlog = await self.till.claimer.backlog()
                credit = await self.till.escrow.credit(self.till.key.address)
                gas_wei = await self.till.escrow.balance_wei(self.till.key.address)
        except (RowenError, trio.TooSlowError) as error:
            chain = str(error) or f"no answer within {CHAIN_S:g} s"
        provider = self.provider
        channels = [_report_channel(a) for a in provider.books.accounts.values()]
        return ProviderReport(
            address=format_address(self.till.key.address),
            peer_id=self.network.peer_id,
            addresses=list(self.network.addresses),
            variants=[report_variant(shelf) for shelf in provider.stock.shelves.values()],
            sessions=provider.sessions,
            issued=sum(c.issued for c in channels),
            paid=sum(c.paid for c in channels),
            unclaimed=backlog.amount if backlog else None,
            oldest_unclaimed_s=backlog.oldest_s if backlog else None,
            credit=credit,
            gas_wei=gas_wei,
            chain=chain,
            watch=self.watch.address,
            trouble=[f"{c.name}: {c.why}" for c in self.watch.conditions() if not c.is_met],
            alerts=self.watch.raised,
            lease=report_leases(self.leases),
            key_trouble=self.watch.seen.key_trouble,
            channels=channels,
        )

    async def _claim(self) -> None:
        config = self._config.provider
        terms = claim_terms_of(self._config)
        await self.till.claimer.watch(terms, interval_s=config.claim_interval_s)

    async def _follow(self) -> None:
        await watch_chain(
            self.till.escrow,
            self.provider.books,
            confirmations=self._config.chain.confirmations,
            hurry=self.till.claimer.hurry,
        )

    async def _guard(self) -> None:
        # Whatever keeps a voucher waiting, a day more than it should is for its owner to know.
        age_s_max = (self._config.provider.claim_age_h + GRACE_H) * 3600
        await self.till.claimer.guard(age_s_max=age_s_max, interval_s=GUARD_S)

    async def _on_status(self, _arguments: Mapping[str, Any]) -> msgspec.Struct:
        return await self.status()

    async def _on_settle(self, arguments: Mapping[str, Any]) -> msgspec.Struct:
        return await self.till.settle(sweep=bool(arguments.get("sweep")))

    async def _on_earnings(self, arguments: Mapping[str, Any]) -> msgspec.Struct:
        days = arguments.get("since"), arguments.get("until")
        return await self.till.earnings(self._config, arguments.get("by", "day"), *days)

    async def _on_withdraw(self, arguments: Mapping[str, Any]) -> msgspec.Struct:
        return await self.till.withdraw(is_wished=bool(arguments.get("is_wished")))

    async def _on_payout(self, arguments: Mapping[str, Any]) -> msgspec.Struct:
        return await self.till.payout(arguments.get("payout"))


def report_variant(shelf: Shelf) -> VariantReport:
    """A variant as it is shown."""
    variant = shelf.variant
    return VariantReport(
        variant="0x" + variant.id.hex(),
        model=variant.model,
        precision=variant.precision,
        price_input=variant.price_input,
        price_cached=variant.price_cached,
        price_output=variant.price_output,
        price_request=variant.price_request,
        is_ready=shelf.is_ready,
        running=shelf.running,
        waiting=shelf.waiting,
        places=shelf.places,
    )


def _report_channel(account: Account) -> ChannelReport:
    state = account.state
    return ChannelReport(
        channel_id="0x" + state.channel_id.hex(),
        payer=format_address(state.payer),
        signer=format_address(state.signer),
        is_connected=account.is_attached,
        receipts=state.issued.count,
        issued=state.issued.total,
        paid=state.paid.total,
        unpaid=len(state.unpaid),
        open_jobs=account.open_jobs,
        stopped=state.stopped,
    )


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


@asynccontextmanager
async def open_daemon(home: Home, config: Config, password: str) -> AsyncIterator[Daemon]:
    """A provider, recovered and listening; ``Daemon.run`` keeps it going.

    Raises:
        UserError: Something a person has to change: key, model, port, chain…
        Unavailable: Disk, chain or engine does not answer.
    """
    from rowen.p2p.host import open_network

    async with AsyncExitStack() as stack:
        till = await stack.enter_async_context(open_till(home, config, password))
        require_time_to_claim(
            till.escrow.deployment.unlock_delay_s, config.provider.claim_interval_s
        )
        leases = await stack.enter_async_context(open_leases(home, config.gpu))
        engine = await stack.enter_async_context(_open_engine(home, config))
        network = await stack.enter_async_context(
            open_network(till.key.secret, listen=config.provider.listen)
        )
        if config.provider.mdns:
            from rowen.p2p.discovery import discover

            await stack.enter_async_context(discover(network))
        provider = Provider(
            key=till.key,
            domain=till.escrow.deployment.domain,
            network=network,
            escrow=till.escrow,
            journal=till.journal,
            wares=[Ware(engine=engine, prices=prices_of(config))],
            settings=settings_of(config),
            now_ms=now_ms,
            plan=price_plan_of(config),
            meters=leases.meters,
        )
        # Before anybody can ask for a place: it may be the owner's.
        leases.house(provider.stock.shelves.values())
        await provider.start()
        yield Daemon(home, till, provider, network, leases, config)


def claim_terms_of(config: Config) -> ClaimTerms:
    """An owner's settings as claims want them.

    Raises:
        UserError: A percentage is none.
    """
    owner = config.provider
    if not 1 <= owner.claim_gas_percent <= 100:
        raise UserError(
            f"[provider] claim_gas_percent is {owner.claim_gas_percent}: expected 1 to 100"
        )
    return ClaimTerms(
        policy=ClaimPolicy(
            gas_percent_max=owner.claim_gas_percent,
            age_s_max=owner.claim_age_h * 3600,
            above=owner.claim_above.units,
        ),
        coin_value=config.costs.coin_usd.units,
        sweep_above=owner.sweep_above.units,
    )


def prices_of(config: Config) -> Prices:
    """What the embedded engine's work costs."""
    owner = config.provider
    return Prices(
        input=owner.price_input.units,
        cached=owner.price_cached.units,
        output=owner.price_output.units,
        request=owner.price_request.units,
    )


def price_plan_of(config: Config) -> Plan:
    """How prices follow the hours and the rate of exchange.

    Raises:
        UserError: A setting is malformed, or the rate holds no more.
    """
    owner = config.provider
    return plan_of(
        owner.price_hours,
        owner.timezone,
        owner.token_usd.units,
        owner.token_usd_until,
        now_ms(),
    )


def settings_of(config: Config) -> ProviderSettings:
    """An owner's settings as the node wants them.

    Raises:
        UserError: They contradict each other.
    """
    owner = config.provider
    if owner.credit_total.units < owner.credit.units:
        raise UserError(
            f"[provider] credit_total {format_usd(owner.credit_total.units)} is below credit "
            f"{format_usd(owner.credit.units)}: no client could be served"
        )
    return ProviderSettings(
        credit=owner.credit.units,
        credit_total=owner.credit_total.units,
        confirmations=config.chain.confirmations,
    )


@asynccontextmanager
async def _open_engine(home: Home, config: Config) -> AsyncIterator[Engine]:
    from rowen.engine.llama import open_llama

    owner = config.provider
    model = entry(owner.model)
    file: Path = locate(owner.model, home.models)
    async with open_llama(
        file,
        model=model.model,
        precision=model.precision,
        weights_digest=model.weights_digest,
        threads=owner.threads,
        concurrency=owner.concurrency,
        context_units=owner.context_units,
    ) as engine:
        yield engine
