"""Following the chain: each block once, none too early, and a halt when the ground moves (P9)."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rowen.chain.base import BlockRef
from rowen.chain.events import Event
from rowen.chain.watcher import DeepReorg, Following, Watcher, follow, start_at
from rowen.protocol.errors import Unavailable
from rowen.protocol.ids import keccak
from rowen.testing.chain import FakeChain, FakeEscrow, FakeWallet

PAYER, PROVIDER, SESSION = bytes([1]) * 20, bytes([2]) * 20, bytes([3]) * 20
CONFIRMATIONS = 4


def chain(length: int, branch: str = "", fork: int = 1) -> list[BlockRef]:
    """Blocks 0 to ``length`` - 1; those from height ``fork`` on belong to the branch."""
    blocks = [BlockRef(0, keccak(b"genesis"), bytes(32), 0)]
    for height in range(1, length):
        name = branch if height >= fork else ""
        blocks.append(BlockRef(height, keccak(f"{height}{name}".encode()), blocks[-1].hash, height))
    return blocks


def following(final: BlockRef) -> Following:
    return Following(final, CONFIRMATIONS)


def test_a_block_is_final_under_its_confirmations_and_not_before() -> None:
    blocks = chain(10)
    state, final = follow(following(blocks[0]), blocks, head=9)
    assert final == blocks[1:6]
    assert state.final == blocks[5]


def test_a_final_block_is_not_shown_again() -> None:
    blocks = chain(10)
    state = following(blocks[5])
    assert follow(state, blocks[5:], head=9) == (state, [])


def test_a_reorganisation_above_the_final_block_is_never_seen() -> None:
    old, new = chain(10), chain(11, "b", fork=6)
    state, _ = follow(following(old[0]), old, head=9)
    _, final = follow(state, new[5:], head=10)
    assert final == [new[6]]


def test_a_reorganisation_of_a_final_block_stops_with_both_hashes() -> None:
    old, new = chain(10), chain(11, "b", fork=5)
    state, _ = follow(following(old[0]), old, head=9)
    with pytest.raises(DeepReorg) as caught:
        follow(state, new[5:], head=10)
    assert (caught.value.was, caught.value.now) == (old[5], new[5])
    assert old[5].hash.hex() in str(caught.value)
    assert new[5].hash.hex() in str(caught.value)


def test_blocks_that_do_not_link_show_nothing() -> None:
    """They were read while the chain changed; the next look is consistent."""
    torn = chain(10)[:4] + chain(10, "b")[4:]
    state = following(torn[0])
    assert follow(state, torn, head=9) == (state, [])


def test_an_endpoint_that_is_behind_shows_nothing() -> None:
    state = following(chain(10)[5])
    assert follow(state, [], head=3) == (state, [])


def place(fake: FakeChain, number: int) -> None:
    """A transaction with one event."""
    wallet = FakeWallet(FakeEscrow(fake), PAYER)
    fake.mint(PAYER, 1_000)

    async def lock() -> None:
        await wallet.lock(PROVIDER, SESSION, 1_000, intent=str(number))

    trio.run(lock)


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("mine"), st.integers(1, 6)),
            st.tuples(st.just("lock"), st.just(1)),
            st.tuples(st.just("reorg"), st.integers(1, CONFIRMATIONS)),
            st.tuples(st.just("look"), st.just(1)),
            st.tuples(st.just("outage"), st.just(1)),
        ),
        max_size=40,
    )
)
def test_every_confirmed_event_is_seen_once_in_any_history(
    steps: list[tuple[str, int]],
) -> None:
    """Reorganisations up to the confirmations, outages and lags notwithstanding."""
    fake = FakeChain()
    escrow = FakeEscrow(fake)
    watcher = Watcher(escrow, trio.run(start_at, escrow, 0, CONFIRMATIONS), poll_s=0.001)
    seen: list[Event] = []

    async def look() -> None:
        with trio.move_on_after(0):
            seen.extend((await watcher.next()).events)
            raise AssertionError("next() returned although already cancelled")

    async def drain() -> None:
        target = fake.head.number - CONFIRMATIONS
        while watcher.state.final.number < target:
            seen.extend((await watcher.next()).events)

    for number, (step, count) in enumerate(steps):
        if step == "mine":
            fake.mine(count)
        elif step == "lock":
            place(fake, number)
        elif step == "reorg" and fake.head.number >= count:
            fake.reorg(count, keep=bool(number % 2))
        elif step == "outage":
            escrow.is_down = True
            if fake.head.number - CONFIRMATIONS > watcher.state.final.number:
                with pytest.raises(Unavailable):
                    trio.run(drain)
            escrow.is_down = False
        elif step == "look":
            trio.run(look)
            trio.run(drain)
    fake.mine(CONFIRMATIONS)
    trio.run(drain)

    async def canonical() -> list[Event]:
        last = watcher.state.final.number
        return await escrow.events(await escrow.blocks(0, last))

    assert seen == trio.run(canonical)


async def test_a_watcher_started_from_its_stored_block_misses_and_repeats_nothing() -> None:
    fake = FakeChain()
    escrow = FakeEscrow(fake)
    wallet = FakeWallet(escrow, PAYER)
    fake.mint(PAYER, 10_000)
    first = Watcher(escrow, await start_at(escrow, 0, 2))
    await wallet.lock(PROVIDER, SESSION, 1_000, intent="1")
    fake.mine(2)
    before = await first.next()
    await wallet.lock(PROVIDER, SESSION, 2_000, intent="2")
    fake.mine(2)
    after = await Watcher(escrow, Following(before.upto, 2)).next()
    assert len(before.events) == len(after.events) == 1
    assert before.events[0].block < after.events[0].block


async def test_a_watcher_halts_on_a_deep_reorganisation_for_good() -> None:
    fake = FakeChain()
    escrow = FakeEscrow(fake)
    watcher = Watcher(escrow, await start_at(escrow, 0, 2))
    fake.mine(5)
    await watcher.next()
    fake.reorg(3)
    fake.mine(5)
    for _ in range(2):
        with pytest.raises(DeepReorg):
            await watcher.next()


async def test_following_starts_only_above_a_final_block() -> None:
    fake = FakeChain()
    fake.mine(3)
    with pytest.raises(Unavailable, match="not final"):
        await start_at(FakeEscrow(fake), 3, 2)
