"""Puts vouchers on chain: on demand, when they are worth it, and before a payer can leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import structlog
import trio

from rowen.chain.base import CLAIM_ROWS_MAX, ClaimResult, Escrow, Reverted, Wallet
from rowen.chain.events import Claimed
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, RowenError
from rowen.protocol.ids import channel_id_of
from rowen.protocol.messages import open_signed
from rowen.protocol.statements import Voucher
from rowen.store.base import Journal, JournalFailed, VoucherKept

log = structlog.get_logger("rowen.settlement")


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

    async def unclaimed(self) -> list[Unclaimed]:
        """Every voucher that a claim would earn on now, most valuable first.

        Raises:
            Unavailable: Journal or chain does not answer.
        """
        found: list[Unclaimed] = []
        # The newest voucher of each channel, and not its history: it only grows.
        for kept in await self._journal.vouchers("seller"):
            candidate = await self._candidate(kept)
            if candidate is not None:
                found.append(candidate)
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
            interval_s: Must be far below the escrow's unlock delay.

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
            await trio.sleep(interval_s)

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

    async def _candidate(self, kept: VoucherKept) -> Unclaimed | None:
        if not self._is_ours(kept):
            return None
        view = await self._escrow.channel(kept.channel_id, confirmations=0)
        if not view.claimed < kept.total <= view.locked:
            return None
        voucher = Voucher.decode(kept.voucher.words)
        return Unclaimed(
            channel_id=kept.channel_id,
            row=voucher.row(kept.voucher.signature),
            total=kept.total,
            amount=kept.total - view.claimed,
            locked=view.locked,
            unlock_at_s=view.unlock_at_s,
        )

    def _is_ours(self, kept: VoucherKept) -> bool:
        """Whether it was signed for this deployment; those for another recover to a stranger."""
        try:
            opened = open_signed(kept.voucher, Voucher, self._domain)
        except PeerError:
            return False
        voucher = opened.statement
        channel_id = channel_id_of(voucher.payer, voucher.provider, opened.signer)
        return channel_id == kept.channel_id
