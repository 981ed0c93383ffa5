"""One key's transactions, from a wish to N confirmations, through crashes and reorganisations.

Order is everything: sign → journal → send → watch. Whatever happens after "journal" is made
good by sending the same bytes again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Final

import trio

from rowen.chain.base import BlockRef, Ceiling
from rowen.chain.contract import decode_revert
from rowen.chain.mined import Mined, find_mined, read_mined, why_reverted
from rowen.chain.refusals import Reverted, TooLittleGas
from rowen.chain.rpc import Rpc, RpcError, quantity, to_hex
from rowen.chain.transactions import (
    Attempt,
    FeePolicy,
    Outcome,
    Transaction,
    TransactionLog,
    bumped_fee,
    first_fee,
)
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address
from rowen.protocol.signing import Key

log = logging.getLogger(__name__)

# What nodes say of a transaction that they, or the chain, have already: geth, erigon,
# nethermind, anvil. "underpriced": a later attempt is there, or the fee has to be bumped.
_KNOWN: Final = ("already known", "already imported", "alreadyknown", "known transaction")
_PASSED: Final = ("nonce too low", "nonce is too low", "oldnonce")
_CHEAP: Final = ("underpriced", "less than block base fee", "below the minimum", "fee too low")


class Sender:
    """Writes for one key. Nobody else may: in a process there is one of it, on disk one log.

    Attributes:
        address: The key's address, 20 bytes.
    """

    def __init__(
        self,
        rpc: Rpc,
        chain_id: int,
        key: Key,
        journal: TransactionLog,
        *,
        confirmations: int,
        policy: FeePolicy,
    ) -> None:
        self.address = key.address
        self._rpc = rpc
        self._chain_id = chain_id
        self._key = key
        self._journal = journal
        self._confirmations = confirmations
        self._policy = policy
        self._writing = trio.Lock()

    async def recover(self) -> None:
        """Settles what is final and sends again, lowest nonce first, what may have got lost.

        Raises:
            Unavailable: The chain cannot be asked.
            UserError: The key was used elsewhere.
        """
        pending: dict[int, list[Attempt]] = {}
        for attempt in await self._journal.pending(self.address):
            pending.setdefault(attempt.nonce, []).append(attempt)
        for attempts in pending.values():
            found = await find_mined(self._rpc, attempts)
            if found is None:
                await self._revive(attempts)
            elif await self._is_final(found[1]):
                await self._settle(attempts, found[0])

    async def finish(self, ceiling: Ceiling | None = None) -> bool:
        """Follows what is recorded until all of it is final, lowest nonce first.

        Args:
            ceiling: Lifts the policy's.

        Returns:
            Whether there was anything to follow.

        Raises:
            Unavailable: The chain cannot be asked.
            UserError: The key was used elsewhere.
        """
        pending: dict[int, list[Attempt]] = {}
        for attempt in await self._journal.pending(self.address):
            pending.setdefault(attempt.nonce, []).append(attempt)
        for attempts in pending.values():
            try:
                await self._follow(attempts[0].intent, attempts, ceiling)
            except Reverted as error:
                # Whoever wished for it has gone; that it failed is its final word.
                log.info("transaction of a former life failed", extra={"why": str(error)})
        return bool(pending)

    async def submit(
        self,
        call: str,
        intent: str,
        to: bytes,
        data: bytes,
        *,
        gas_min: int = 0,
        ceiling: Ceiling | None = None,
    ) -> Mined:
        """Has a call mined and confirmed; for a known intent, follows the transaction it has.

        Args:
            call: What it is, for messages.
            intent: See ``Attempt``. A wish whose nonce somebody else used up is tried anew.
            to: Contract, 20 bytes.
            data: Call data; ignored for a known intent.
            gas_min: Gas limit where the estimate could be too low.
            ceiling: Lifts the policy's.

        Raises:
            Unavailable: The chain cannot be asked, or gas costs more than the ceiling.
            Reverted: The call fails, now or when it was mined.
            UserError: Too little gas money, or the key is used elsewhere.
        """
        async with self._writing:
            intent, attempts = await self._open(intent)
            if not attempts:
                attempt = await self._prepare(call, intent, to, data, gas_min, ceiling)
                await self._record(attempt)
                attempts = [attempt]
                await self._send(attempt)
        return await self._follow(call, attempts, ceiling)

    async def resume(self, call: str, intent: str) -> Mined:
        """Follows the transaction that a known intent has; raises as ``submit``."""
        _, attempts = await self._open(intent)
        assert attempts, "asked with is_known before"
        return await self._follow(call, attempts)

    async def is_known(self, intent: str) -> bool:
        """Whether the intent has a transaction that was, or can still be, mined."""
        return bool((await self._open(intent))[1])

    async def _open(self, intent: str) -> tuple[str, list[Attempt]]:
        """The name under which the wish goes on, and its attempts there.

        A displaced attempt can never be mined, so its wish is as unfulfilled as a new one. It
        gets a name of its own, because the journal keeps one nonce to an intent.
        """
        for number in count():
            name = f"{intent}~{number}" if number else intent
            attempts = await self._journal.attempts(self.address, name)
            if not attempts or attempts[0].outcome is not Outcome.DISPLACED:
                return name, attempts
        raise AssertionError  # count() does not end

    async def _prepare(
        self,
        call: str,
        intent: str,
        to: bytes,
        data: bytes,
        gas_min: int,
        ceiling: Ceiling | None,
    ) -> Attempt:
        gas = max(await self._estimate(call, to, data), gas_min)
        fee = first_fee(*await self.prices(), self._lifted(ceiling, intent, gas))
        balance_wei, next_nonce = await self._account()
        missing_wei = gas * fee.total_max_wei - balance_wei
        if missing_wei > 0:
            raise TooLittleGas(self.address, missing_wei, self._chain_id)
        tx = Transaction(
            chain_id=self._chain_id,
            nonce=next_nonce,
            to=to,
            data=data,
            gas=gas,
            fee=fee,
        )
        return await trio.to_thread.run_sync(tx.signed, self._key, intent)

    def _lifted(self, ceiling: Ceiling | None, intent: str, gas: int) -> FeePolicy:
        """The policy, with a higher ceiling if there is one for this transaction now."""
        if ceiling is None or ceiling(intent, gas) <= self._policy.fee_max_wei:
            return self._policy
        return replace(self._policy, fee_max_wei=ceiling(intent, gas))

    async def _estimate(self, call: str, to: bytes, data: bytes) -> int:
        fields = {"from": to_hex(self.address), "to": to_hex(to), "data": to_hex(data)}
        try:
            gas = await self._number("eth_estimateGas", fields)
        except RpcError as error:
            if not error.data and "revert" not in error.reason:
                raise
            raise decode_revert(call, error.data) from error
        # The state may move before the transaction is mined. Unused gas costs nothing.
        return gas * 5 // 4

    async def _account(self) -> tuple[int, int]:
        """What the key has for gas, in wei, and its next free nonce."""
        address = to_hex(self.address)
        answers = await self._rpc.batch(
            [
                ("eth_getBalance", (address, "latest")),
                ("eth_getTransactionCount", (address, "latest")),
                ("eth_getTransactionCount", (address, "pending")),
            ]
        )
        with self._rpc.reading("eth_getTransactionCount"):
            balance_wei, mined, waiting = (quantity(answer) for answer in answers)
        ours = [attempt.nonce + 1 for attempt in await self._journal.pending(self.address)]
        return balance_wei, max(mined, waiting, *ours)

    async def prices(self) -> tuple[int, int]:
        """The newest block's base fee and the tip that is usual, wei per unit of gas."""
        block, tip_wei = await self._rpc.batch(
            [("eth_getBlockByNumber", ("latest", False)), ("eth_maxPriorityFeePerGas", ())]
        )
        with self._rpc.reading("eth_getBlockByNumber"):
            return quantity(block["baseFeePerGas"]), quantity(tip_wei)

    async def _send(self, attempt: Attempt) -> None:
        """Sends a journaled attempt; being known, mined or too cheap is no failure."""
        try:
            await self._rpc.call("eth_sendRawTransaction", to_hex(attempt.raw))
        except RpcError as error:
            reason = error.reason.lower()
            if not any(text in reason for text in (*_KNOWN, *_PASSED, *_CHEAP)):
                if "insufficient funds" in reason:
                    raise UserError(
                        f"{format_address(self.address)} has too little coin for gas on chain"
                        f" {self._chain_id} to send transaction {attempt.nonce}: send it some"
                    ) from error
                raise

    async def _follow(
        self, call: str, attempts: list[Attempt], ceiling: Ceiling | None = None
    ) -> Mined:
        sent_at = trio.current_time()
        while True:
            mined = await self._look(call, attempts)
            if mined is not None:
                return mined
            await trio.sleep(self._policy.poll_s)
            if trio.current_time() - sent_at >= self._policy.bump_after_s:
                sent_at = trio.current_time()
                async with self._writing:
                    # An older transaction that got lost holds this one up: send it first.
                    await self._push()
                    attempts = await self._bump(attempts, ceiling)

    async def _look(self, call: str, attempts: list[Attempt]) -> Mined | None:
        """The result, once it is final."""
        found = await find_mined(self._rpc, attempts)
        if found is None:
            await self._revive(attempts)
            return None
        receipt, block = found
        if not await self._is_final(block):
            return None
        with self._rpc.reading("eth_getTransactionReceipt"):
            result = read_mined(receipt, block)
        if not await self._settle(attempts, receipt):
            raise await why_reverted(self._rpc, call, attempts[0], block)
        return result

    async def _is_final(self, block: BlockRef) -> bool:
        # Asked after the block was: if it has been replaced since, it was by a
        # reorganisation deeper than the confirmations we were told to trust.
        return await self._number("eth_blockNumber") - block.number >= self._confirmations

    async def _settle(self, attempts: Sequence[Attempt], receipt: Any) -> bool:
        with self._rpc.reading("eth_getTransactionReceipt"):
            succeeded = quantity(receipt["status"]) == 1
        outcome = Outcome.SUCCEEDED if succeeded else Outcome.REVERTED
        await self._journal.settle(self.address, attempts[0].nonce, outcome)
        return succeeded

    async def _revive(self, attempts: Sequence[Attempt]) -> None:
        """Sends again what no node knows; notices a nonce that somebody else used up."""
        newest = attempts[-1]
        if await self._rpc.call("eth_getTransactionByHash", to_hex(newest.hash)) is not None:
            return
        if await self._is_displaced(attempts):
            await self._journal.settle(self.address, newest.nonce, Outcome.DISPLACED)
            raise self._displaced(newest.nonce)
        async with self._writing:
            await self._push()

    def _displaced(self, nonce: int) -> UserError:
        return UserError(
            f"another program used nonce {nonce} of {format_address(self.address)}:"
            " a key may belong to one running node only"
        )

    async def _is_displaced(self, attempts: Sequence[Attempt]) -> bool:
        height = await self._number("eth_blockNumber") - self._confirmations
        if height < 0:
            return False
        used = await self._number("eth_getTransactionCount", to_hex(self.address), hex(height))
        # Asked once more, afterwards: it may have been mined between the two questions.
        return used > attempts[0].nonce and await find_mined(self._rpc, attempts) is None

    async def _record(self, attempt: Attempt) -> None:
        try:
            await self._journal.record(attempt)
        except ValueError as error:
            raise UserError(
                f"nonce {attempt.nonce} of {format_address(self.address)} was used and is free"
                f" again: chain {self._chain_id} reorganised deeper than"
                f" {self._confirmations} blocks, or it is not the chain of this journal"
            ) from error

    async def _push(self) -> None:
        """Sends the newest attempt of every pending nonce, by nonce: a gap holds up the rest."""
        pending = await self._journal.pending(self.address)
        newest = {attempt.nonce: attempt for attempt in pending}
        for attempt in newest.values():
            await self._send(attempt)

    async def _bump(self, attempts: list[Attempt], ceiling: Ceiling | None) -> list[Attempt]:
        """The attempts with one more that offers a higher fee, if the ceiling allows it."""
        if await find_mined(self._rpc, attempts) is not None:
            return attempts
        tx = Transaction.read(attempts[-1].raw)
        policy = self._lifted(ceiling, attempts[-1].intent, tx.gas)
        fee = bumped_fee(tx.fee, *await self.prices(), policy)
        if fee is None:
            log.warning(
                "transaction is stuck at the fee ceiling",
                extra={"nonce": tx.nonce, "intent": attempts[-1].intent},
            )
            return attempts
        dearer = Transaction(
            chain_id=tx.chain_id, nonce=tx.nonce, to=tx.to, data=tx.data, gas=tx.gas, fee=fee
        )
        attempt = await trio.to_thread.run_sync(dearer.signed, self._key, attempts[-1].intent)
        await self._record(attempt)
        log.info("transaction fee raised", extra={"nonce": tx.nonce, "intent": attempt.intent})
        await self._send(attempt)
        return [*attempts, attempt]

    async def _number(self, method: str, *params: object) -> int:
        answer = await self._rpc.call(method, *params)
        with self._rpc.reading(method):
            return quantity(answer)
