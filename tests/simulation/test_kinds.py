"""Work of every kind, bought on the simulated market with the code that ships."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from tests.simulation.conversation import talk
from trio.testing import MockClock

from rowen.protocol import messages
from rowen.protocol.errors import Reason, Unavailable, UserError
from rowen.protocol.jobs import CompletionInput, EmbeddingsInput, Finish, Kind
from rowen.protocol.statements import Status
from rowen.provider.settings import ProviderSettings
from rowen.testing.engine import (
    SCRIPTED,
    VECTOR_NUMBERS,
    ScriptedEngine,
    scripted_page,
    scripted_vector,
    seeded_answer,
)
from rowen.testing.simulator import CONFIRMATIONS, simulate

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


VECTORS = replace(
    SCRIPTED, kinds=(Kind.EMBEDDINGS,), context_units=8, item_units_max=VECTOR_NUMBERS
)
TEXTS = tuple(f"text number {n}" for n in range(12))
EXPECTED = [scripted_vector(text) for text in TEXTS]


async def test_vectors_come_one_by_one_and_are_counted_in_numbers(
    autojump_clock: MockClock,
) -> None:
    """The texts have more tokens together than the context: each is read by itself."""
    async with simulate(1) as world:
        provider = await world.add_provider(ScriptedEngine(info=VECTORS, delay_s=0.2))
        client = await world.add_client()
        assert client.client is not None
        async with client.client.embed(TEXTS, model=SCRIPTED.model, max_cost=1_500) as answer:
            first = await anext(answer)
            assert list(first) == EXPECTED[0]
            assert answer.answer.is_running
            assert [list(vector) for vector in await answer.read()] == EXPECTED[1:]
        assert answer.finish is Finish.STOP
        assert answer.receipt is not None
        assert answer.receipt.output_units == len(TEXTS) * VECTOR_NUMBERS
        assert answer.receipt.input_units == answer.parts[0].input_units == len(TEXTS) * 3
        assert answer.receipt.total == answer.cost > 0
        # The voucher is on its way.
        await trio.sleep(1)
        assert provider.node is not None
        (account,) = provider.node.books.accounts.values()
        assert account.state.paid.total == answer.cost


async def test_a_list_that_one_provider_began_is_ended_by_the_next(
    autojump_clock: MockClock,
) -> None:
    """By whole items: none is missing, none is bought of both."""
    async with simulate(1) as world:
        providers = [
            await world.add_provider(ScriptedEngine(info=VECTORS, delay_s=0.2)) for _ in range(2)
        ]
        client = await world.add_client()
        assert client.client is not None
        async with client.client.embed(TEXTS, model=SCRIPTED.model, max_cost=1_500) as answer:
            told = [list(await anext(answer)) for _ in range(3)]
            first = answer.parts[0].provider
            await next(p for p in providers if p.key.address == first).kill()
            told += [list(vector) for vector in await answer.read()]
        assert told == EXPECTED
        assert len(answer.parts) == 2
        assert answer.parts[1].output_units == (len(TEXTS) - 3) * VECTOR_NUMBERS


async def test_a_provider_that_dies_in_a_list_is_paid_for_what_it_answered(
    autojump_clock: MockClock,
) -> None:
    """P7: its receipts from before the crash stand, input and all; the rest is free."""
    async with simulate(1) as world:
        engine = ScriptedEngine(info=VECTORS, delay_s=0.2)
        provider = await world.add_provider(
            engine, ProviderSettings(credit=40, confirmations=CONFIRMATIONS)
        )
        client = await world.add_client()
        assert client.client is not None
        async with client.client.embed(TEXTS, model=SCRIPTED.model, max_cost=1_500) as answer:
            for _ in range(6):
                await anext(answer)
            await provider.kill()
            with pytest.raises(Unavailable):
                await answer.read()
        await provider.start()
        await client.client.settle_open_jobs()
        await trio.sleep(1)
        assert provider.node is not None
        (seller,) = provider.node.books.accounts.values()
        (buyer,) = client.client._accounts.values()
        assert seller.state.paid == seller.state.issued == buyer.state.log
        assert 0 < answer.cost <= buyer.state.log.total
        assert not seller.state.jobs
        assert not buyer.state.jobs


async def test_a_list_cut_short_costs_what_of_it_was_answered(autojump_clock: MockClock) -> None:
    """Cancelled after three of twelve: three texts are paid for, not twelve."""
    async with simulate(1) as world:
        await world.add_provider(ScriptedEngine(info=VECTORS, delay_s=0.2))
        client = await world.add_client()
        assert client.client is not None
        async with client.client.embed(TEXTS, model=SCRIPTED.model, max_cost=1_500) as answer:
            for _ in range(3):
                await anext(answer)
        assert answer.receipt is not None
        assert answer.receipt.status is Status.CANCELLED
        assert answer.receipt.input_units == 3 * 3
        assert answer.receipt.output_units == 3 * VECTOR_NUMBERS


async def test_too_little_money_for_all_says_how_far_it_went(autojump_clock: MockClock) -> None:
    async with simulate(1) as world:
        await world.add_provider(ScriptedEngine(info=VECTORS, delay_s=0.2))
        client = await world.add_client()
        assert client.client is not None
        answer = client.client.embed(TEXTS, model=SCRIPTED.model, max_cost=40)
        with pytest.raises(UserError, match="max_cost"):
            await answer.read()
        assert 0 < answer.cost <= 40


async def test_a_text_no_engine_can_read_is_refused_before_any_work(
    autojump_clock: MockClock,
) -> None:
    async with simulate(1) as world:
        engine = ScriptedEngine(info=VECTORS)
        await world.add_provider(engine)
        client = await world.add_client()
        assert client.client is not None
        answer = client.client.embed(["word" + " word" * 8], model=SCRIPTED.model, max_cost=1_500)
        with pytest.raises(Unavailable, match="9 tokens, at most 8"):
            await answer.read()
        assert (answer.cost, engine.counters.started) == (0, 0)


async def test_vectors_that_were_not_paid_for_come_again(autojump_clock: MockClock) -> None:
    """A line that breaks under a list loses none of it, and none of the money."""
    async with simulate(1) as world:
        provider = await world.add_provider(ScriptedEngine(info=VECTORS, delay_s=0.2))
        client = await world.add_client()
        await client.kill()
        async with talk(world, client, provider) as hand:
            await hand.attach()
            await hand.hear_until(messages.Attached)
            order, encoded = hand.order(job_input=EmbeddingsInput(TEXTS))
            await hand.submit(order, encoded)
            await hand.hear_until(messages.Chunk)
        async with talk(world, client, provider) as hand:
            await hand.attach()
            again = await hand.hear_until(messages.Chunk)
            bill = await hand.hear_until(messages.Bill)
            receipt = hand.take(bill)
            answered = again.text.count("\n")
            assert (again.at, answered >= 1) == (0, True)
            assert (receipt.status, receipt.input_units) == (Status.CANCELLED, 3 * answered)
            await hand.say(messages.Pay(hand.voucher()))


READER = replace(SCRIPTED, kinds=(Kind.OCR,), item_units_max=200)
PAGES = [b"picture %d" % n for n in range(9)]


async def test_pages_are_read_and_counted_in_characters(autojump_clock: MockClock) -> None:
    """Also those that take more than a byte, and by two providers when one dies."""
    async with simulate(1) as world:
        providers = [
            await world.add_provider(ScriptedEngine(info=READER, delay_s=0.2)) for _ in range(2)
        ]
        client = await world.add_client()
        assert client.client is not None
        async with client.client.ocr(PAGES, model=SCRIPTED.model, max_cost=5_000) as answer:
            told = [await anext(answer) for _ in range(3)]
            first = answer.parts[0].provider
            await next(p for p in providers if p.key.address == first).kill()
            told += await answer.read()
        assert told == [scripted_page(page) for page in PAGES]
        rest = sum(len(scripted_page(page)) + 1 for page in PAGES[3:])
        last = answer.parts[1]
        assert (last.input_units, last.output_units) == (6, rest)
        assert answer.receipt is not None
        assert answer.receipt.output_units == rest


async def test_pages_that_fit_no_message_are_not_ordered(autojump_clock: MockClock) -> None:
    async with simulate(1) as world:
        client = await world.add_client()
        assert client.client is not None
        for pages in ([], [b"x"] * 65, [b"x" * 500_000] * 2):
            with pytest.raises(UserError, match="send fewer at a time, or smaller ones"):
                client.client.ocr(pages, model=SCRIPTED.model, max_cost=1_500)
