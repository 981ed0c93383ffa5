"""An audit of what a real contract paid: jobs, vouchers, claims and a sweep on anvil."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import trio
from tests.unit.auditor.market import PROVIDER, Market, Seller, put_manifest, rewrite

from rowen.auditor.export import export
from rowen.auditor.snapshots import SnapshotEvidence
from rowen.auditor.verdict import Pins, Verdict
from rowen.auditor.verify import verify
from rowen.chain.devnet import Devnet, open_devnet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.proofs import ChainSnapshot
from rowen.chain.snapshot import take_snapshot
from rowen.chain.transactions import FeePolicy
from rowen.chain.wallet import RpcWallet
from rowen.protocol.errors import UserError
from rowen.protocol.evidence import (
    MANIFEST,
    SNAPSHOT,
    BlockEntry,
    decode_manifest,
)
from rowen.protocol.ids import keccak
from rowen.protocol.signing import Key
from rowen.protocol.statements import Voucher
from rowen.testing.chain import MemoryTransactionLog

COIN_WEI = 10**18
MIN_LOCK = 1_000


@dataclass
class World:
    """A provider that was paid twice and swept once."""

    devnet: Devnet
    market: Market
    escrow: RpcEscrow
    snapshot: ChainSnapshot

    @property
    def pins(self) -> Pins:
        """All four, as an auditor with a node of its own has them."""
        return Pins(
            chain_id=self.market.domain.chain_id,
            escrow=self.market.domain.escrow,
            provider=PROVIDER.address,
            block_hash=self.snapshot.block_hash,
        )

    async def write(self, path: Path) -> Path:
        """The bundle."""
        chain = SnapshotEvidence(self.snapshot, self.market.domain, PROVIDER.address)
        await export(self.market, self.market.domain, PROVIDER.address, path, chain)
        return path


def hand(escrow: RpcEscrow, key: Key) -> RpcWallet:
    policy = FeePolicy(poll_s=0.01, bump_after_s=0.1)
    return RpcWallet(escrow, key, MemoryTransactionLog(), confirmations=0, policy=policy)


async def fund(devnet: Devnet, escrow: RpcEscrow, seller: Seller, amount: int) -> None:
    payer = seller.payer
    await devnet.mint(payer.address, amount)
    await devnet.set_balance_wei(payer.address, COIN_WEI)
    signer = seller.session.address
    await hand(escrow, payer).lock(PROVIDER.address, signer, amount, intent="lock")


async def claim(wallet: RpcWallet, intent: str, *sellers: Seller) -> None:
    rows = []
    for seller in sellers:
        kept = seller.vouchers[-1].voucher
        rows.append(Voucher.decode(kept.words).row(kept.signature))
    await wallet.claim(PROVIDER.address, rows, intent=intent)


async def live(devnet: Devnet) -> World:
    """Funds, works, claims, sweeps, works on, and takes a snapshot."""
    escrow = RpcEscrow([devnet.rpc], devnet.deployment)
    market = Market(devnet.deployment.domain)

    sellers = [market.open(name, locked=10_000) for name in ("ann", "bob", "only funded")]
    await devnet.set_balance_wei(PROVIDER.address, COIN_WEI)
    for seller in sellers:
        await fund(devnet, escrow, seller, 10_000)
    ann, bob, _ = sellers
    own = hand(escrow, PROVIDER)
    ann.run(3)
    bob.run(4, ending="preempted")
    await claim(own, "first", ann)
    await own.sweep(PROVIDER.address, intent="sweep")
    ann.run(2)
    await claim(own, "second", bob, ann)
    bob.run(1)
    snapshot = await take_snapshot(escrow, PROVIDER.address, confirmations=0)
    return World(devnet, market, escrow, snapshot)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with trio.fail_after(600):
        async with open_devnet(
            min_lock=MIN_LOCK, unlock_delay_s=3_600, payout_delay_s=7_200
        ) as devnet:
            yield await live(devnet)


def forge_block(bundle: Path) -> None:
    """Makes the whole manifest agree, the block with it, as far as the snapshot has one."""
    raw = (bundle / SNAPSHOT).read_bytes()
    snapshot = msgspec.msgpack.decode(raw, type=ChainSnapshot)
    manifest = decode_manifest((bundle / MANIFEST).read_bytes())
    assert manifest.block is not None
    block = BlockEntry(manifest.block.number, f"0x{keccak(snapshot.header).hex()}")
    put_manifest(bundle, msgspec.structs.replace(manifest, block=block))


async def test_what_the_contract_paid_is_verified(world: World, tmp_path: Path) -> None:
    """Every claim, the sweep and the remainder, from a block hash."""
    verdict = verify(await world.write(tmp_path / "bundle"), world.pins)
    assert verdict.findings == ()
    figures = verdict.figures
    assert (figures.channels, figures.claims) == (2, 3)
    assert figures.credit == await world.escrow.credit(PROVIDER.address)
    assert figures.swept_total == await world.escrow.token_balance(PROVIDER.address) > 0
    assert figures.claimed_total == figures.credit + figures.swept_total
    assert figures.unclaimed_total > 0
    assert all(anchor.is_pinned for anchor in verdict.checked_against)


async def test_a_bundle_is_verified_while_payers_leave(world: World, tmp_path: Path) -> None:
    """One with money left, one whose provider then claims all that was locked."""
    ann, cat = world.market.sellers[0], world.market.open("cat")
    while cat.state.paid.total < MIN_LOCK:
        cat.run(9)
    await fund(world.devnet, world.escrow, cat, cat.state.paid.total)
    for seller in (ann, cat):
        await hand(world.escrow, seller.payer).request_unlock(
            PROVIDER.address, seller.session.address, intent="leave"
        )
    await claim(hand(world.escrow, PROVIDER), "all", cat)
    world.snapshot = await take_snapshot(world.escrow, PROVIDER.address, confirmations=0)
    views = SnapshotEvidence(world.snapshot, world.market.domain, PROVIDER.address).facts.channels
    assert all(views[seller.id].unlock_at_s for seller in (ann, cat))
    assert views[cat.id].locked == views[cat.id].claimed > 0
    assert verify(await world.write(tmp_path / "bundle"), world.pins).findings == ()


async def test_the_same_chain_twice_is_the_same_bytes(world: World, tmp_path: Path) -> None:
    """Also when the snapshot was taken with what nothing proves in another shape."""
    first = await world.write(tmp_path / "first")
    logs = tuple(
        msgspec.structs.replace(log, tx_hash=sha256(log.tx_hash).digest(), index=log.index + 5)
        for log in world.snapshot.logs
    )
    slots = world.snapshot.slots[::-1] + world.snapshot.slots[:1]
    world.snapshot = msgspec.structs.replace(world.snapshot, logs=logs, slots=slots)
    second = await world.write(tmp_path / "second")
    for file in sorted(first.iterdir()):
        assert file.read_bytes() == (second / file.name).read_bytes()


async def test_a_snapshot_of_something_else_is_not_exported(world: World, tmp_path: Path) -> None:
    """Another provider's, or one that does not prove."""
    for change in ({"provider": bytes(20)}, {"chain_id": 1}, {"logs": ()}, {"code": b""}):
        lie = msgspec.structs.replace(world.snapshot, **change)
        with pytest.raises(UserError, match="cannot be exported"):
            SnapshotEvidence(lie, world.market.domain, PROVIDER.address)


async def test_a_snapshot_that_holds_what_nothing_proves_fails(
    world: World, tmp_path: Path
) -> None:
    """The node's own snapshot proves, too, but parts of it could be anything."""
    bundle = await world.write(tmp_path / "bundle")
    (bundle / SNAPSHOT).write_bytes(msgspec.msgpack.encode(world.snapshot))
    rewrite(bundle)
    verdict = verify(bundle, world.pins)
    assert verdict.exit_code == 1
    assert "normal form" in verdict.findings[0].detail


@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.slow)])
async def test_no_byte_of_a_snapshot_can_change(world: World, tmp_path: Path, stride: int) -> None:
    """P14: each byte in turn, with a manifest and a block hash forged to match.

    With the block hash pinned, nothing passes. Without, a header of the forger's own does, and
    the verdict says that the hash is the bundle's word.
    """
    bundle = await world.write(tmp_path / "bundle")
    raw = (bundle / SNAPSHOT).read_bytes()
    header_at = raw.index(world.snapshot.header)
    code_at = raw.index(world.snapshot.code)
    code = range(code_at + 64, code_at + len(world.snapshot.code) - 64)
    for at in range(0, len(raw), stride):
        # All of the code is under one hash; a few of its bytes will do.
        if at in code and at % (101 * stride):
            continue
        changed = bytearray(raw)
        changed[at] ^= 1 << (at % 8)
        (bundle / SNAPSHOT).write_bytes(changed)
        rewrite(bundle)
        with suppress(msgspec.DecodeError):
            forge_block(bundle)
        assert verify(bundle, world.pins).exit_code == 1, f"byte {at}"
        unpinned: Verdict = verify(bundle)
        if unpinned.exit_code == 0:
            assert header_at <= at < header_at + len(world.snapshot.header), f"byte {at}"
            assert not unpinned.checked_against[-1].is_pinned
