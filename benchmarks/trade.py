"""A provider, a client, their channel and what they say: the inputs of the benchmarks."""

from __future__ import annotations

from hashlib import sha256

from rowen.protocol import seller
from rowen.protocol import seller_events as on
from rowen.protocol.admission import input_hash
from rowen.protocol.eip712 import Domain
from rowen.protocol.ids import channel_id_of
from rowen.protocol.jobs import ChatInput, Finish, Message
from rowen.protocol.messages import Submit, encode_input, seal
from rowen.protocol.metering import Reading
from rowen.protocol.seller_billing import Meter
from rowen.protocol.seller_channel import Job, SellerChannel
from rowen.protocol.signing import Key
from rowen.protocol.statements import Order

DOMAIN = Domain(31337, b"\xe5" * 20)
PROVIDER = Key(sha256(b"benchmark provider").digest())
SESSION = Key(sha256(b"benchmark session").digest())
PAYER = b"\xaa" * 20
CHANNEL = channel_id_of(PAYER, PROVIDER.address, SESSION.address)
NOW_MS = 1_790_000_000_000
METER = Meter(now_ms=NOW_MS + 4_000)
INPUT_UNITS = 70
OUTPUT_UNITS = 200

SALT = sha256(b"benchmark salt").digest()
INPUT = encode_input(
    ChatInput(
        (
            Message("system", "You answer briefly and in plain words."),
            Message("user", "Why does hay smell sweet, and when is it cut? " * 6),
        )
    )
)


def named(name: object) -> bytes:
    """32 bytes that stand for a name."""
    return sha256(str(name).encode()).digest()


def order(number: int) -> Order:
    """The channel's nth order."""
    return Order(
        channel_id=CHANNEL,
        job_id=named(f"job {number}"),
        variant=named("variant"),
        input_hash=input_hash(SALT, INPUT),
        price_input=500_000,
        price_cached=100_000,
        price_output=2_000_000,
        price_request=0,
        output_units_max=512,
        amount_max=5_000,
        deadline_ms=NOW_MS + 600_000,
    )


def submit(number: int) -> Submit:
    """The nth order as the client sends it."""
    return Submit(seal(order(number), DOMAIN, SESSION), SALT, INPUT)


def channel() -> SellerChannel:
    """The channel at its provider, before its first job."""
    return SellerChannel(
        domain=DOMAIN,
        channel_id=CHANNEL,
        payer=PAYER,
        provider=PROVIDER.address,
        signer=SESSION.address,
        credit=20_000,
    )


def served(state: SellerChannel, number: int) -> tuple[SellerChannel, on.Bill]:
    """The channel with one more job, billed and not paid for yet."""
    wanted = order(number)
    job = Job(
        order=wanted,
        order_hash=wanted.digest(DOMAIN),
        output_units_max=wanted.output_units_max,
        started_at_ms=NOW_MS,
        reading=Reading(INPUT_UNITS, 0, 0),
    )
    state = seller.start(state, job)
    said = on.EngineSaid(wanted.job_id, " hay" * OUTPUT_UNITS, OUTPUT_UNITS)
    state, _ = seller.step(state, said, METER)
    finished = on.EngineFinished(wanted.job_id, Finish.STOP, 0)
    state, effects = seller.step(state, finished, METER)
    (bill,) = effects
    assert isinstance(bill, on.Bill)
    return state, bill
