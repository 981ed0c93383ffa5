"""The stake of a ``FakeChain``; see ``rowen.testing.chain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rowen.chain.base import TxReceipt
from rowen.chain.events import Slashed
from rowen.chain.refusals import Reverted, TooFewTokens
from rowen.chain.staking import BondView, Penalty, SlashResult, StakeDeployment, penalty_of
from rowen.protocol.amounts import format_usd
from rowen.protocol.errors import UserError
from rowen.protocol.fraud import Proof, check
from rowen.protocol.ids import format_address
from rowen.testing.chain import FakeEscrow, FakeWallet
from rowen.testing.fake_chain import FakeBlock
from rowen.testing.stake_model import offence_key


@dataclass(frozen=True, slots=True)
class FakeStake:
    """See ``staking.Stake``."""

    escrow: FakeEscrow

    @property
    def deployment(self) -> StakeDeployment:
        """See ``Stake``."""
        return self.escrow.chain.stake

    async def bond(self, provider: bytes) -> BondView:
        """See ``Stake``."""
        await self.escrow.head()
        return self.escrow.chain.newest_model().bonds.get(provider, BondView(0, 0, 0))

    async def paid_for(self, proof: Proof) -> int:
        """See ``Stake``."""
        await self.escrow.head()
        return self.escrow.chain.newest_model().paid.get(offence_key(proof), 0)

    async def expected(self, proof: Proof) -> Penalty:
        """See ``Stake``."""
        bond = await self.bond(proof.channel.provider)
        return penalty_of(bond.amount, self.deployment.penalty - await self.paid_for(proof))


@dataclass(frozen=True, slots=True)
class FakeStakeWallet:
    """See ``staking.StakeWallet``."""

    wallet: FakeWallet

    @property
    def address(self) -> bytes:
        """See ``StakeWallet``."""
        return self.wallet.address

    async def bond(self, provider: bytes, amount: int, *, intent: str) -> TxReceipt:
        """See ``StakeWallet``."""
        if intent not in self.wallet.journal:
            missing = amount - await self.wallet.escrow.token_balance(self.address)
            if missing > 0:
                raise TooFewTokens(self.address, missing, f"to bond {format_usd(amount)}")
            stake = self.wallet.escrow.chain.stake
            held = self.wallet.escrow.chain.newest_model().bonds.get(provider)
            bonded = amount + (held.amount if held else 0)
            if bonded < stake.penalty:
                raise Reverted("bond", "BondBelowPenalty", (bonded, stake.penalty))
            await self.wallet.allow(stake.address, amount, intent)
        return (await self.wallet.send(intent, "bond", provider, amount))[0]

    async def request_unbond(self, provider: bytes, amount: int, *, intent: str) -> TxReceipt:
        """See ``StakeWallet``."""
        return (await self._send(intent, "request_unbond", provider, amount))[0]

    async def cancel_unbond(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``StakeWallet``."""
        return (await self._send(intent, "cancel_unbond", provider))[0]

    async def withdraw(self, provider: bytes, *, intent: str) -> TxReceipt:
        """See ``StakeWallet``."""
        return (await self._send(intent, "withdraw", provider))[0]

    async def slash(self, proof: Proof, *, intent: str) -> SlashResult:
        """See ``StakeWallet``."""
        check(proof, self.wallet.escrow.deployment.domain)
        receipt, block = await self._send(intent, "slash", proof)
        (event,) = (
            each
            for each in block.events
            if isinstance(each, Slashed) and each.tx_hash == receipt.hash
        )
        return SlashResult(receipt, Penalty(event.burned, event.reward))

    async def _send(self, intent: str, rule: str, *arguments: Any) -> tuple[TxReceipt, FakeBlock]:
        try:
            return await self.wallet.send(intent, rule, *arguments)
        except Reverted as error:
            if error.error == "NotProvider":
                raise UserError(
                    f"{format_address(self.address)} may not decide over this bond: only the"
                    " provider and its payout address do"
                ) from error
            raise
