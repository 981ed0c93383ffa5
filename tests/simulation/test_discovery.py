"""A client that knows no provider waits a little for one to be found."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rowen.client.client import ClientSettings, open_client
from rowen.protocol.errors import Unavailable
from rowen.testing.engine import SCRIPTED
from rowen.testing.simulator import CONFIRMATIONS, PATIENCE, simulate
from rowen.testing.store import open_fake_journal


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@pytest.mark.parametrize("is_found", [True, False])
async def test_an_answer_is_bought_from_a_provider_that_is_found(
    autojump_clock: MockClock, is_found: bool
) -> None:
    """What is no provider's address is passed over: anybody on the network can announce."""
    async with simulate(3) as world:
        provider = await world.add_provider()
        client = await world.add_client()
        await client.kill()
        announce, found = trio.open_memory_channel[str](8)
        async with (
            open_fake_journal(client.disk) as journal,
            open_client(
                key=client.key,
                network=client.network,
                escrow=world.escrow,
                journal=journal,
                settings=ClientSettings(
                    payer=client.wallet.address, providers=(), confirmations=CONFIRMATIONS
                ),
                now_ms=world.now_ms,
                entropy=world.rng.randbytes,
                patience=PATIENCE,
                found=found,
            ) as buyer,
            trio.open_nursery() as nursery,
        ):

            async def appear() -> None:
                await trio.sleep(2)
                await announce.send("/memory/9/p2p/12D3KooWnotOfOurKind")
                if is_found:
                    await announce.send(provider.network.addresses[0])

            nursery.start_soon(appear)
            answer = buyer.chat("hello", model=SCRIPTED.model, max_cost=5_000)
            if is_found:
                assert await answer.read()
            else:
                with pytest.raises(Unavailable, match="no provider is known"):
                    await answer.read()
