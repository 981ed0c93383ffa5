"""Two worlds behind one interface: the fake chain, and the contracts on anvil."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
import trio
from _pytest.fixtures import SubRequest

from rowen.chain.base import ChannelKey, Escrow, Wallet
from rowen.chain.devnet import Devnet, devnet_key, open_devnet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.stake import RpcStake
from rowen.chain.staking import Stake, StakeWallet
from rowen.chain.transactions import FeePolicy
from rowen.chain.wallet import RpcWallet
from rowen.protocol.ids import ZERO_HASH
from rowen.protocol.signing import Key
from rowen.protocol.statements import Voucher
from rowen.testing.chain import FakeChain, FakeEscrow, FakeWallet, MemoryTransactionLog
from rowen.testing.stake import FakeStake, FakeStakeWallet

PAYER, PROVIDER, SESSION, STRANGER = (devnet_key(number) for number in range(4))
CHANNEL = ChannelKey(PAYER.address, PROVIDER.address, SESSION.address)
COIN_WEI = 10**18
MIN_LOCK = 1_000
UNLOCK_DELAY_S = 3_600
PAYOUT_DELAY_S = 7_200
UNBOND_DELAY_S = 5_400
PENALTY = 10_000
CONSTANTS = {
    "min_lock": MIN_LOCK,
    "unlock_delay_s": UNLOCK_DELAY_S,
    "payout_delay_s": PAYOUT_DELAY_S,
    "unbond_delay_s": UNBOND_DELAY_S,
    "penalty": PENALTY,
}
QUICK = FeePolicy(poll_s=0.01, bump_after_s=0.1)


class World(Protocol):
    """What the tests need of a chain, beside the two interfaces under test."""

    escrow: Escrow

    def wallet(self, key: Key, *, confirmations: int = 0, life: str = "") -> Wallet:
        """A wallet; those with the same ``life`` share a journal, as one process's lives do."""
        ...

    async def stake(self) -> Stake: ...

    async def stake_wallet(self, key: Key) -> StakeWallet: ...

    async def mint(self, to: bytes, amount: int) -> None: ...

    async def set_balance_wei(self, address: bytes, balance_wei: int) -> None: ...

    async def mine(self, count: int = 1) -> None: ...

    async def warp(self, seconds: int) -> None: ...

    async def reorg(self, depth: int) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self.chain = FakeChain(**CONSTANTS)  # type: ignore[arg-type]  # all are ints
        self.fake = FakeEscrow(self.chain)
        self.escrow: Escrow = self.fake
        self._journals: dict[tuple[bytes, str], Any] = {}

    def wallet(self, key: Key, *, confirmations: int = 0, life: str = "") -> Wallet:
        journal = self._journals.setdefault((key.address, life), {})
        return FakeWallet(self.fake, key.address, confirmations, journal)

    async def stake(self) -> Stake:
        return FakeStake(self.fake)

    async def stake_wallet(self, key: Key) -> StakeWallet:
        wallet = self.wallet(key)
        assert isinstance(wallet, FakeWallet)
        return FakeStakeWallet(wallet)

    async def mint(self, to: bytes, amount: int) -> None:
        self.chain.mint(to, amount)

    async def set_balance_wei(self, address: bytes, balance_wei: int) -> None:
        self.chain.set_balance_wei(address, balance_wei)

    async def mine(self, count: int = 1) -> None:
        self.chain.mine(count)

    async def warp(self, seconds: int) -> None:
        self.chain.warp(seconds)

    async def reorg(self, depth: int) -> None:
        self.chain.reorg(depth)


class AnvilWorld:
    def __init__(self, devnet: Devnet, escrow: RpcEscrow) -> None:
        self.devnet = devnet
        self.rpc_escrow = escrow
        self.escrow: Escrow = escrow
        self.journals: dict[tuple[bytes, str], MemoryTransactionLog] = {}

    def wallet(
        self, key: Key, *, confirmations: int = 0, life: str = "", policy: FeePolicy = QUICK
    ) -> RpcWallet:
        journal = self.journals.setdefault((key.address, life), MemoryTransactionLog())
        return RpcWallet(self.rpc_escrow, key, journal, confirmations=confirmations, policy=policy)

    async def stake(self) -> RpcStake:
        return await RpcStake.connect(self.rpc_escrow, self.devnet.stake)

    async def stake_wallet(self, key: Key) -> StakeWallet:
        return self.wallet(key).on_stake(await self.stake())

    async def mint(self, to: bytes, amount: int) -> None:
        await self.devnet.mint(to, amount)

    async def set_balance_wei(self, address: bytes, balance_wei: int) -> None:
        await self.devnet.set_balance_wei(address, balance_wei)

    async def mine(self, count: int = 1) -> None:
        await self.devnet.mine(count)

    async def warp(self, seconds: int) -> None:
        await self.devnet.warp(seconds)

    async def reorg(self, depth: int) -> None:
        await self.devnet.reorg(depth)


async def fund(world: World) -> None:
    """Everybody has gas, the payer 1,000,000 token units; the last ten blocks are empty."""
    for key in (PAYER, PROVIDER, STRANGER):
        await world.set_balance_wei(key.address, COIN_WEI)
    await world.mint(PAYER.address, 1_000_000)
    await world.mine(10)


@pytest.fixture
async def anvil() -> AsyncIterator[AnvilWorld]:
    """The contracts on a chain of this test's own."""
    async with open_devnet(**CONSTANTS) as devnet:  # type: ignore[arg-type]  # all are ints
        world = AnvilWorld(devnet, RpcEscrow([devnet.rpc], devnet.deployment))
        await fund(world)
        yield world


@pytest.fixture(params=["fake", "anvil"])
async def world(request: SubRequest) -> AsyncIterator[World]:
    """Both worlds, one after the other."""
    if request.param == "fake":
        fake = FakeWorld()
        await fund(fake)
        yield fake
        return
    async with open_devnet(**CONSTANTS) as devnet:  # type: ignore[arg-type]  # all are ints
        real = AnvilWorld(devnet, RpcEscrow([devnet.rpc], devnet.deployment))
        await fund(real)
        yield real


def voucher_row(
    world: World, total: int, *, session: Key = SESSION, payer: bytes = PAYER.address
) -> bytes:
    """A signed row that pays PROVIDER up to ``total``."""
    voucher = Voucher(
        payer=payer,
        provider=PROVIDER.address,
        total=total,
        receipt_count=total,
        receipts_root=ZERO_HASH,
    )
    return voucher.row(session.sign(voucher.digest(world.escrow.deployment.domain)))


async def within(seconds: float, function: Any, *arguments: Any, **fields: Any) -> Any:
    """Fails a test that would hang."""
    with trio.fail_after(seconds):
        return await function(*arguments, **fields)
