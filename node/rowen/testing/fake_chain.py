"""Blocks, a mempool and reorganisations in memory; ``rowen.testing.chain`` stands before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from rowen.chain.base import BlockRef, Deployment
from rowen.chain.events import Event
from rowen.chain.refusals import Reverted
from rowen.chain.staking import StakeDeployment
from rowen.protocol.eip712 import Domain
from rowen.protocol.ids import ZERO_HASH, keccak
from rowen.testing.stake_model import ContractsModel
from rowen.testing.token_model import Call

GAS_PRICE_WEI = 10**9
TX_GAS = 60_000
BALANCE_WEI = 10**18
"""What an address holds that was never told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeTx:
    """A transaction: a rule of the model, with its arguments, in a sender's name."""

    sender: bytes
    nonce: int
    rule: str
    arguments: tuple[Any, ...]
    gas: int = TX_GAS

    @property
    def hash(self) -> bytes:
        """32 bytes."""
        return keccak(repr((self.sender, self.nonce, self.rule, self.arguments)).encode())


@dataclass(slots=True)
class FakeBlock:
    """A block with the state after it.

    Attributes:
        outcomes: For each of its transactions, why it changed nothing, or None.
    """

    ref: BlockRef
    model: ContractsModel
    nonces: dict[bytes, int]
    spent_wei: dict[bytes, int]
    events: list[Event] = field(default_factory=list)
    outcomes: dict[bytes, Reverted | None] = field(default_factory=dict)
    txs: list[FakeTx] = field(default_factory=list)


class FakeChain:
    """Blocks, a mempool, one escrow and one stake.

    Attributes:
        deployment: The escrow's constants.
        stake: The stake's.
        automine: Whether each transaction gets a block at once.
        mempool: Transactions that wait for a block, oldest first.
        gas_price_wei: What it says that gas costs; what is charged is ``GAS_PRICE_WEI``.
    """

    def __init__(
        self,
        *,
        chain_id: int = 31337,
        unlock_delay_s: int = 3_600,
        payout_delay_s: int = 7_200,
        min_lock: int = 1_000,
        unbond_delay_s: int = 7_200,
        penalty: int = 10_000,
        start_s: int = 1_700_000_000,
        block_time_s: int = 12,
        automine: bool = True,
    ) -> None:
        self.deployment = Deployment(
            domain=Domain(chain_id, keccak(b"fake escrow")[12:]),
            token=keccak(b"fake token")[12:],
            unlock_delay_s=unlock_delay_s,
            payout_delay_s=payout_delay_s,
            min_lock=min_lock,
        )
        self.stake = StakeDeployment(
            address=keccak(b"fake stake")[12:], unbond_delay_s=unbond_delay_s, penalty=penalty
        )
        self.automine = automine
        self.gas_price_wei = GAS_PRICE_WEI
        self.mempool: dict[bytes, FakeTx] = {}
        self._block_time_s = block_time_s
        self._skipped_s = 0
        self._branch = 0
        self._funded_wei: dict[bytes, int] = {}
        self._tx_to_height: dict[bytes, int] = {}
        self._changed = trio.Event()
        genesis = BlockRef(0, keccak(b"fake genesis"), ZERO_HASH, start_s)
        self._blocks = [
            FakeBlock(genesis, ContractsModel(self.deployment, stake=self.stake), {}, {})
        ]

    @property
    def head(self) -> BlockRef:
        """The newest block."""
        return self._blocks[-1].ref

    def newest_model(self) -> ContractsModel:
        """The contracts as of the newest block; not to be changed."""
        return self._blocks[-1].model

    def mint(self, to: bytes, amount: int) -> None:
        """Gives tokens, in a transaction of its own."""
        minter = keccak(b"fake minter")[12:]
        nonce = self.nonce(minter) + sum(tx.sender == minter for tx in self.mempool.values())
        self.submit(FakeTx(sender=minter, nonce=nonce, rule="mint", arguments=(to, amount)))

    def set_balance_wei(self, address: bytes, balance_wei: int) -> None:
        """Sets what an address holds for gas."""
        self._funded_wei[address] = balance_wei + self._blocks[-1].spent_wei.get(address, 0)

    def mine(self, count: int = 1) -> None:
        """Adds blocks; the first takes what the mempool can give."""
        for _ in range(count):
            self._mine_one()
        self._changed.set()
        self._changed = trio.Event()

    def warp(self, seconds: int) -> None:
        """Moves the next block's time forward."""
        self._skipped_s += seconds

    def drop(self, tx_hash: bytes) -> None:
        """Makes the mempool forget a transaction, as nodes do under pressure."""
        self.mempool.pop(tx_hash, None)

    def reorg(self, depth: int, *, keep: bool = False) -> None:
        """Replaces the newest ``depth`` blocks by as many others.

        Args:
            depth: 1 up to the head's height.
            keep: Whether their transactions go back to the mempool, and so into the first
                new block; else they are forgotten, and nonces move back.
        """
        if not 1 <= depth <= self.head.number:
            raise ValueError(f"cannot replace {depth} of {self.head.number} blocks")
        removed = self._blocks[-depth:]
        del self._blocks[-depth:]
        for block in removed:
            for tx in block.txs:
                del self._tx_to_height[tx.hash]
        self._branch += 1
        if keep:
            older = {tx.hash: tx for block in removed for tx in block.txs}
            self.mempool = older | self.mempool
        else:
            held, self.mempool = self.mempool, {}
            self._mine_one()
            self.mempool = held
            depth -= 1
        self.mine(depth)

    def submit(self, tx: FakeTx) -> None:
        """Takes a transaction. One that is known, in a block or waiting, changes nothing."""
        if self.inclusion(tx.hash) is None and tx.nonce >= self.nonce(tx.sender):
            self.mempool.setdefault(tx.hash, tx)
            if self.automine:
                self.mine()

    def nonce(self, sender: bytes) -> int:
        """How many of the sender's transactions stand in blocks."""
        return self._blocks[-1].nonces.get(sender, 0)

    def inclusion(self, tx_hash: bytes) -> FakeBlock | None:
        """The block that holds the transaction."""
        height = self._tx_to_height.get(tx_hash)
        return None if height is None else self._blocks[height]

    def block(self, number: int) -> FakeBlock | None:
        """The canonical block of that height."""
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def balance_wei(self, address: bytes) -> int:
        """What an address holds for gas."""
        return self._funded_wei.get(address, BALANCE_WEI) - self._blocks[-1].spent_wei.get(
            address, 0
        )

    def dry_run(self, tx: FakeTx) -> None:
        """Raises ``Reverted`` if the transaction would fail in the next block."""
        trial = self._blocks[-1].model.copy()
        call = Call(tx.sender, self._next_time_s(), lambda *_args, **_fields: None)
        getattr(trial, tx.rule)(call, *tx.arguments)

    async def wait_change(self) -> None:
        """Returns after the next block or reorganisation."""
        await self._changed.wait()

    def _next_time_s(self) -> int:
        return self.head.timestamp_s + self._block_time_s + self._skipped_s

    def _mine_one(self) -> None:
        parent = self._blocks[-1]
        number, time_s = parent.ref.number + 1, self._next_time_s()
        seed = b"%d/%d/%d/" % (number, time_s, self._branch) + parent.ref.hash
        block = FakeBlock(
            BlockRef(number, keccak(seed), parent.ref.hash, time_s),
            parent.model,  # shared until a transaction changes it
            dict(parent.nonces),
            dict(parent.spent_wei),
        )
        self._skipped_s = 0
        for tx in sorted(self.mempool.values(), key=lambda tx: tx.nonce):
            if tx.nonce == block.nonces.get(tx.sender, 0):
                self._execute(block, tx)
        self.mempool = {
            h: tx for h, tx in self.mempool.items() if tx.nonce >= block.nonces.get(tx.sender, 0)
        }
        self._blocks.append(block)

    def _execute(self, block: FakeBlock, tx: FakeTx) -> None:
        events: list[Event] = []

        def emit(kind: Callable[..., Event], **fields: Any) -> None:
            index = len(block.events) + len(events)
            events.append(kind(block=block.ref.number, index=index, tx_hash=tx.hash, **fields))

        model = block.model.copy()
        outcome: Reverted | None = None
        try:
            call = Call(tx.sender, block.ref.timestamp_s, emit)
            getattr(model, tx.rule)(call, *tx.arguments)
        except Reverted as error:
            outcome = error
        else:
            block.model = model
            block.events += events
        block.txs.append(tx)
        self._tx_to_height[tx.hash] = block.ref.number
        block.outcomes[tx.hash] = outcome
        block.nonces[tx.sender] = tx.nonce + 1
        spent = block.spent_wei.get(tx.sender, 0)
        block.spent_wei[tx.sender] = spent + tx.gas * GAS_PRICE_WEI
