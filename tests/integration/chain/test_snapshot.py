"""Evidence from a live chain, and every way to falsify it (P14, threat 41)."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from rowen.chain.contract import topic_of
from rowen.chain.escrow import RpcEscrow
from rowen.chain.events import Claimed, Locked, Released, Unlocked, UnlockRequested
from rowen.chain.proofs import ChainSnapshot, verify
from rowen.chain.snapshot import take_snapshot
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import PeerError
from rowen.protocol.statements import Release

from .conftest import (
    CHANNEL,
    PAYER,
    PROVIDER,
    SESSION,
    STRANGER,
    UNLOCK_DELAY_S,
    AnvilWorld,
    voucher_row,
)


async def history(world: AnvilWorld) -> None:
    """Two channels with claims, refunds both ways, a sweep, and other people's business."""
    payer, provider = world.wallet(PAYER), world.wallet(PROVIDER)
    await payer.lock(PROVIDER.address, SESSION.address, 10_000, intent="lock 1")
    await payer.lock(PROVIDER.address, STRANGER.address, 5_000, intent="lock 2")
    await payer.lock(STRANGER.address, SESSION.address, 7_000, intent="not this provider's")
    rows = [voucher_row(world, 1_000), voucher_row(world, 900, session=STRANGER)]
    await provider.claim(PROVIDER.address, [*rows, rows[0]], intent="claim 1")
    await provider.sweep(PROVIDER.address, intent="sweep")
    await provider.claim(PROVIDER.address, [voucher_row(world, 4_000)], intent="claim 2")
    deadline_s = (await world.escrow.head()).timestamp_s + 600
    release = Release(channel_id=CHANNEL.id, total=6_000, deadline_s=deadline_s)
    signature = PROVIDER.sign(release.digest(world.escrow.deployment.domain))
    await payer.release(CHANNEL, release, signature, intent="release")
    await payer.request_unlock(PROVIDER.address, STRANGER.address, intent="request")
    await world.warp(UNLOCK_DELAY_S)
    await world.mine()
    await payer.unlock(CHANNEL._replace(signer=STRANGER.address), intent="unlock")
    await world.mine(3)


async def test_a_snapshot_proves_a_providers_money(anvil: AnvilWorld) -> None:
    await history(anvil)
    snapshot = await take_snapshot(anvil.rpc_escrow, PROVIDER.address, confirmations=2)
    proven = verify(snapshot)
    assert [type(e) for e in proven.events if isinstance(e, Locked | Claimed)] == [
        Locked, Locked, Claimed, Claimed, Claimed,
    ]  # fmt: skip
    assert {type(e) for e in proven.events} >= {Released, Unlocked}
    assert proven.id_to_channel == {
        CHANNEL.id: ChannelView(locked=6_000, claimed=4_000),
        CHANNEL._replace(signer=STRANGER.address).id: ChannelView(locked=900, claimed=900),
    }
    assert [claim.total for claim in proven.claims] == [1_000, 900, 4_000]
    assert proven.credit == 3_000
    (block,) = await anvil.escrow.blocks(proven.block, proven.block)
    assert (block.hash, block.timestamp_s) == (proven.block_hash, proven.timestamp_s)
    assert proven.domain == anvil.escrow.deployment.domain


async def test_a_snapshot_travels_as_bytes(anvil: AnvilWorld) -> None:
    await history(anvil)
    snapshot = await take_snapshot(anvil.rpc_escrow, PROVIDER.address, confirmations=0)
    raw = msgspec.msgpack.encode(snapshot)
    assert msgspec.msgpack.decode(raw, type=ChainSnapshot) == snapshot


async def test_a_provider_nobody_paid_is_proved_to_have_nothing(anvil: AnvilWorld) -> None:
    await anvil.wallet(PAYER).lock(PROVIDER.address, SESSION.address, 1_000, intent="lock")
    snapshot = await take_snapshot(anvil.rpc_escrow, STRANGER.address, confirmations=0)
    proven = verify(snapshot)
    assert (proven.credit, proven.claims, proven.events) == (0, (), ())


async def test_a_snapshot_speaks_of_its_block_whatever_came_after(anvil: AnvilWorld) -> None:
    await anvil.wallet(PAYER).lock(PROVIDER.address, SESSION.address, 5_000, intent="lock")
    await anvil.mine(5)
    await anvil.wallet(PROVIDER).claim(PROVIDER.address, [voucher_row(anvil, 1)], intent="claim")
    proven = verify(await take_snapshot(anvil.rpc_escrow, PROVIDER.address, confirmations=3))
    assert proven.id_to_channel == {CHANNEL.id: ChannelView(locked=5_000, claimed=0)}


@dataclass
class Forgery:
    name: str
    forge: Callable[[ChainSnapshot], ChainSnapshot]


def _changed(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def _with(**fields: object) -> Callable[[ChainSnapshot], ChainSnapshot]:
    return lambda snapshot: msgspec.structs.replace(snapshot, **fields)


def forgeries(snapshot: ChainSnapshot) -> list[Forgery]:
    """Every log omitted, repeated, moved and altered; every proof cut; every field changed."""
    replace = msgspec.structs.replace
    logs, slots = snapshot.logs, snapshot.slots
    made = []
    for i, log in enumerate(logs):
        without = (*logs[:i], *logs[i + 1 :])
        made.append(Forgery(f"log {i} omitted", _with(logs=without)))
        double = (*logs[: i + 1], replace(log, index=log.index + 100), *logs[i + 1 :])
        made.append(Forgery(f"log {i} twice", _with(logs=double)))
        for at in range(31, len(log.data), 32):
            other = replace(log, data=_changed(log.data, at))
            altered = (*logs[:i], other, *logs[i + 1 :])
            made.append(Forgery(f"log {i} altered at {at}", _with(logs=altered)))
        for at in range(len(log.topics)):
            topics = (*log.topics[:at], _changed(log.topics[at], 31), *log.topics[at + 1 :])
            altered = (*logs[:i], replace(log, topics=topics), *logs[i + 1 :])
            made.append(Forgery(f"log {i} topic {at}", _with(logs=altered)))
    made.append(Forgery("logs reversed", _with(logs=logs[::-1])))
    for i in range(len(slots)):
        without_slot = (*slots[:i], *slots[i + 1 :])
        made.append(Forgery(f"slot {i} omitted", _with(slots=without_slot)))
        cut = (*slots[:i], replace(slots[i], proof=slots[i].proof[:-1]), *slots[i + 1 :])
        made.append(Forgery(f"slot {i} cut", _with(slots=cut)))
    made += [
        Forgery("chain id", _with(chain_id=1)),
        Forgery("escrow", lambda s: replace(s, escrow=_changed(s.escrow, 0))),
        Forgery("escrow cut", lambda s: replace(s, escrow=s.escrow[1:])),
        Forgery("provider", _with(provider=STRANGER.address)),
        Forgery("code", lambda s: replace(s, code=_changed(s.code, 100))),
        Forgery("no code", _with(code=b"")),
        Forgery("account cut", lambda s: replace(s, account_proof=s.account_proof[:-1])),
        Forgery("header cut", lambda s: replace(s, header=s.header[:-1])),
        Forgery("state root", lambda s: replace(s, header=_changed(s.header, 100))),
    ]
    return made


async def test_every_omission_and_edit_is_found(anvil: AnvilWorld) -> None:
    """100 % of what ``proofs`` says it proves."""
    await history(anvil)
    snapshot = await take_snapshot(anvil.rpc_escrow, PROVIDER.address, confirmations=0)
    verify(snapshot)
    missed = []
    for forgery in forgeries(snapshot):
        try:
            verify(forgery.forge(snapshot))
        except PeerError:
            continue
        missed.append(forgery.name)
    told = {  # the module's docstring names it: when an unlock that ended was due
        f"log {i} altered at 31"
        for i, log in enumerate(snapshot.logs)
        if log.topics[0] == topic_of(UnlockRequested)
    }
    assert set(missed) == told


async def test_storage_slots_are_where_the_compiler_put_them(anvil: AnvilWorld) -> None:
    from rowen.chain.proofs import slot_of
    from rowen.chain.rpc import quantity, to_hex

    await history(anvil)
    escrow: RpcEscrow = anvil.rpc_escrow
    word = await anvil.devnet.rpc.call(
        "eth_getStorageAt",
        to_hex(escrow.deployment.domain.escrow),
        to_hex(slot_of("_credits", PROVIDER.address)),
        "latest",
    )
    payout, credit = divmod(quantity(word), 2**96)
    assert credit == await escrow.credit(PROVIDER.address)
    assert payout == int.from_bytes(await escrow.payout(PROVIDER.address))
