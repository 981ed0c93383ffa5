"""Puts vouchers on chain: on demand, when they are worth it, and before a payer can leave."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import structlog
import trio

from rowen.chain.base import (
    CLAIM_ROWS_MAX,
    Ceiling,
    ClaimResult,
    Escrow,
    Wallet,
    fresh_intent,
)
from rowen.chain.events import Claimed
from rowen.chain.refusals import Reverted
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import RowenError, UserError
from rowen.protocol.statements import Voucher
from rowen.provider.backlog import Ages, Backlog
from rowen.provider.payouts import SWEEP_GAS, apply_due
from rowen.store.base import Journal, JournalFailed, VoucherKept
from rowen_scheduler.claiming import (
    ClaimPolicy,
    Danger,
    Gas,
    Waiting,
    choose,
    fee_ceiling_wei,
    is_sweep_worth,
)

log = structlog.get_logger("rowen.settlement")


CLAIM_INTENT = "claim-"
ROUND_S = 600.0
"""Longest that one round of claims keeps ``settle`` waiting; what it sent stays pending."""


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


LOOKS_PER_UNLOCK_DELAY = 4
"""One may fall just before the request and one fail; a stuck claim takes one to be replaced."""


def require_time_to_claim(unlock_delay_s: int, interval_s: float) -> None:
    """Whether whoever looks that often cannot miss a payer that leaves (P8).

    Raises:
        UserError: The interval is too long for the escrow's delay.
    """
    longest_s = unlock_delay_s / LOOKS_PER_UNLOCK_DELAY
    if interval_s > longest_s:
        raise UserError(
            f"[provider] claim_interval_s is {interval_s:g} s, but payers of this escrow may leave"
            f" {unlock_delay_s} s after they say so: vouchers could be lost; set it to"
            f" {longest_s:g} s or less"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclaimed:
    """A voucher that is worth more than what was claimed with the ones before it.

    Attributes:
        channel_id: 32 bytes.
        row: As ``RowenEscrow.claim`` reads it.
        total: Of the voucher, token units.
        receipt_count: Receipts the voucher covers.
        amount: What a claim adds, token units.
        locked: What the channel holds, claimed part included.
        unlock_at_s: When the payer may leave, 0 when not asked for.
    """

    channel_id: bytes
    row: bytes
    total: int
    receipt_count: int
    amount: int
    locked: int
    unlock_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What one round of claims did.

    Attributes:
        claims: The transactions, in order.
        claimed: Rows that were paid.
        skipped: Rows that were not, as the contract says why.
        credited: Token units added to the provider's credit.
    """

    claims: tuple[ClaimResult, ...] = ()
    claimed: int = 0
    skipped: int = 0
    credited: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTerms:
    """What an owner decides about claims.

    Attributes:
        policy: When a claim is worth its gas.
        coin_value: What one coin of the chain is worth, token units; 0 when that is not set.
        sweep_above: Credit that is sent to the payout address by itself, token units; 0 for never.
    """

    policy: ClaimPolicy = field(default_factory=ClaimPolicy)
    coin_value: int = 0
    sweep_above: int = 0


class Claimer:
    """Claims for one provider. At most one claim is in flight."""

    def __init__(
        self,
        *,
        provider: bytes,
        domain: Domain,
        journal: Journal,
        escrow: Escrow,
        wallet: Wallet,
        now_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        self._provider = provider
        self._domain = domain
        self._journal = journal
        self._escrow = escrow
        self._wallet = wallet
        self._lock = trio.Lock()
        self._rows_to_failures: dict[str, int] = {}
        self._hurry = trio.Event()
        self._now_ms = now_ms
        self._ages = Ages(journal)
        self._said = ""
        # Until the owner's terms are known, no ceiling is lifted.
        self._coin_value = 0

    async def unclaimed(self) -> list[Unclaimed]:
        """Every voucher that a claim would earn on now, most valuable first.

        Raises:
            Unavailable: Journal or chain does not answer.
        """
        # A journal may hold channels of other deployments; their vouchers are claimed there.
        ours = {
            opened.channel_id
            for opened in await self._journal.openings("seller")
            if (opened.chain_id, opened.escrow) == (self._domain.chain_id, self._domain.escrow)
        }
        # The newest voucher of each channel, and not its history: it only grows.
        kept = [v for v in await self._journal.vouchers("seller") if v.channel_id in ours]
        views = await self._escrow.channels([each.channel_id for each in kept], confirmations=0)
        found = [
            _unclaimed(each, view)
            for each, view in zip(kept, views, strict=True)
            if view.claimed < each.total <= view.locked
        ]
        return sorted(found, key=lambda u: (-u.amount, u.channel_id))

    async def settle(self, chosen: Sequence[Unclaimed] | None = None) -> Settlement:
        """Claims the chosen vouchers, or all that are unclaimed.

        Raises:
            Unavailable: Journal or chain does not answer; a claim under way stays pending.
            UserError: Too little gas money; the message says how much is missing.
        """
        async with self._lock:
            waiting = await self.unclaimed()
            if await self._wallet.finish(await self._ceiling(waiting)):
                waiting = await self.unclaimed()
            return await self._claim(waiting if chosen is None else chosen)

    async def backlog(self, waiting: Sequence[Unclaimed] | None = None) -> Backlog:
        """What is promised and not on chain, and how long the oldest of it has waited.

        Args:
            waiting: If it was looked up already.

        Raises:
            Unavailable: Journal or chain does not answer.
        """
        found = await self.unclaimed() if waiting is None else waiting
        return await self._ages.backlog(found, self._now_ms())

    async def watch(self, terms: ClaimTerms, *, interval_s: float) -> None:
        """Claims what is worth its gas, and what is in danger; see ``claiming.choose``.

        Trouble with the chain is logged and tried again at the next interval.

        Args:
            terms: The owner's.
            interval_s: See ``require_time_to_claim``.

        Raises:
            JournalFailed: The disk failed; a node without it must end.
        """
        self._coin_value = terms.coin_value
        while True:
            try:
                async with self._lock:
                    with trio.fail_after(ROUND_S):
                        await self._round(terms)
            except JournalFailed:
                raise
            except RowenError as error:
                log.warning("claim postponed", why=str(error))
            except trio.TooSlowError:
                # It stays pending, is followed in the next round, and holds up all that come after.
                log.warning("transaction is not mined", waited_s=ROUND_S)
            with trio.move_on_after(interval_s):
                await self._hurry.wait()
            self._hurry = trio.Event()

    async def guard(self, *, age_s_max: int, interval_s: float) -> None:
        """Says so when work has waited too long for its claim, whatever keeps it waiting.

        A task of its own, because it must speak when ``watch`` cannot.

        Raises:
            JournalFailed: As for ``watch``.
        """
        while True:
            try:
                backlog = await self.backlog()
            except JournalFailed:
                raise
            except RowenError as error:
                log.warning("backlog unknown", why=str(error))
            else:
                if backlog.oldest_s > age_s_max:
                    log.warning(
                        "vouchers wait too long for a claim",
                        oldest_s=backlog.oldest_s,
                        amount=backlog.amount,
                        vouchers=backlog.vouchers,
                        gas=self._said or "not worth it yet",
                    )
            await trio.sleep(interval_s)

    def hurry(self) -> None:
        """Has ``watch`` look at once: a payer asked to leave."""
        self._hurry.set()

    async def _round(self, terms: ClaimTerms) -> None:
        waiting = await self.unclaimed()
        # What a former life left pending comes first: at most one claim is in flight.
        if await self._wallet.finish(await self._ceiling(waiting)):
            waiting = await self.unclaimed()
        gas = None
        if terms.coin_value and (waiting or terms.sweep_above):
            gas = Gas(price_wei=await self._wallet.gas_price_wei(), coin_value=terms.coin_value)
        choice = choose([await self._judged(each) for each in waiting], gas, terms.policy)
        if choice.why != self._said and choice.why and not choice.channels:
            log.warning("nothing is claimed", why=choice.why)
        self._said = choice.why
        await self._claim([each for each in waiting if each.channel_id in set(choice.channels)])
        await self._sweep(terms, gas)

    async def _judged(self, each: Unclaimed) -> Waiting:
        return Waiting(
            channel_id=each.channel_id,
            amount=each.amount,
            is_leaving=bool(each.unlock_at_s),
            age_s=await self._ages.age_s(each, self._now_ms()),
        )

    async def _sweep(self, terms: ClaimTerms, gas: Gas | None) -> None:
        if not terms.sweep_above:
            return
        credit = await self._escrow.credit(self._provider)
        percent = terms.policy.gas_percent_max
        if not is_sweep_worth(credit, terms.sweep_above, gas, SWEEP_GAS, percent):
            return
        await apply_due(self._escrow, self._wallet)
        if await self._escrow.payout(self._provider) == self._provider:
            log.warning("credit is not swept", why="no payout address is set", credit=credit)
            return
        receipt = await self._wallet.sweep(self._provider, intent=fresh_intent("sweep"))
        log.info("swept", credit=credit, transaction=receipt.hash.hex())

    async def _ceiling(self, waiting: Sequence[Unclaimed]) -> Ceiling | None:
        """What gas may cost while these wait, as the moment nears at which payers may leave."""
        leaving = [each for each in waiting if each.unlock_at_s]
        if not leaving or not self._coin_value:
            return None
        # The escrow goes by the chain's clock; from here on ours runs alike.
        ahead_s = (await self._escrow.head()).timestamp_s - trio.current_time()
        delay_s = self._escrow.deployment.unlock_delay_s

        def ceiling(intent: str, gas: int) -> int:
            if not intent.startswith(CLAIM_INTENT):
                return 0
            now_s = trio.current_time() + ahead_s
            dangers = [
                Danger(amount=each.amount, left_s=math.floor(each.unlock_at_s - now_s))
                for each in leaving
            ]
            return fee_ceiling_wei(dangers, gas, self._coin_value, delay_s)

        return ceiling

    async def _claim(self, waiting: Sequence[Unclaimed]) -> Settlement:
        done = Settlement()
        for start in range(0, len(waiting), CLAIM_ROWS_MAX):
            batch = waiting[start : start + CLAIM_ROWS_MAX]
            result = await self._claim_rows([u.row for u in batch], await self._ceiling(batch))
            paid = [
                u for u, row in zip(batch, result.rows, strict=True) if isinstance(row, Claimed)
            ]
            credited = sum(u.amount for u in paid)
            log.info(
                "claimed",
                rows=len(batch),
                paid=len(paid),
                credited=credited,
                transaction=result.receipt.hash.hex(),
            )
            done = Settlement(
                claims=(*done.claims, result),
                claimed=done.claimed + len(paid),
                skipped=done.skipped + len(batch) - len(paid),
                credited=done.credited + credited,
            )
        return done

    async def _claim_rows(self, rows: list[bytes], ceiling: Ceiling | None) -> ClaimResult:
        digest = sha256(b"".join(rows)).hexdigest()
        # The same rows are the same wish: after a crash this finds its transaction. One that
        # failed would be found for ever, so then it is a new wish; in a new life of the node,
        # once the old failures have been found again.
        failures = self._rows_to_failures.get(digest, 0)
        intent = CLAIM_INTENT + (f"{digest}-{failures}" if failures else digest)
        try:
            result = await self._wallet.claim(self._provider, rows, intent=intent, ceiling=ceiling)
        except Reverted:
            self._rows_to_failures[digest] = failures + 1
            raise
        if not all(isinstance(row, Claimed) for row in result.rows):
            self._rows_to_failures[digest] = failures + 1
        return result


def _unclaimed(kept: VoucherKept, view: ChannelView) -> Unclaimed:
    return Unclaimed(
        channel_id=kept.channel_id,
        row=Voucher.decode(kept.voucher.words).row(kept.voucher.signature),
        total=kept.total,
        receipt_count=kept.receipt_count,
        amount=kept.total - view.claimed,
        locked=view.locked,
        unlock_at_s=view.unlock_at_s,
    )
