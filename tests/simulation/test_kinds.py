"""Work of every kind, bought on the simulated market with the code that ships."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.simulation.conversation import talk
from trio.testing import MockClock

from rowen.protocol import messages
from rowen.protocol.errors import Reason, Unavailable
from rowen.protocol.jobs import CompletionInput, Finish, Kind
from rowen.testing.engine import SCRIPTED, ScriptedEngine, seeded_answer
from rowen.testing.simulator import simulate

PROMPT = "Rowen is"


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def test_a_text_is_gone_on_with_and_metered_as_a_chat_is(autojump_clock: MockClock) -> None:
    async with simulate(1) as world:
        await world.add_provider()
        client = await world.add_client()
        assert client.client is not None
        async with client.client.complete(PROMPT, model=SCRIPTED.model, max_cost=1_500) as answer:
            text = await answer.read()
        assert text == seeded_answer(CompletionInput(PROMPT))
        assert answer.finish is Finish.STOP
        # Two words, and no template around them; forty words and the end of the text.
        (part,) = answer.parts
        assert (part.input_units, part.output_units) == (2, 41)
        assert answer.receipt is not None
        assert answer.receipt.total == answer.cost > 0


async def test_a_text_that_one_provider_began_is_ended_by_the_next(
    autojump_clock: MockClock,
) -> None:
    """The words are those that one provider alone would have said."""
    async with simulate(1) as world:
        providers = [await world.add_provider(ScriptedEngine(delay_s=0.2)) for _ in range(2)]
        client = await world.add_client()
        assert client.client is not None
        async with client.client.complete(PROMPT, model=SCRIPTED.model, max_cost=1_500) as answer:
            await anext(aiter(answer))
            first = answer.parts[0].provider
            await next(p for p in providers if p.key.address == first).kill()
            text = await answer.read()
        assert text == seeded_answer(CompletionInput(PROMPT))
        assert len(answer.parts) == 2


CHATS_ONLY = replace(SCRIPTED, kinds=(Kind.CHAT,))


async def test_a_provider_that_does_other_work_is_not_asked(autojump_clock: MockClock) -> None:
    async with simulate(1) as world:
        await world.add_provider(ScriptedEngine(info=CHATS_ONLY))
        client = await world.add_client()
        assert client.client is not None
        async with client.client.complete(PROMPT, model=SCRIPTED.model, max_cost=1_500) as answer:
            with pytest.raises(Unavailable, match="sells scripted for chat, not for completion"):
                await answer.read()
        async with client.client.chat("hi", model=SCRIPTED.model, max_cost=1_500) as answer:
            assert await answer.read()


async def test_work_that_is_not_sold_is_refused_with_a_reason(autojump_clock: MockClock) -> None:
    """Whatever a client signs: the engine never hears of it."""
    async with simulate(1) as world:
        engine = ScriptedEngine(info=CHATS_ONLY)
        provider = await world.add_provider(engine)
        client = await world.add_client()
        await client.kill()
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.hear_until(messages.Attached)
            await hand.submit(*hand.order(job_input=CompletionInput(PROMPT)))
            no = await hand.hear_until(messages.No)
            assert no.reason == Reason.UNKNOWN_KIND.value
            assert "sold here for chat, not for completion" in no.detail
            assert engine.counters.started == 0
