"""A disk that fails in the middle of an answer: P11."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rowen.protocol.errors import Unavailable
from rowen.testing.engine import SCRIPTED
from rowen.testing.simulator import simulate


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def test_a_client_whose_disk_fails_says_so_and_lives(autojump_clock: MockClock) -> None:
    """The answer fails with the reason; the program that asked is not torn down."""
    async with simulate(1) as world:
        await world.add_provider()
        client = await world.add_client()
        assert client.client is not None
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
            texts = aiter(answer)
            await anext(texts)
            client.disk.fails_at = client.disk.commits
            with pytest.raises(Unavailable, match="no space left"):
                await answer.read()
        await trio.sleep(60)
        assert client.is_alive
        with pytest.raises(Unavailable, match="no space left"):
            async with client.client.chat("hi", model=SCRIPTED.model, max_cost=5_000) as answer:
                await answer.read()
