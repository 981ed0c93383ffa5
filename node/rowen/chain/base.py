"""The narrow waist between Rowen and any chain: values and two interfaces.

``Escrow`` reads one deployment of the contracts, ``Wallet`` writes to it with one key. Two
implementations stand behind them: JSON-RPC (``rowen.chain.escrow``, ``rowen.chain.wallet``)
and the simulator's (``rowen.testing.chain``); both pass one conformance suite.

This module imports no web3, so that typing against it costs nothing.

Confirmations: a block has N of them when N blocks stand on top of it, so 0 means the newest
block. On a chain shorter than N nothing is confirmed: channels read as empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import uuid4

from rowen.chain.events import Claimed, Event, RowSkipped, SkipReason
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import Unavailable
from rowen.protocol.ids import channel_id_of
from rowen.protocol.statements import Release

if TYPE_CHECKING:
    from rowen.chain.authorizations import Funding, Permit, TokenFacts
    from rowen.chain.calls.escrow import Lock, LockPart

CLAIM_ROW_BYTES = 132
"""``payer 20 | total 12 | receiptCount 4 | receiptsRoot 32 | r 32 | vs 32`` bytes, packed."""

CLAIM_ROWS_MAX = 1_000
"""Rows in one claim. 1,200 would fill a transaction under Osaka's cap of 16,777,216 gas."""


class BlockRef(NamedTuple):
    """One block of the chain.

    Attributes:
        number: Height.
        hash: keccak256 of the header, 32 bytes.
        parent_hash: Of the block below, 32 bytes.
        timestamp_s: Unix time by which the contracts judge deadlines, in seconds.
    """

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp_s: int


class ChannelKey(NamedTuple):
    """What names a channel: three addresses of 20 bytes.

    Attributes:
        payer: Wallet that funds it and gets refunds.
        provider: Operator address of who earns.
        signer: Session key whose vouchers spend it.
    """

    payer: bytes
    provider: bytes
    signer: bytes

    @property
    def id(self) -> bytes:
        """The escrow's key for the channel, 32 bytes."""
        return channel_id_of(self.payer, self.provider, self.signer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the escrow contract was deployed with; none of it can change.

    Attributes:
        domain: Chain id and escrow address, as every signature is bound to them.
        token: The one ERC-20 of this escrow, 20 bytes.
        unlock_delay_s: From ``request_unlock`` to ``unlock``.
        payout_delay_s: From requesting a payout address to its taking over.
        min_lock: The least a channel can be opened with, token units.
    """

    domain: Domain
    token: bytes
    unlock_delay_s: int
    payout_delay_s: int
    min_lock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TxReceipt:
    """A transaction that succeeded and has the confirmations the wallet was told to wait for.

    Attributes:
        hash: Transaction hash, 32 bytes. After a fee bump, that of the one that was mined.
        block: Where it stands.
        gas_used: Gas.
        fee_wei: What it cost the sender, in the chain's own coin.
    """

    hash: bytes
    block: BlockRef
    gas_used: int
    fee_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one of our mined transactions cost.

    Attributes:
        kind: First word of its intent: ``claim``, ``sweep``, ``lock``, ``payout``…
        hash: 32 bytes.
        time_s: Of its block, Unix time.
        fee_wei: In the chain's own coin, with what a rollup adds for its data.
        has_succeeded: A transaction that was reverted costs as much.
    """

    kind: str
    hash: bytes
    time_s: int
    fee_wei: int
    has_succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """What a claim did, row by row.

    Attributes:
        receipt: The transaction.
        rows: For each row of the claim, in order: its event, or why it was not paid.
    """

    receipt: TxReceipt
    rows: tuple[Claimed | SkipReason, ...]

    @staticmethod
    def read(receipt: TxReceipt, events: Sequence[Event], count: int) -> ClaimResult:
        """From the events of the claim's transaction and the number of its rows.

        Raises:
            Unavailable: They are not the events of such a claim.
        """
        mine = [event for event in events if event.tx_hash == receipt.hash]
        rows: dict[int, Claimed | SkipReason] = {
            event.row: event.reason for event in mine if isinstance(event, RowSkipped)
        }
        paid = [event for event in mine if isinstance(event, Claimed)]
        unpaid = (index for index in range(count) if index not in rows)
        if len(paid) + len(rows) != count or any(index >= count for index in rows):
            raise Unavailable(
                f"claim 0x{receipt.hash.hex()} of {count} rows shows {len(paid)} paid"
                f" and {len(rows)} skipped"
            )
        rows |= dict(zip(unpaid, paid, strict=True))
        return ClaimResult(receipt=receipt, rows=tuple(rows[index] for index in range(count)))


def pack_rows(rows: Sequence[bytes]) -> bytes:
    """The rows of one claim, end to end.

    Raises:
        ValueError: No row, too many, or one that is not ``CLAIM_ROW_BYTES`` long.
    """
    if not 1 <= len(rows) <= CLAIM_ROWS_MAX:
        raise ValueError(f"a claim has {len(rows)} rows, expected 1 to {CLAIM_ROWS_MAX}")
    for row in rows:
        if len(row) != CLAIM_ROW_BYTES:
            raise ValueError(f"a claim row has {len(row)} bytes, expected {CLAIM_ROW_BYTES}")
    return b"".join(rows)


def fresh_intent(kind: str) -> str:
    """A name for a new wish, such as ``lock-5f0c…``; keep it if the wish must survive a crash."""
    return f"{kind}-{uuid4().hex}"


class Escrow(Protocol):
    """One deployment of the escrow, read.

    Every method raises ``Unavailable`` when the chain cannot be asked or its endpoints disagree.
    """

    @property
    def deployment(self) -> Deployment:
        """Domain, token and constants; read and checked once, when connecting."""
        ...

    async def head(self) -> BlockRef:
        """The newest block."""
        ...

    async def blocks(self, first: int, last: int) -> list[BlockRef]:
        """The canonical blocks of heights ``first`` to ``last``, as far as they exist."""
        ...

    async def events(self, blocks: Sequence[BlockRef]) -> list[Event]:
        """All of the escrow's events in exactly these blocks, in order.

        Raises:
            Unavailable: Also when one of the blocks is no longer canonical.
        """
        ...

    async def channel(self, channel_id: bytes, *, confirmations: int) -> ChannelView:
        """The channel as of that many confirmations; all zero if it was not funded by then."""
        ...

    async def channels(
        self, channel_ids: Sequence[bytes], *, confirmations: int
    ) -> list[ChannelView]:
        """As ``channel``, for many at one height, in their order; few round trips."""
        ...

    async def credit(self, provider: bytes) -> int:
        """Claimed by the provider and not swept yet, now; token units."""
        ...

    async def payout(self, provider: bytes) -> bytes:
        """Where the provider's earnings go now, 20 bytes."""
        ...

    async def pending_payout(self, provider: bytes) -> tuple[bytes, int]:
        """The payout address that waits to take over, and its Unix time; zeros if none does."""
        ...

    async def token_balance(self, address: bytes) -> int:
        """Tokens an address holds now, token units."""
        ...

    async def token_facts(self, owner: bytes) -> TokenFacts:
        """What the token lets this owner do by signature, now."""
        ...

    async def balance_wei(self, address: bytes) -> int:
        """The chain's own coin an address holds now, for gas."""
        ...


Ceiling = Callable[[str, int], int]
"""From an intent and its gas limit to wei that a unit may cost, now; the larger ceiling holds."""


class Wallet(Protocol):
    """One key's hand on the escrow. One task at a time writes; the others wait.

    ``intent`` names a wish. Every attempt to fulfil it uses one nonce, and is on disk before
    it is sent; so a call repeated with the same intent, even by another process after a
    crash, finds the first one's transaction and never makes a second.

    All raise:
        Unavailable: The chain cannot be asked. The transaction, if any, stays pending.
        Reverted: The contract says no.
        UserError: Too little gas money or too few tokens; the message says how much is missing.

    They wait for confirmations, so callers bound them in time. A cancelled call leaves its
    transaction pending.
    """

    @property
    def address(self) -> bytes:
        """The sender, 20 bytes."""
        ...

    async def recover(self) -> None:
        """After a start: sends again what was recorded but not yet settled."""
        ...

    async def finish(self, ceiling: Ceiling | None = None) -> bool:
        """Waits until all that was recorded is final, raising fees like the call that sent it.

        Args:
            ceiling: Lifts the wallet's own ceiling of fees, as long as it says.

        Returns:
            Whether anything was not.
        """
        ...

    async def gas_price_wei(self) -> int:
        """What a unit of gas costs now: the newest block's base fee and the usual tip."""
        ...

    async def spent(self) -> list[Spent]:
        """Every final transaction of this key that this journal knows, oldest first."""
        ...

    async def lock(
        self,
        provider: bytes,
        signer: bytes,
        amount: int,
        *,
        intent: str,
        by: Funding | None = None,
    ) -> TxReceipt:
        """Moves tokens into our channel with (provider, signer).

        Args:
            provider: 20 bytes.
            signer: Session key, 20 bytes.
            amount: Token units.
            intent: See the class.
            by: How; by default the first way that the token takes, so that one transaction
                does it where that is possible: permit, authorization, Permit2, approve.
        """
        ...

    async def lock_many(self, parts: Sequence[LockPart], *, intent: str) -> TxReceipt:
        """``lock`` for many channels, all or none; one transaction, and one for an allowance."""
        ...

    async def lock_for(
        self,
        wanted: Lock,
        signature: bytes,
        *,
        by: Funding,
        intent: str,
        permit: Permit | None = None,
    ) -> TxReceipt:
        """``lock`` for another payer, who signed; we pay the gas.

        Args:
            wanted: What the payer wants.
            signature: Of a key 65 bytes, of a wallet any.
            by: What was signed: ``APPROVE`` and ``PERMIT`` a lock out of the allowance.
            intent: See the class.
            permit: With ``PERMIT``: the allowance to give the escrow before, unless it has it.
        """
        ...

    async def request_unlock_for(
        self, channel: ChannelKey, deadline_s: int, signature: bytes, *, intent: str
    ) -> TxReceipt:
        """``request_unlock`` for another payer, who signed."""
        ...

    async def cancel_unlock_for(
        self,
        channel: ChannelKey,
        unlock_at_s: int,
        deadline_s: int,
        signature: bytes,
        *,
        intent: str,
    ) -> TxReceipt:
        """``cancel_unlock`` of the request due at ``unlock_at_s``, for a payer who signed."""
        ...

    async def revoke_authorization(self, digest: bytes, *, intent: str) -> TxReceipt:
        """Voids what we signed for ``lock_for`` or an unlock and nobody has sent yet."""
        ...

    async def claim(
        self,
        provider: bytes,
        rows: Sequence[bytes],
        *,
        intent: str,
        ceiling: Ceiling | None = None,
    ) -> ClaimResult:
        """Puts vouchers on chain: 1 to ``CLAIM_ROWS_MAX`` rows of ``CLAIM_ROW_BYTES``.

        Args:
            provider: Whose.
            rows: The vouchers.
            intent: See the class.
            ceiling: Lifts the wallet's own ceiling of fees, as long as it says.
        """
        ...

    async def sweep(self, provider: bytes, *, intent: str) -> TxReceipt:
        """Sends the provider's credit to its payout address."""
        ...

    async def request_payout(self, payout: bytes, *, intent: str) -> TxReceipt:
        """Sets our payout address: at once if never set, else after the delay."""
        ...

    async def apply_payout(self, provider: bytes, *, intent: str) -> TxReceipt:
        """Puts a requested payout address in force once its delay has passed."""
        ...

    async def veto_payout(self, provider: bytes, *, intent: str) -> TxReceipt:
        """As the present payout address, refuses the requested successor."""
        ...

    async def request_unlock(self, provider: bytes, signer: bytes, *, intent: str) -> TxReceipt:
        """Starts our way out of the channel."""
        ...

    async def cancel_unlock(self, provider: bytes, signer: bytes, *, intent: str) -> TxReceipt:
        """Takes the request back."""
        ...

    async def unlock(self, channel: ChannelKey, *, intent: str) -> TxReceipt:
        """Refunds the payer once the delay has passed."""
        ...

    async def release(
        self, channel: ChannelKey, release: Release, signature: bytes, *, intent: str
    ) -> TxReceipt:
        """Refunds the payer at once, with the provider's 64-byte signature of ``release``."""
        ...
