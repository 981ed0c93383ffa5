"""A chain in memory, deterministic and without a clock: for tests and the simulator.

``FakeChain`` mines when told to (or, by default, at each transaction), reorganises and drops
transactions on demand. ``FakeEscrow`` and ``FakeWallet`` stand before it as the JSON-RPC
adapters stand before a real one, and pass the same conformance suite; an escrow can be made
to fail, lag or lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from rowen.chain.authorizations import Funding, Permit, TokenFacts
from rowen.chain.base import (
    CLAIM_ROW_BYTES,
    BlockRef,
    Ceiling,
    ChannelKey,
    ClaimResult,
    Deployment,
    Spent,
    TxReceipt,
    pack_rows,
)
from rowen.chain.calls.escrow import Lock, LockPart
from rowen.chain.events import Event
from rowen.chain.refusals import TooFewTokens, TooLittleGas
from rowen.chain.transactions import Attempt, Outcome
from rowen.protocol.amounts import format_usd
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.statements import Release
from rowen.testing.escrow_model import EMPTY, EscrowModel
from rowen.testing.fake_chain import GAS_PRICE_WEI, TX_GAS, FakeBlock, FakeChain, FakeTx
from rowen.testing.token_model import ZERO_ADDRESS

__all__ = ["FakeChain", "FakeEscrow", "FakeWallet", "MemoryTransactionLog"]

CLAIM_ROW_GAS = 14_000


@dataclass(slots=True)
class FakeEscrow:
    """An endpoint of a ``FakeChain``.

    Attributes:
        chain: What it shows.
        is_down: Whether every question fails.
        lag_blocks: How far it is behind.
        lie: Changes what it says of a channel, given its id and the truth.
    """

    chain: FakeChain
    is_down: bool = False
    lag_blocks: int = 0
    lie: Callable[[bytes, ChannelView], ChannelView] | None = None

    @property
    def deployment(self) -> Deployment:
        """See ``Escrow``."""
        return self.chain.deployment

    async def head(self) -> BlockRef:
        """See ``Escrow``."""
        return (await self._newest()).ref

    async def blocks(self, first: int, last: int) -> list[BlockRef]:
        """See ``Escrow``."""
        newest = await self._newest()
        heights = range(max(first, 0), min(last, newest.ref.number) + 1)
        found = [self.chain.block(height) for height in heights]
        return [block.ref for block in found if block is not None]

    async def events(self, blocks: Sequence[BlockRef]) -> list[Event]:
        """See ``Escrow``."""
        newest = await self._newest()
        events: list[Event] = []
        for ref in blocks:
            block = self.chain.block(ref.number)
            if block is None or block.ref != ref or ref.number > newest.ref.number:
                raise Unavailable(f"block {ref.number} 0x{ref.hash.hex()} is not canonical")
            events += block.events
        return events

    async def channel(self, channel_id: bytes, *, confirmations: int) -> ChannelView:
        """See ``Escrow``."""
        (view,) = await self.channels([channel_id], confirmations=confirmations)
        return view

    async def channels(
        self, channel_ids: Sequence[bytes], *, confirmations: int
    ) -> list[ChannelView]:
        """See ``Escrow``."""
        newest = await self._newest()
        block = self.chain.block(newest.ref.number - confirmations)
        held = {} if block is None else block.model.channels
        views = [held.get(channel_id, EMPTY) for channel_id in channel_ids]
        if self.lie is None:
            return views
        return [self.lie(i, view) for i, view in zip(channel_ids, views, strict=True)]

    async def credit(self, provider: bytes) -> int:
        """See ``Escrow``."""
        return (await self._model()).credits.get(provider, 0)

    async def payout(self, provider: bytes) -> bytes:
        """See ``Escrow``."""
        return (await self._model()).payout_of(provider)

    async def pending_payout(self, provider: bytes) -> tuple[bytes, int]:
        """See ``Escrow``."""
        payout = (await self._model()).payouts.get(provider)
        if payout is None or payout.following is None:
            return ZERO_ADDRESS, 0
        return payout.following, payout.apply_at_s

    async def token_facts(self, owner: bytes) -> TokenFacts:
        """See ``Escrow``."""
        return (await self._model()).facts(owner)

    async def token_balance(self, address: bytes) -> int:
        """See ``Escrow``."""
        return (await self._model()).tokens.get(address, 0)

    async def balance_wei(self, address: bytes) -> int:
        """See ``Escrow``."""
        await self._newest()
        return self.chain.balance_wei(address)

    async def _newest(self) -> FakeBlock:
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise Unavailable("the fake chain's endpoint is down")
        block = self.chain.block(max(0, self.chain.head.number - self.lag_blocks))
        assert block is not None
        return block

    async def _model(self) -> EscrowModel:
        return (await self._newest()).model


@dataclass(slots=True)
class FakeWallet:
    """One key's hand on a ``FakeChain``'s escrow.

    Attributes:
        escrow: The endpoint it writes through.
        address: The sender; a fake needs no key.
        confirmations: Blocks on top of a transaction before a call returns. Somebody else
            has to mine them.
        journal: Transaction of each intent. Hand the same one to the wallet of the next
            life of a process.
    """

    escrow: FakeEscrow
    address: bytes
    confirmations: int = 0
    journal: dict[str, FakeTx] = field(default_factory=dict)

    async def recover(self) -> None:
        """See ``Wallet``."""
        await self.escrow.head()
        for tx in sorted(self.journal.values(), key=lambda tx: tx.nonce):
            self.escrow.chain.submit(tx)

    async def finish(self, ceiling: Ceiling | None = None) -> bool:
        """See ``Wallet``. Fees play no part here."""
        await self.recover()
        chain = self.escrow.chain
        blocks = [chain.inclusion(tx.hash) for tx in self.journal.values()]
        final = chain.head.number - self.confirmations
        for tx in sorted(self.journal.values(), key=lambda tx: tx.nonce):
            await self._wait(tx)
        return any(block is None or block.ref.number > final for block in blocks)

    async def gas_price_wei(self) -> int:
        """See ``Wallet``."""
        await self.escrow.head()
        return self.escrow.chain.gas_price_wei

    async def spent(self) -> list[Spent]:
        """See ``Wallet``."""
        await self.escrow.head()
        chain, found = self.escrow.chain, []
        for intent, tx in sorted(self.journal.items(), key=lambda item: item[1].nonce):
            block = chain.inclusion(tx.hash)
            if block and chain.head.number - block.ref.number >= self.confirmations:
                found.append(
                    Spent(
                        kind=intent.partition("-")[0],
                        hash=tx.hash,
                        time_s=block.ref.timestamp_s,
                        fee_wei=tx.gas * GAS_PRICE_WEI,
                        has_succeeded=block.outcomes[tx.hash] is None,
                    )
                )
        return found

    async def lock(
        self,
        provider: bytes,
        signer: bytes,
        amount: int,
        *,
        intent: str,
        by: Funding | None = None,
    ) -> TxReceipt:
        """See ``Wallet``. What a key would sign is taken for right, as the sender's own."""
        if intent not in self.journal:
            await self._require_tokens(amount)
            if by is Funding.PERMIT2:
                raise UserError("Permit2 is not on this chain: fund the channel another way")
            if by is Funding.APPROVE:
                await self.allow(self.escrow.deployment.domain.escrow, amount, intent)
        rule = "lock_allowed" if by is Funding.APPROVE else "lock"
        return (await self.send(intent, rule, provider, signer, amount))[0]

    async def lock_many(self, parts: Sequence[LockPart], *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        total = sum(part.amount for part in parts)
        if intent not in self.journal:
            await self._require_tokens(total)
            await self.allow(self.escrow.deployment.domain.escrow, total, intent)
        return (await self.send(intent, "lock_many", tuple(parts)))[0]

    async def lock_for(
        self,
        wanted: Lock,
        signature: bytes,
        *,
        by: Funding,
        intent: str,
        permit: Permit | None = None,
    ) -> TxReceipt:
        """See ``Wallet``."""
        if by is Funding.PERMIT2:
            raise UserError("Permit2 is not on this chain: fund the channel another way")
        if by is Funding.AUTHORIZATION:
            return (await self.send(intent, "lock_with_authorization", wanted, signature))[0]
        if permit is not None and intent not in self.journal:
            facts = await self.escrow.token_facts(wanted.payer)
            if facts.allowance < wanted.amount:
                await self.send(f"{intent}/permit", "permit", wanted.payer, permit)
        return (await self.send(intent, "lock_for", wanted, signature))[0]

    async def request_unlock_for(
        self, channel: ChannelKey, deadline_s: int, signature: bytes, *, intent: str
    ) -> TxReceipt:
        """See ``Wallet``."""
        arguments = (channel, deadline_s, signature)
        return (await self.send(intent, "request_unlock_for", *arguments))[0]

    async def cancel_unlock_for(
        self,
        channel: ChannelKey,
        unlock_at_s: int,
        deadline_s: int,
        signature: bytes,
        *,
        intent: str,
    ) -> TxReceipt:
        """See ``Wallet``."""
        arguments = (channel, unlock_at_s, deadline_s, signature)
        return (await self.send(intent, "cancel_unlock_for", *arguments))[0]

    async def revoke_authorization(self, digest: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "revoke_authorization", digest))[0]

    async def claim(
        self,
        provider: bytes,
        rows: Sequence[bytes],
        *,
        intent: str,
        ceiling: Ceiling | None = None,
    ) -> ClaimResult:
        """See ``Wallet``."""
        gas = 32_000 + CLAIM_ROW_GAS * (len(pack_rows(rows)) // CLAIM_ROW_BYTES)
        receipt, block = await self.send(intent, "claim", provider, tuple(rows), gas=gas)
        return ClaimResult.read(receipt, block.events, len(rows))

    async def sweep(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "sweep", provider))[0]

    async def request_payout(self, payout: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "request_payout", payout))[0]

    async def apply_payout(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "apply_payout", provider))[0]

    async def veto_payout(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "veto_payout", provider))[0]

    async def request_unlock(self, provider: bytes, signer: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "request_unlock", provider, signer))[0]

    async def cancel_unlock(self, provider: bytes, signer: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "cancel_unlock", provider, signer))[0]

    async def unlock(self, channel: ChannelKey, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "unlock", channel))[0]

    async def release(
        self, channel: ChannelKey, release: Release, signature: bytes, *, intent: str
    ) -> TxReceipt:
        """See ``Wallet``."""
        return (await self.send(intent, "release", channel, release, signature))[0]

    async def _require_tokens(self, amount: int) -> None:
        missing = amount - await self.escrow.token_balance(self.address)
        if missing > 0:
            raise TooFewTokens(self.address, missing, f"to lock {format_usd(amount)}")

    async def allow(self, spender: bytes, amount: int, intent: str) -> None:
        """Gives an allowance, in a transaction of its own, unless there is one."""
        allowances = self.escrow.chain.newest_model().allowances
        if allowances.get((self.address, spender), 0) < amount:
            await self.send(f"{intent}/approve", "approve", spender, amount)

    async def send(
        self, intent: str, rule: str, *arguments: Any, gas: int = TX_GAS
    ) -> tuple[TxReceipt, FakeBlock]:
        """Has a rule of the model executed; the receipt, and the block that holds it."""
        await self.escrow.head()  # a wallet whose endpoint is down can send nothing
        chain = self.escrow.chain
        tx = self.journal.get(intent)
        if tx is None:
            await self.recover()
            used = max((tx.nonce + 1 for tx in self.journal.values()), default=0)
            nonce = max(used, chain.nonce(self.address))
            tx = FakeTx(sender=self.address, nonce=nonce, rule=rule, arguments=arguments, gas=gas)
            missing_wei = gas * GAS_PRICE_WEI - chain.balance_wei(self.address)
            if missing_wei > 0:
                raise TooLittleGas(
                    self.address, missing_wei, self.escrow.deployment.domain.chain_id
                )
            chain.dry_run(tx)
            self.journal[intent] = tx
        chain.submit(tx)
        block = await self._wait(tx)
        outcome = block.outcomes[tx.hash]
        if outcome is not None:
            raise outcome
        fee_wei = tx.gas * GAS_PRICE_WEI
        receipt = TxReceipt(hash=tx.hash, block=block.ref, gas_used=tx.gas, fee_wei=fee_wei)
        return receipt, block

    async def _wait(self, tx: FakeTx) -> FakeBlock:
        chain = self.escrow.chain
        while True:
            block = chain.inclusion(tx.hash)
            if block and chain.head.number - block.ref.number >= self.confirmations:
                return block
            if block is None:
                if tx.nonce < chain.nonce(self.address):
                    raise Unavailable(f"nonce {tx.nonce} was used by another transaction")
                chain.submit(tx)  # dropped, or lost in a reorganisation
                if chain.inclusion(tx.hash):
                    continue
            await chain.wait_change()


class MemoryTransactionLog:
    """A ``TransactionLog`` that keeps its rows in memory; hand it to the wallet's next life.

    Attributes:
        rows: All attempts, oldest first.
    """

    def __init__(self) -> None:
        self.rows: list[Attempt] = []

    async def record(self, attempt: Attempt) -> None:
        """See ``TransactionLog``."""
        await trio.lowlevel.checkpoint()
        for row in self.rows:
            same = (row.intent == attempt.intent, row.nonce == attempt.nonce)
            if row.sender == attempt.sender and any(same) and not all(same):
                raise ValueError(
                    f"intent {attempt.intent} with nonce {attempt.nonce} meets"
                    f" intent {row.intent} with nonce {row.nonce}"
                )
        self.rows.append(attempt)

    async def attempts(self, sender: bytes, intent: str) -> list[Attempt]:
        """See ``TransactionLog``."""
        await trio.lowlevel.checkpoint()
        return [row for row in self.rows if (row.sender, row.intent) == (sender, intent)]

    async def pending(self, sender: bytes) -> list[Attempt]:
        """See ``TransactionLog``."""
        await trio.lowlevel.checkpoint()
        rows = [row for row in self.rows if row.sender == sender and row.outcome is None]
        return sorted(rows, key=lambda row: row.nonce)

    async def settled(self, sender: bytes) -> list[Attempt]:
        """See ``TransactionLog``."""
        await trio.lowlevel.checkpoint()
        rows = [row for row in self.rows if row.sender == sender and row.outcome is not None]
        return sorted(rows, key=lambda row: row.nonce)

    async def settle(self, sender: bytes, nonce: int, outcome: Outcome) -> None:
        """See ``TransactionLog``."""
        await trio.lowlevel.checkpoint()
        self.rows = [
            replace(row, outcome=outcome) if (row.sender, row.nonce) == (sender, nonce) else row
            for row in self.rows
        ]
