"""Puts vouchers on chain: on demand, when they are worth it, and before a payer can leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import structlog
import trio

from rowen.chain.base import CLAIM_ROWS_MAX, ClaimResult, Escrow, Reverted, Wallet
from rowen.chain.events import Claimed
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, RowenError, UserError
from rowen.protocol.ids import channel_id_of
from rowen.protocol.messages import open_signed
from rowen.protocol.statements import Voucher
from rowen.store.base import Journal, JournalFailed, VoucherKept

log = structlog.get_logger("rowen.settlement")


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
        amount: What a claim adds, token units.
        locked: What the channel holds, claimed part included.
        unlock_at_s: When the payer may leave, 0 when not asked for.
    """

    channel_id: bytes
    row: bytes
    total: int
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
    ) -> None:
        self._provider = provider
        self._domain = domain
        self._journal = journal
        self._escrow = escrow
        self._wallet = wallet
        self._lock = trio.Lock()
        self._rows_to_failures: dict[str, int] = {}
        self._hurry = trio.Event()

    async def unclaimed(self) -> list[Unclaimed]:
        """Every voucher that a claim would earn on now, most valuable first.

        Raises:
            Unavailable: Journal or chain does not answer.
        """
        # The newest voucher of each channel, and not its history: it only grows.
        kept = [each for each in await self._journal.vouchers("seller") if self._is_ours(each)]
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
            return await self._claim(await self.unclaimed() if chosen is None else chosen)

    async def watch(self, *, above: int, interval_s: float) -> None:
        """Claims what is worth more than ``above``, and all of a payer that is leaving.

        Trouble with the chain is logged and tried again at the next interval.

        Args:
            above: Token units that make a claim worth its gas.
            interval_s: See ``require_time_to_claim``.

        Raises:
            JournalFailed: The disk failed; a node without it must end.
        """
        while True:
            try:
                async with self._lock:
                    waiting = await self.unclaimed()
                    await self._claim([u for u in waiting if u.unlock_at_s or u.amount >= above])
            except JournalFailed:
                raise
            except RowenError as error:
                log.warning("claim postponed", why=str(error))
            with trio.move_on_after(interval_s):
                await self._hurry.wait()
            self._hurry = trio.Event()

    def hurry(self) -> None:
        """Has ``watch`` look at once: a payer asked to leave."""
        self._hurry.set()

    async def _claim(self, waiting: Sequence[Unclaimed]) -> Settlement:
        done = Settlement()
        for start in range(0, len(waiting), CLAIM_ROWS_MAX):
            batch = waiting[start : start + CLAIM_ROWS_MAX]
            result = await self._claim_rows([u.row for u in batch])
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

    async def _claim_rows(self, rows: list[bytes]) -> ClaimResult:
        digest = sha256(b"".join(rows)).hexdigest()
        # The same rows are the same wish: after a crash this finds its transaction. One that
        # failed would be found for ever, so then it is a new wish; in a new life of the node,
        # once the old failures have been found again.
        failures = self._rows_to_failures.get(digest, 0)
        intent = f"claim-{digest}-{failures}" if failures else f"claim-{digest}"
        try:
            result = await self._wallet.claim(self._provider, rows, intent=intent)
        except Reverted:
            self._rows_to_failures[digest] = failures + 1
            raise
        if not all(isinstance(row, Claimed) for row in result.rows):
            self._rows_to_failures[digest] = failures + 1
        return result

    def _is_ours(self, kept: VoucherKept) -> bool:
        """Whether it was signed for this deployment; those for another recover to a stranger."""
        try:
            opened = open_signed(kept.voucher, Voucher, self._domain)
        except PeerError:
            return False
        voucher = opened.statement
        channel_id = channel_id_of(voucher.payer, voucher.provider, opened.signer)
        return channel_id == kept.channel_id


def _unclaimed(kept: VoucherKept, view: ChannelView) -> Unclaimed:
    return Unclaimed(
        channel_id=kept.channel_id,
        row=Voucher.decode(kept.voucher.words).row(kept.voucher.signature),
        total=kept.total,
        amount=kept.total - view.claimed,
        locked=view.locked,
        unlock_at_s=view.unlock_at_s,
    )
