"""Transactions before they are mined: what is journaled, what they cost, how they are signed.

The journal is what makes a crash harmless. A transaction is on disk before it is sent; the
hash is known before anybody has seen it; sending it again can do nothing new. Raising the fee
makes another attempt with the *same nonce*, so of all attempts of an intent one at most is
ever mined.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from rowen.chain.foreign import recursion_limit_kept
from rowen.chain.merkle_patricia import number, payload, split_list
from rowen.protocol.errors import Unavailable
from rowen.protocol.signing import Key

# EIP-1559 with geth's rule for replacing: both fees at least 10 % up.
# https://geth.ethereum.org/docs/fundamentals/command-line-options (txpool.pricebump)
BUMP_MIN_PERCENT: Final = 10

GWEI: Final = 10**9


class Outcome(StrEnum):
    """How a nonce ended, once that is final."""

    SUCCEEDED = "succeeded"
    REVERTED = "reverted"
    DISPLACED = "displaced"
    """Another transaction used the nonce: somebody else has this key. The wish is still open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One signed transaction; one row of the journal.

    Attributes:
        sender: 20 bytes.
        intent: The caller's name for the wish. One intent has one nonce, and one nonce one
            intent; each fee bump adds an attempt to both.
        nonce: The sender's transaction number.
        hash: Transaction hash, 32 bytes; unique.
        raw: The signed transaction, ready to send.
        outcome: None while it can still be mined.
    """

    sender: bytes
    intent: str
    nonce: int
    hash: bytes
    raw: bytes
    outcome: Outcome | None = None


class TransactionLog(Protocol):
    """The journal of transactions on one chain. A method returns when its work is on disk.

    One table: ``hash`` (primary key), ``sender``, ``intent``, ``nonce``, ``raw``,
    ``outcome``, and the order of insertion; (sender, intent) and (sender, nonce) determine
    each other.
    """

    async def record(self, attempt: Attempt) -> None:
        """Adds an attempt.

        Raises:
            ValueError: Its intent has another nonce, or its nonce another intent.
        """
        ...

    async def attempts(self, sender: bytes, intent: str) -> list[Attempt]:
        """All attempts of an intent, settled or not, oldest first; [] if it is new."""
        ...

    async def pending(self, sender: bytes) -> list[Attempt]:
        """All attempts that are not settled, by nonce and then oldest first."""
        ...

    async def settled(self, sender: bytes) -> list[Attempt]:
        """All attempts that are, by nonce and then oldest first."""
        ...

    async def settle(self, sender: bytes, nonce: int, outcome: Outcome) -> None:
        """Gives all attempts of a nonce their outcome."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePolicy:
    """What a transaction may cost, and how long it may wait.

    Attributes:
        fee_max_wei: Never more than this per unit of gas, all included.
        bump_percent: A stuck transaction offers that much more than before.
        bump_after_s: It is stuck when not mined for that long.
        poll_s: How often the chain is asked.
    """

    fee_max_wei: int = 200 * GWEI
    bump_percent: int = 25
    bump_after_s: float = 60.0
    poll_s: float = 2.0

    def __post_init__(self) -> None:
        if self.bump_percent < BUMP_MIN_PERCENT:
            raise ValueError(f"a bump of {self.bump_percent} % is refused by nodes: at least 10 %")


@dataclass(frozen=True, slots=True)
class Fee:
    """EIP-1559's two numbers, in wei per unit of gas.

    Attributes:
        total_max_wei: Base fee and tip together never exceed it.
        tip_max_wei: For the block's producer.
    """

    total_max_wei: int
    tip_max_wei: int


def first_fee(base_fee_wei: int, tip_wei: int, policy: FeePolicy) -> Fee:
    """Room for the base fee to double, within the ceiling.

    Raises:
        Unavailable: Being mined now already costs more than the ceiling.
    """
    if base_fee_wei + tip_wei > policy.fee_max_wei:
        raise Unavailable(
            f"gas costs {(base_fee_wei + tip_wei) / GWEI:.3f} gwei, above the ceiling of"
            f" {policy.fee_max_wei / GWEI:.3f}: wait, or raise chain.fee_max_gwei"
        )
    return Fee(min(2 * base_fee_wei + tip_wei, policy.fee_max_wei), tip_wei)


def bumped_fee(old: Fee, base_fee_wei: int, tip_wei: int, policy: FeePolicy) -> Fee | None:
    """What replaces a stuck attempt; None when the ceiling leaves no room for a replacement."""

    def raised(fee_wei: int) -> int:
        # Round up: a node compares exactly.
        return -(-fee_wei * (100 + policy.bump_percent) // 100)

    total = max(raised(old.total_max_wei), 2 * base_fee_wei + tip_wei)
    tip = max(raised(old.tip_max_wei), tip_wei)
    total = min(total, policy.fee_max_wei)
    least = -(-old.total_max_wei * (100 + BUMP_MIN_PERCENT) // 100)
    if total < least or tip > total:
        return None
    return Fee(total, tip)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """An EIP-1559 transaction that sends no coin.

    Attributes:
        chain_id: EIP-155.
        nonce: The sender's transaction number.
        to: Contract, 20 bytes.
        data: Call data.
        gas: The most it may use.
        fee: What it offers.
    """

    chain_id: int
    nonce: int
    to: bytes
    data: bytes
    gas: int
    fee: Fee

    def signed(self, key: Key, intent: str) -> Attempt:
        """An attempt, ready to journal. Imports eth_account: about a second, the first time."""
        with recursion_limit_kept():
            from eth_account import Account

        signed = Account.sign_transaction(
            {
                "type": 2,
                "chainId": self.chain_id,
                "nonce": self.nonce,
                "to": self.to,
                "value": 0,
                "data": self.data,
                "gas": self.gas,
                "maxFeePerGas": self.fee.total_max_wei,
                "maxPriorityFeePerGas": self.fee.tip_max_wei,
            },
            key.secret,
        )
        return Attempt(
            sender=key.address,
            intent=intent,
            nonce=self.nonce,
            hash=bytes(signed.hash),
            raw=bytes(signed.raw_transaction),
        )

    @staticmethod
    def read(raw: bytes) -> Transaction:
        """From the bytes of an attempt of ours. Source: EIP-1559."""
        assert raw[0] == 2, "the journal holds EIP-1559 transactions only"
        fields = split_list(raw[1:])
        chain_id, nonce, tip_wei, total_wei, gas = (number(field) for field in fields[:5])
        return Transaction(
            chain_id=chain_id,
            nonce=nonce,
            to=payload(fields[5]),
            data=payload(fields[7]),
            gas=gas,
            fee=Fee(total_wei, tip_wei),
        )
