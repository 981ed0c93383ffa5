"""One key's hand on the escrow, through JSON-RPC: each method is one call of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rowen.chain.authorizations import Funding, Permit
from rowen.chain.base import Ceiling, ChannelKey, ClaimResult, Spent, TxReceipt, pack_rows
from rowen.chain.calls import escrow as calls
from rowen.chain.calls.escrow import Lock, LockPart
from rowen.chain.codec import Call
from rowen.chain.escrow import RpcEscrow
from rowen.chain.funding import Funder
from rowen.chain.mined import Mined
from rowen.chain.sender import Sender
from rowen.chain.spending import read_spent
from rowen.chain.stake import RpcStake, RpcStakeWallet
from rowen.chain.transactions import FeePolicy, TransactionLog
from rowen.protocol.ids import format_address
from rowen.protocol.signing import Key
from rowen.protocol.statements import Release

# Gas of a claim, rounded up from the measured 46,830 for one row and 14,214 for each of a
# hundred, and 17,100 more for a provider's first credit. The estimate alone could be too low:
# a row that it saw skipped may pay by the time it is mined.
_CLAIM_GAS: Final = 65_000
_CLAIM_ROW_GAS: Final = 18_000


class RpcWallet:
    """See ``Wallet`` for the methods.

    Attributes:
        address: The sender, 20 bytes.
    """

    def __init__(
        self,
        escrow: RpcEscrow,
        key: Key,
        journal: TransactionLog,
        *,
        confirmations: int,
        policy: FeePolicy | None = None,
    ) -> None:
        """Writes through the escrow's first endpoint.

        Args:
            escrow: The contracts.
            key: Signs here, on this machine, and is sent nowhere.
            journal: Of this chain.
            confirmations: Blocks on top of a transaction before a call returns.
            policy: What a transaction may cost.
        """
        self.address = key.address
        self._escrow = escrow
        self._rpc = escrow.endpoints[0]
        self._key = key
        self._journal = journal
        self._sender = Sender(
            self._rpc,
            escrow.deployment.domain.chain_id,
            key,
            journal,
            confirmations=confirmations,
            policy=policy or FeePolicy(),
        )
        self._funder = Funder(escrow, key, self._sender)

    def on_stake(self, stake: RpcStake) -> RpcStakeWallet:
        """The same key's hand on the stake."""
        return RpcStakeWallet(stake, self._sender)

    def __repr__(self) -> str:
        return f"RpcWallet({format_address(self.address)})"

    async def recover(self) -> None:
        """See ``Wallet``."""
        await self._sender.recover()

    async def finish(self, ceiling: Ceiling | None = None) -> bool:
        """See ``Wallet``."""
        return await self._sender.finish(ceiling)

    async def gas_price_wei(self) -> int:
        """See ``Wallet``."""
        return sum(await self._sender.prices())

    async def spent(self) -> list[Spent]:
        """See ``Wallet``."""
        return await read_spent(self._rpc, await self._journal.settled(self.address))

    async def lock(
        self,
        provider: bytes,
        signer: bytes,
        amount: int,
        *,
        intent: str,
        by: Funding | None = None,
    ) -> TxReceipt:
        """See ``Wallet``."""
        return await self._funder.lock(provider, signer, amount, intent=intent, by=by)

    async def lock_many(self, parts: Sequence[LockPart], *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._funder.lock_many(parts, intent=intent)

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
        return await self._funder.lock_for(wanted, signature, by=by, intent=intent, permit=permit)

    async def request_unlock_for(
        self, channel: ChannelKey, deadline_s: int, signature: bytes, *, intent: str
    ) -> TxReceipt:
        """See ``Wallet``."""
        call = calls.request_unlock_for(*channel, deadline_s, signature)
        return await self._call(call, intent=intent)

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
        call = calls.cancel_unlock_for(*channel, unlock_at_s, deadline_s, signature)
        return await self._call(call, intent=intent)

    async def revoke_authorization(self, digest: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(calls.revoke_authorization(digest), intent=intent)

    async def claim(
        self,
        provider: bytes,
        rows: Sequence[bytes],
        *,
        intent: str,
        ceiling: Ceiling | None = None,
    ) -> ClaimResult:
        """See ``Wallet``."""
        mined = await self._submit(
            calls.claim(provider, pack_rows(rows)),
            intent,
            gas_min=_CLAIM_GAS + _CLAIM_ROW_GAS * len(rows),
            ceiling=ceiling,
        )
        return ClaimResult.read(mined.receipt, mined.events, len(rows))

    async def sweep(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(calls.sweep(provider), intent=intent)

    async def request_payout(self, payout: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(calls.request_payout(payout), intent=intent)

    async def apply_payout(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(calls.apply_payout(provider), intent=intent)

    async def veto_payout(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(calls.veto_payout(provider), intent=intent)

    async def request_unlock(self, provider: bytes, signer: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(calls.request_unlock(provider, signer), intent=intent)

    async def cancel_unlock(self, provider: bytes, signer: bytes, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(calls.cancel_unlock(provider, signer), intent=intent)

    async def unlock(self, channel: ChannelKey, *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        return await self._call(calls.unlock(*channel), intent=intent)

    async def release(
        self, channel: ChannelKey, release: Release, signature: bytes, *, intent: str
    ) -> TxReceipt:
        """See ``Wallet``."""
        call = calls.release(
            channel.payer, channel.signer, channel.provider,
            release.total, release.deadline_s, signature[:32], signature[32:],
        )  # fmt: skip
        return await self._call(call, intent=intent)

    async def _call(self, call: Call[Any], *, intent: str) -> TxReceipt:
        return (await self._submit(call, intent)).receipt

    async def _submit(
        self, call: Call[Any], intent: str, *, gas_min: int = 0, ceiling: Ceiling | None = None
    ) -> Mined:
        to = self._escrow.deployment.domain.escrow
        return await self._sender.submit(
            call.name, intent, to, call.data, gas_min=gas_min, ceiling=ceiling
        )
