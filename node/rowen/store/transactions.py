"""The journal of our own transactions: on disk before they are sent, settled once final.

It satisfies ``rowen.chain.transactions.TransactionLog`` without knowing it: adapters do not
import each other, so the value type of an attempt is handed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from rowen.protocol.ids import ADDRESS_BYTES, HASH_BYTES
from rowen.store.heads import INTEGER_MAX

RAW_BYTES_MAX = 1024 * 1024
INTENT_BYTES_MAX = 256


class AttemptLike(Protocol):
    """What an attempt must tell; see ``rowen.chain.transactions.Attempt``."""

    @property
    def sender(self) -> bytes:
        """20 bytes."""
        ...

    @property
    def intent(self) -> str:
        """Name of the wish."""
        ...

    @property
    def nonce(self) -> int:
        """The sender's transaction number."""
        ...

    @property
    def hash(self) -> bytes:
        """32 bytes."""
        ...

    @property
    def raw(self) -> bytes:
        """The signed transaction."""
        ...

    @property
    def outcome(self) -> str | None:
        """How its nonce ended, or None."""
        ...


A = TypeVar("A", bound=AttemptLike)


class AttemptKept(msgspec.Struct, frozen=True, kw_only=True):
    """One signed transaction, as stored; ``outcome`` is empty while it can still be mined."""

    chain_id: int
    sender: bytes
    intent: str
    nonce: int
    hash: bytes
    raw: bytes
    outcome: str = ""


class NonceSettled(msgspec.Struct, frozen=True, kw_only=True):
    """All attempts of a nonce got their outcome."""

    chain_id: int
    sender: bytes
    nonce: int
    outcome: str


TransactionFact = AttemptKept | NonceSettled
_Nonce = tuple[int, bytes, int]
_Intent = tuple[int, bytes, str]


class AttemptIndex:
    """Which rows belong to which wish: all of it in memory, a few hundred bytes an attempt.

    So a row that vanished from the disk is missed, and no damaged index can hide one.
    """

    def __init__(self) -> None:
        self.count = 0
        self._intent_to_nonce: dict[_Intent, int] = {}
        self._nonce_to_intent: dict[_Nonce, str] = {}
        self._nonce_to_numbers: dict[_Nonce, list[int]] = {}
        self._hash_to_number: dict[bytes, int] = {}
        self._pending: dict[_Nonce, None] = {}

    def check(self, fact: TransactionFact) -> None:
        """Whether it can follow.

        Raises:
            ValueError: An intent would have two nonces, a nonce two intents, or a field does
                not fit its type.
        """
        nonce = (fact.chain_id, fact.sender, fact.nonce)
        if isinstance(fact, NonceSettled):
            if nonce not in self._nonce_to_intent:
                raise ValueError(f"nonce {fact.nonce} of 0x{fact.sender.hex()} has no attempt")
            if not fact.outcome:
                raise ValueError("an outcome is not empty")
            return
        if len(fact.sender) != ADDRESS_BYTES or len(fact.hash) != HASH_BYTES:
            raise ValueError(f"sender 0x{fact.sender.hex()} or hash 0x{fact.hash.hex()} is cut")
        if not (0 <= fact.nonce <= INTEGER_MAX and 0 <= fact.chain_id <= INTEGER_MAX):
            raise ValueError(f"nonce {fact.nonce} or chain {fact.chain_id} is out of range")
        if len(fact.raw) > RAW_BYTES_MAX or len(fact.intent.encode()) > INTENT_BYTES_MAX:
            raise ValueError(f"{len(fact.raw)} bytes are too many, or the intent is too long")
        kept_intent = self._nonce_to_intent.get(nonce, fact.intent)
        if kept_intent != fact.intent:
            raise ValueError(f"nonce {fact.nonce} is kept for {kept_intent}, not {fact.intent}")
        intent = (fact.chain_id, fact.sender, fact.intent)
        kept_nonce = self._intent_to_nonce.get(intent, fact.nonce)
        if kept_nonce != fact.nonce:
            raise ValueError(f"{fact.intent} is kept with nonce {kept_nonce}, not {fact.nonce}")
        if fact.hash in self._hash_to_number:
            raise ValueError(f"transaction 0x{fact.hash.hex()} is kept already")

    def add(self, fact: TransactionFact) -> list[int]:
        """Takes a checked fact; returns the numbers of the rows it concerns."""
        nonce = (fact.chain_id, fact.sender, fact.nonce)
        if isinstance(fact, NonceSettled):
            self._pending.pop(nonce, None)
            return self._nonce_to_numbers[nonce]
        number = self.count
        self.count += 1
        self._intent_to_nonce[fact.chain_id, fact.sender, fact.intent] = fact.nonce
        self._nonce_to_intent[nonce] = fact.intent
        self._nonce_to_numbers.setdefault(nonce, []).append(number)
        self._hash_to_number[fact.hash] = number
        if not fact.outcome:
            self._pending[nonce] = None
        return [number]

    def copy(self) -> AttemptIndex:
        """One that can be added to without changing this one."""
        other = AttemptIndex()
        other.count = self.count
        other._intent_to_nonce = dict(self._intent_to_nonce)
        other._nonce_to_intent = dict(self._nonce_to_intent)
        other._nonce_to_numbers = {key: [*some] for key, some in self._nonce_to_numbers.items()}
        other._hash_to_number = dict(self._hash_to_number)
        other._pending = dict(self._pending)
        return other

    def of_intent(self, chain_id: int, sender: bytes, intent: str) -> list[int]:
        """Rows of an intent, oldest first."""
        nonce = self._intent_to_nonce.get((chain_id, sender, intent))
        return [] if nonce is None else list(self._nonce_to_numbers[chain_id, sender, nonce])

    def pending(self, chain_id: int, sender: bytes) -> list[int]:
        """Rows without an outcome, by nonce and then oldest first."""
        nonces = sorted(key for key in self._pending if key[:2] == (chain_id, sender))
        return [number for key in nonces for number in self._nonce_to_numbers[key]]

    def settled(self, chain_id: int, sender: bytes) -> list[int]:
        """Rows with an outcome, by nonce and then oldest first."""
        known = (key for key in self._nonce_to_numbers if key[:2] == (chain_id, sender))
        nonces = sorted(key for key in known if key not in self._pending)
        return [number for key in nonces for number in self._nonce_to_numbers[key]]


class Transactions(Generic[A]):
    """The transactions of one chain."""

    def __init__(
        self,
        chain_id: int,
        keep: Callable[[TransactionFact], Awaitable[None]],
        find: Callable[[Callable[[AttemptIndex], Iterable[int]]], Awaitable[list[AttemptKept]]],
        attempt: Callable[..., A],
        outcome: Callable[[str], Any],
    ) -> None:
        """Takes how to write and to read, and the caller's types for what is read."""
        self._chain_id = chain_id
        self._keep = keep
        self._find = find
        self._attempt = attempt
        self._outcome = outcome

    async def record(self, attempt: A) -> None:
        """Adds an attempt; returns when it is durable.

        Raises:
            ValueError: Its intent has another nonce, its nonce another intent, or it is kept.
            JournalFailed: See there.
        """
        await self._keep(
            AttemptKept(
                chain_id=self._chain_id,
                sender=attempt.sender,
                intent=attempt.intent,
                nonce=attempt.nonce,
                hash=attempt.hash,
                raw=attempt.raw,
                outcome=attempt.outcome or "",
            )
        )

    async def attempts(self, sender: bytes, intent: str) -> list[A]:
        """All attempts of an intent, oldest first."""
        found = await self._find(lambda index: index.of_intent(self._chain_id, sender, intent))
        return [self._read(kept) for kept in found]

    async def pending(self, sender: bytes) -> list[A]:
        """All attempts that are not settled, by nonce and then oldest first."""
        found = await self._find(lambda index: index.pending(self._chain_id, sender))
        return [self._read(kept) for kept in found]

    async def settled(self, sender: bytes) -> list[A]:
        """All attempts that are, by nonce and then oldest first."""
        found = await self._find(lambda index: index.settled(self._chain_id, sender))
        return [self._read(kept) for kept in found]

    async def settle(self, sender: bytes, nonce: int, outcome: str) -> None:
        """Gives all attempts of a nonce their outcome; returns when it is durable."""
        await self._keep(
            NonceSettled(chain_id=self._chain_id, sender=sender, nonce=nonce, outcome=str(outcome))
        )

    def _read(self, kept: AttemptKept) -> A:
        return self._attempt(
            sender=kept.sender,
            intent=kept.intent,
            nonce=kept.nonce,
            hash=kept.hash,
            raw=kept.raw,
            outcome=self._outcome(kept.outcome) if kept.outcome else None,
        )


def settled(kept: AttemptKept, fact: NonceSettled) -> AttemptKept:
    """The attempt with its outcome."""
    return replace(kept, outcome=fact.outcome)
