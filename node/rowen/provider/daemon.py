"""The composition root of a provider: keys, disk, chain, engine and network behind one node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import msgspec
import trio

from rowen.config import Config
from rowen.home import Home
from rowen.log import recent_lines
from rowen.p2p.network import Network
from rowen.protocol.amounts import format_usd
from rowen.protocol.errors import RowenError, UserError
from rowen.protocol.ids import format_address
from rowen.provider.account import Account
from rowen.provider.backlog import Backlog
from rowen.provider.control import Answerer, serve_control
from rowen.provider.engines import open_wares, ports_of
from rowen.provider.floors import require_prices
from rowen.provider.lease_reports import report_leases
from rowen.provider.leases import Leases
from rowen.provider.lending import open_leases, turn_switch
from rowen.provider.measurement import recall_all, weights_of
from rowen.provider.node import Provider
from rowen.provider.observing import Observer
from rowen.provider.price_list import Plan, plan_of
from rowen.provider.questions import (
    Counting,
    Nothing,
    PayingOut,
    Settling,
    Switching,
    Withdrawing,
    question,
)
from rowen.provider.reports import (
    ChannelReport,
    LogReport,
    ProviderReport,
    VariantReport,
)
from rowen.provider.settings import ProviderSettings
from rowen.provider.settlement import ClaimTerms, require_time_to_claim
from rowen.provider.stock import Shelf
from rowen.provider.till import Till, now_ms, open_till
from rowen.provider.watch import Watch
from rowen.provider.watching import watch_chain
from rowen_scheduler.claiming import ClaimPolicy

CHAIN_S = 10.0
GUARD_S = 600.0
GRACE_H = 24


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
        self.watch = Watch(
            provider, observer, lambda: report_leases(leases).gpus, config.watch, now_ms
        )

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
            "status": question(Nothing, self._on_status),
            "settle": question(Settling, self._on_settle),
            "earnings": question(Counting, self._on_earnings),
            "withdraw": question(Withdrawing, self._on_withdraw),
            "payout": question(PayingOut, self._on_payout),
            "pause": question(Switching, partial(turn_switch, home, self.leases, True)),
            "logs": question(Nothing, self._on_logs),
            "resume": question(Switching, partial(turn_switch, home, self.leases, False)),
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

    async def _on_status(self, _asked: Nothing) -> msgspec.Struct:
        return await self.status()

    async def _on_logs(self, _asked: Nothing) -> msgspec.Struct:
        await trio.lowlevel.checkpoint()
        return LogReport(lines=recent_lines())

    async def _on_settle(self, asked: Settling) -> msgspec.Struct:
        return await self.till.settle(sweep=asked.sweep)

    async def _on_earnings(self, asked: Counting) -> msgspec.Struct:
        return await self.till.earnings(self._config, asked.by, asked.since, asked.until)

    async def _on_withdraw(self, asked: Withdrawing) -> msgspec.Struct:
        return await self.till.withdraw(is_wished=asked.is_wished)

    async def _on_payout(self, asked: PayingOut) -> msgspec.Struct:
        return await self.till.payout(asked.payout)


def report_variant(shelf: Shelf) -> VariantReport:
    """A variant as it is shown."""
    variant = shelf.variant
    return VariantReport(
        variant="0x" + variant.id.hex(),
        model=variant.model,
        precision=variant.precision,
        kinds=list(variant.kinds),
        price_input=variant.price_input,
        price_cached=variant.price_cached,
        price_output=variant.price_output,
        price_request=variant.price_request,
        gpus=list(shelf.gpus),
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
        leases = await stack.enter_async_context(
            open_leases(
                home,
                config.gpu,
                ports=ports_of(config),
                weights=weights_of(recall_all(home.measurements)),
            )
        )
        wares = await stack.enter_async_context(open_wares(home, config, leases.infos))
        require_prices(home, config, wares)
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
            wares=wares,
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
