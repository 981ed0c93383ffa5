"""What a client does about a provider that breaks the rules: it pays for nothing it should not."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from rowen.auditor.convicting import convict, own_evidence
from rowen.engine.base import Engine
from rowen.p2p.network import Stream
from rowen.p2p.session import Session, open_session
from rowen.protocol import messages
from rowen.protocol.errors import PeerError, Unavailable, UserError
from rowen.protocol.fraud import Offence, check
from rowen.protocol.jobs import Finish, Kind
from rowen.protocol.messages import FromClient, encode, open_signed, seal
from rowen.protocol.metering import Reading, cost
from rowen.protocol.signing import Key
from rowen.protocol.statements import Offer, Order, Receipt, Status, Voucher
from rowen.protocol.vectors import vector_text
from rowen.store.base import DisputeKept
from rowen.testing.engine import SCRIPTED, ScriptedEngine
from rowen.testing.simulator import PATIENCE, SimClient, SimProvider, Simulation, simulate
from rowen.testing.store import open_fake_journal

TEXT = "an answer of seven tokens or so"


class Liar:
    """Speaks for a provider; ``receipt`` and ``chunks`` are what it lies about."""

    def __init__(self, world: Simulation, provider: SimProvider) -> None:
        assert provider.node is not None
        self.world = world
        self.key = provider.key
        self.domain = world.escrow.deployment.domain
        self.hello = provider.node.greeting()
        self.attached: messages.Attached | None = messages.Attached(0)
        self.drips = False
        self.is_idle = False
        self.chunks: list[tuple[int, int, str]] = [(0, 7, TEXT)]
        self.receipt: dict[str, Any] = {}
        self.signer: Key = provider.key
        self.finish = "stop"
        self.is_silent = False
        self.heard: list[FromClient] = []

    async def serve(self, stream: Stream) -> None:
        async with open_session(stream, PATIENCE) as session:
            await session.send(encode(self.hello))
            while (raw := await session.receive()) is not None:
                said = messages.decode_from_client(raw)
                self.heard.append(said)
                if isinstance(said, messages.Attach):
                    await self.greet(session)
                elif isinstance(said, messages.Submit):
                    await self.answer(session, said)

    async def greet(self, session: Session) -> None:
        if self.attached is not None:
            await session.send(encode(self.attached))
        while self.drips:
            await session.send(encode(messages.Chunk(b"j" * 32, 0, 0, "")))
            await trio.sleep(1)

    async def answer(self, session: Session, submit: messages.Submit) -> None:
        if self.is_silent:
            await trio.sleep_forever()
        order = open_signed(submit.order, Order, self.domain).statement
        await session.send(encode(messages.Accepted(order.job_id, 20)))
        for at, units, text in self.chunks:
            await session.send(encode(messages.Chunk(order.job_id, at, units, text)))
        if self.is_idle:
            await self.bill_twice(session, order)
            return
        receipt = replace(self.honest(order), **self.receipt)
        signed = seal(receipt, self.domain, self.signer)
        await session.send(encode(messages.Bill(signed, order.job_id, self.finish)))

    async def bill_twice(self, session: Session, order: Order) -> None:
        first = replace(self.honest(order), status=Status.PARTIAL)
        again = replace(first, sequence=1, segment=1, amount=0)
        for receipt in (first, again):
            signed = seal(receipt, self.domain, self.signer)
            await session.send(encode(messages.Bill(signed, order.job_id)))

    def honest(self, order: Order) -> Receipt:
        amount = cost(order, Reading(20, 0, 7))
        return Receipt(
            channel_id=order.channel_id,
            sequence=0,
            order_hash=order.digest(self.domain),
            segment=0,
            status=Status.FINAL,
            input_units=20,
            cached_units=0,
            output_units=7,
            amount=amount,
            total=amount,
            output_hash=sha256(TEXT.encode()).digest(),
            started_at_ms=1,
            finished_at_ms=2,
        )

    def paid(self) -> list[Voucher]:
        return [
            Voucher.decode(said.voucher.words)
            for said in self.heard
            if isinstance(said, messages.Pay)
        ]


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@asynccontextmanager
async def swindle(engine: Engine | None = None) -> AsyncIterator[tuple[Liar, SimClient]]:
    async with simulate(2) as world:
        provider = await world.add_provider(engine)
        client = await world.add_client()
        liar = Liar(world, provider)
        await provider.kill()
        provider.network.set_handler(liar.serve)
        yield liar, client


async def ask(client: SimClient, **options: Any) -> Any:
    assert client.client is not None
    settings = {"model": SCRIPTED.model, "max_cost": 5_000, **options}
    async with client.client.chat("hello", **settings) as answer:
        await answer.read()
    return answer


async def test_an_honest_stranger_is_paid(autojump_clock: MockClock) -> None:
    """Without its lie the liar is believed; so in each test below the lie is what fails."""
    async with swindle() as (liar, client):
        answer = await ask(client)
        assert answer.text == TEXT
        assert answer.finish is Finish.STOP
        await trio.sleep(1)
        assert [v.total for v in liar.paid()] == [answer.cost]


@pytest.mark.parametrize(
    "lie",
    [
        {"output_units": 8},
        {"output_units": 6},
        {"input_units": 10_000},
        {"cached_units": 21},
        {"amount": 25},
        {"amount": 1},
        {"total": 10**6},
        {"sequence": 1},
        {"segment": 1},
        {"output_hash": b"h" * 32},
        {"order_hash": b"o" * 32},
        {"channel_id": b"c" * 32},
        {"status": Status.PARTIAL},
        {"status": Status.FAILED},
        {"started_at_ms": 3},
    ],
    ids=lambda lie: "-".join(f"{k}={str(v)[:6]}" for k, v in lie.items()),
)
async def test_a_signed_lie_is_disputed_kept_as_evidence_and_not_paid(
    autojump_clock: MockClock, lie: dict[str, Any]
) -> None:
    """P3, threats 16 and 17: the receipt stops the channel and stays on the client's disk."""
    async with swindle() as (liar, client):
        liar.receipt = lie
        with pytest.raises(Unavailable, match="disputed"):
            await ask(client)
        await trio.sleep(1)
        assert liar.paid() == []
        assert any(isinstance(said, messages.Disputed) for said in liar.heard)
        (history,) = client.disk._histories.values()
        (evidence,) = [entry for entry in history if isinstance(entry, DisputeKept)]
        kept = open_signed(evidence.receipt, Receipt, liar.domain)
        assert kept.signer == liar.key.address
        with pytest.raises((UserError, Unavailable), match="stopped"):
            await ask(client)


@pytest.mark.parametrize(
    ("lie", "offence"),
    [
        ({"sequence": 0}, Offence.EQUIVOCATION),
        ({"sequence": 1, "total": 10**6}, Offence.BROKEN_TOTAL),
        ({"sequence": 1, "total": 48, "status": Status.FAILED}, Offence.CHARGED_FAILURE),
    ],
    ids=lambda value: value.name if isinstance(value, Offence) else "",
)
async def test_what_the_client_keeps_of_an_offence_is_a_proof_of_it(
    autojump_clock: MockClock, lie: dict[str, Any], offence: Offence
) -> None:
    """Threat 21: an honest answer, then the crime; nothing but the client's own journal."""
    async with swindle() as (liar, client):
        honest = await ask(client)
        assert honest.cost == 24, "the totals above stand on it"
        liar.receipt = lie
        with pytest.raises(Unavailable, match="`rowen audit report` says what it costs"):
            await ask(client)
        await trio.sleep(1)
        await client.kill()
        async with open_fake_journal(client.disk) as journal:
            own = await own_evidence(journal, liar.domain)
        (proof,) = convict(liar.domain, [], own).proofs
        assert (proof.offence, proof.channel.provider) == (offence, liar.key.address)
        check(proof, liar.domain)


async def test_a_receipt_signed_by_somebody_else_ends_the_session(
    autojump_clock: MockClock,
) -> None:
    async with swindle() as (liar, client):
        liar.signer = Key(b"\x55" * 32)
        with pytest.raises(Unavailable, match="signed by"):
            await ask(client)
        assert liar.paid() == []


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([(5, 7, TEXT)], "leaves a gap"),
        ([(0, 7, TEXT), (31, 3, "more")], "units fell"),
    ],
)
async def test_output_that_does_not_join_ends_the_session(
    autojump_clock: MockClock, chunks: list[tuple[int, int, str]], words: str
) -> None:
    async with swindle() as (liar, client):
        liar.chunks = chunks
        with pytest.raises(Unavailable, match=words):
            await ask(client)
        assert liar.paid() == []


async def test_units_without_text_are_not_believed(autojump_clock: MockClock) -> None:
    """Threat 16: a token stands for at least one byte, a few silent ones apart."""
    async with swindle() as (liar, client):
        liar.chunks = [(0, 500, TEXT)]
        liar.receipt = {"output_units": 500, "amount": 1_010, "total": 1_010}
        with pytest.raises(Unavailable, match="500 output units in 31 bytes"):
            await ask(client)
        assert liar.paid() == []


VECTORS = dataclasses.replace(SCRIPTED, kinds=(Kind.EMBEDDINGS,), item_units_max=4)
LINE = vector_text([1.0, 2.0, 3.0, 4.0])


async def embed(client: SimClient) -> list[list[float]]:
    assert client.client is not None
    asked = client.client.embed(["one", "two"], model=SCRIPTED.model, max_cost=5_000)
    async with asked as answer:
        return [list(vector) for vector in await answer.read()]


def billed(liar: Liar, text: str, input_units: int, output_units: int) -> None:
    """Has the liar say a text and bill it rightly, as far as prices go."""
    liar.chunks = [(0, output_units, text)]
    amount = -(-(input_units * 500_000 + output_units * 2_000_000) // 1_000_000)
    liar.receipt = {
        "input_units": input_units,
        "output_units": output_units,
        "amount": amount,
        "total": amount,
        "output_hash": sha256(text.encode()).digest(),
    }


async def test_an_honest_vector_is_paid(autojump_clock: MockClock) -> None:
    """Without its lie the liar is believed."""
    async with swindle(ScriptedEngine(info=VECTORS)) as (liar, client):
        billed(liar, LINE * 2, 20, 8)
        assert await embed(client) == [[1.0, 2.0, 3.0, 4.0]] * 2
        await trio.sleep(1)
        assert len(liar.paid()) == 1


@pytest.mark.parametrize(
    ("text", "input_units", "output_units", "words"),
    [
        (LINE, 20, 4, "20 input units, at most 19 are possible"),
        ("\n\n", 19, 0, "a vector of 0 digits"),
        (LINE * 2, 20, 9, "9 output units, ordered 8"),
        (LINE + "3f80\n", 20, 8, "a vector of 4 digits"),
        ("hello, world", 1, 1, "in no vector"),
    ],
)
async def test_a_vector_that_was_not_made_is_not_paid(
    autojump_clock: MockClock, text: str, input_units: int, output_units: int, words: str
) -> None:
    """Threat 16: an item's input is paid with its output, and numbers are counted here."""
    async with swindle(ScriptedEngine(info=VECTORS)) as (liar, client):
        billed(liar, text, input_units, output_units)
        with pytest.raises((Unavailable, PeerError), match=words):
            await embed(client)
        await trio.sleep(1)
        assert liar.paid() == []


async def test_an_offer_in_anothers_name_is_not_read(autojump_clock: MockClock) -> None:
    """Threat 44."""
    async with swindle() as (liar, client):
        other = Key(b"\x66" * 32)
        statement = open_signed(liar.hello.offer, Offer, liar.domain).statement
        liar.hello = replace(liar.hello, offer=seal(statement, liar.domain, other))
        with pytest.raises(Unavailable, match="signed by"):
            await ask(client)


async def test_a_provider_that_announces_receipts_and_sends_none_is_left(
    autojump_clock: MockClock,
) -> None:
    async with swindle() as (liar, client):
        liar.attached = messages.Attached(3)
        with pytest.raises(Unavailable, match="did not answer"):
            await ask(client)


async def test_a_provider_that_never_finishes_is_left_at_the_deadline(
    autojump_clock: MockClock,
) -> None:
    async with swindle() as (liar, client):
        liar.is_silent = True
        with pytest.raises(Unavailable, match="no answer within"):
            await ask(client)


async def test_a_price_above_the_cap_buys_nothing(autojump_clock: MockClock) -> None:
    async with swindle() as (liar, client):
        with pytest.raises(Unavailable, match="output price 2000000 is above your cap 1999999"):
            await ask(client, price_output_max=1_999_999)
        assert not any(isinstance(said, messages.Submit) for said in liar.heard)


async def test_a_model_nobody_sells_is_said_with_what_is_sold(autojump_clock: MockClock) -> None:
    async with swindle() as (_, client):
        with pytest.raises(Unavailable, match=f"does not sell llama.*it sells {SCRIPTED.model}"):
            await ask(client, model="llama")


async def test_a_cost_cap_below_the_first_token_is_said_before_anything_is_signed(
    autojump_clock: MockClock,
) -> None:
    async with swindle() as (liar, client):
        with pytest.raises(UserError, match="1 are left of max_cost"):
            await ask(client, max_cost=1)
        assert not any(isinstance(said, messages.Submit) for said in liar.heard)


async def test_a_provider_that_forgot_paid_receipts_is_not_used(
    autojump_clock: MockClock,
) -> None:
    """Threat 30, from the other side."""
    async with swindle() as (_, client):
        await ask(client)
        await trio.sleep(1)
        await client.kill()
        await client.start()
        with pytest.raises((Unavailable, PeerError), match="lost receipts that are paid for"):
            await ask(client)


async def test_stop_texts_of_many_tokens_are_no_fraud(autojump_clock: MockClock) -> None:
    """The tokens of a stop text count and are not shown: an honest receipt is not disputed."""
    async with simulate(3) as world:
        words = "one two three four five six seven eight nine ten"
        await world.add_provider(ScriptedEngine(words))
        client = await world.add_client()
        assert client.client is not None
        stop = ["one two three four five six seven"]
        for _ in range(2):
            async with client.client.chat(
                "hello", model=SCRIPTED.model, max_cost=5_000, stop=stop
            ) as answer:
                assert await answer.read() == ""
            assert answer.finish is Finish.STOP
            assert answer.receipt is not None
            assert answer.receipt.output_units == 7
            # What is in the journal is judged by the same rule.
            await client.kill()
            await client.start()


async def test_a_provider_that_never_answers_the_attach_is_left(
    autojump_clock: MockClock,
) -> None:
    """Heartbeats alone do not hold an answer up for ever."""
    async with swindle() as (liar, client):
        liar.attached = None
        with trio.fail_after(600), pytest.raises(Unavailable, match="did not answer"):
            await ask(client)


async def test_a_provider_that_delays_its_announced_receipts_for_ever_is_left(
    autojump_clock: MockClock,
) -> None:
    async with swindle() as (liar, client):
        liar.attached = messages.Attached(3)
        liar.drips = True
        with trio.fail_after(600), pytest.raises(Unavailable, match="did not answer"):
            await ask(client)


async def test_text_beyond_what_the_units_can_stand_for_ends_the_session(
    autojump_clock: MockClock,
) -> None:
    """P12: the order bounds the units, and so how much text a reader that lags holds."""
    async with swindle() as (liar, client):
        part = "x" * 100_000
        liar.chunks = [(100_000 * number, 1, part) for number in range(10)]
        with pytest.raises(Unavailable, match="bytes of output"):
            await ask(client)
        assert liar.paid() == []


async def test_more_units_than_ordered_end_the_session(autojump_clock: MockClock) -> None:
    async with swindle() as (liar, client):
        liar.chunks = [(0, 513, "word " * 513)]
        with pytest.raises(Unavailable, match="513 output units, ordered 512"):
            await ask(client)
        assert liar.paid() == []


async def test_a_partial_receipt_for_nothing_is_disputed(autojump_clock: MockClock) -> None:
    """P15: receipts that charge nothing would fill the client's disk for free."""
    async with swindle() as (liar, client):
        liar.is_idle = True
        with pytest.raises(Unavailable, match="disputed: it is partial and charges nothing"):
            await ask(client)
        await trio.sleep(1)
        assert len(liar.paid()) == 1
