"""The narrow waist to ``RowenStake``: values and two interfaces, as ``base`` has for the escrow.

Two implementations stand behind them, JSON-RPC (``rowen.chain.stake``) and the simulator's
(``rowen.testing.stake``); both pass one conformance suite. This module imports no web3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rowen.chain.base import TxReceipt
from rowen.protocol.fraud import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeDeployment:
    """What the stake contract was deployed with; none of it can change.

    Attributes:
        address: The contract, 20 bytes.
        unbond_delay_s: From asking for a bond back to getting it; above the escrow's delay.
        penalty: What one offence costs, token units.
    """

    address: bytes
    unbond_delay_s: int
    penalty: int


class BondView(NamedTuple):
    """What a provider has at stake.

    Attributes:
        amount: All of it, token units; all of it can be slashed.
        leaving: The part that was asked back.
        leave_at_s: Unix time from which that can be withdrawn; 0 while nothing leaves.
    """

    amount: int
    leaving: int
    leave_at_s: int

    @property
    def active(self) -> int:
        """What a client should count, token units."""
        return self.amount - self.leaving


class Penalty(NamedTuple):
    """What a slash took, or would take; token units.

    Attributes:
        burned: Nobody's for ever.
        reward: The reporter's.
    """

    burned: int
    reward: int


class SlashResult(NamedTuple):
    """A slash that happened."""

    receipt: TxReceipt
    penalty: Penalty


class Stake(Protocol):
    """One deployment of the stake, read. Raises as ``base.Escrow`` does."""

    @property
    def deployment(self) -> StakeDeployment:
        """Address and constants; read and checked once, when connecting."""
        ...

    async def bond(self, provider: bytes) -> BondView:
        """What a provider has at stake now."""
        ...

    async def paid_for(self, proof: Proof) -> int:
        """What the provider has paid for this offence, token units."""
        ...

    async def expected(self, proof: Proof) -> Penalty:
        """What reporting this now would take; zeros when there is nothing left to take."""
        ...


class StakeWallet(Protocol):
    """One key's hand on the stake. Intents, errors and waiting are as with ``base.Wallet``."""

    @property
    def address(self) -> bytes:
        """The sender, 20 bytes."""
        ...

    async def bond(self, provider: bytes, amount: int, *, intent: str) -> TxReceipt:
        """Adds our tokens to a provider's bond, with an allowance before if it needs one."""
        ...

    async def request_unbond(self, provider: bytes, amount: int, *, intent: str) -> TxReceipt:
        """As the provider or its payout address, asks for part of the bond back."""
        ...

    async def cancel_unbond(self, provider: bytes, *, intent: str) -> TxReceipt:
        """As one of these, takes the request back."""
        ...

    async def withdraw(self, provider: bytes, *, intent: str) -> TxReceipt:
        """Sends what was leaving to the payout address once the delay has passed."""
        ...

    async def slash(self, proof: Proof, *, intent: str) -> SlashResult:
        """Reports an offence; the reward is ours.

        Raises:
            PeerError: The receipts prove nothing. Nothing was sent.
        """
        ...


REWARD_DIVISOR = 4
"""The reporter gets one part of so many, rounded down."""


def penalty_of(bonded: int, unpaid: int) -> Penalty:
    """How a slash is divided: the contract's rule.

    Args:
        bonded: All the provider has at stake, token units.
        unpaid: Of the penalty for this offence.
    """
    taken = min(bonded, unpaid)
    reward = taken // REWARD_DIVISOR
    return Penalty(taken - reward, reward)
