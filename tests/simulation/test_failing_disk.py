"""A disk that fails in the middle of an answer, and a rule that does: P11, P18."""

from __future__ import annotations

import pytest
import trio
from tests.simulation.conversation import talk
from trio.testing import MockClock

from rowen.protocol import messages, seller
from rowen.protocol.errors import Unavailable
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import simulate


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def test_a_provider_whose_disk_fails_in_an_answer_stops_at_once(
    autojump_clock: MockClock,
) -> None:
    """P11: it does not wait for another client to run into the failure."""
    async with simulate(1) as world:
        provider = await world.add_provider(ScriptedEngine(delay_s=0.1))
        client = await world.add_client()
        await client.kill()
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.submit(*hand.order())
            await hand.hear_until(messages.Accepted)
            provider.disk.fails_at = provider.disk.commits
            with pytest.raises((Unavailable, AssertionError)):
                await hand.hear_until(messages.Attached)
            await trio.sleep(1)
            assert not provider.is_alive


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


async def test_a_provider_with_a_broken_rule_stops_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P18: an assertion that fails in one client's session ends the node, with its traceback."""

    def broken(*_: object) -> None:
        raise AssertionError("a rule is broken")

    expected = pytest.RaisesExc(AssertionError, match="a rule is broken")
    with trio.fail_after(600), pytest.RaisesGroup(expected, flatten_subgroups=True):
        async with simulate(1) as world:
            provider, client = await world.add_provider(), await world.add_client()
            await client.kill()
            async with talk(world, client, provider) as hand:
                await hand.attach()
                await hand.submit(*hand.order())
                await hand.hear_until(messages.Accepted)
                monkeypatch.setattr(seller, "step", broken)
                await trio.sleep_forever()
