"""What one paid job computes, beside the bare primitives it is built on."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import msgpack
from coincurve import PrivateKey, PublicKey

from benchmarks import trade
from benchmarks.compare import Row, cpu_pairs, rates, row_of
from rowen.protocol import messages, seller
from rowen.protocol import seller_events as on
from rowen.protocol.admission import check_order, input_hash
from rowen.protocol.messages import Bill, Chunk, Pay, open_signed, seal
from rowen.protocol.seller_channel import SellerChannel
from rowen.protocol.statements import Order, Receipt, Status, Voucher

INPUTS = 16
"""Prepared inputs that a side goes through in turn, the same number on both."""

LOG_COUNT = 1_000
"""The vouchers are spread over the first receipts of a channel: a root takes one hash for each
bit set in their count."""


def paid_job(seconds: float) -> list[Row]:
    """Crypto and codec of one paid job at its provider, beside one signature and one recovery."""
    pairs = cpu_pairs(_job_side(), _sign_and_recover(), seconds)
    row = row_of(
        pairs,
        bench="job",
        name="crypto and codec of a paid job",
        unit="µs",
        against="coincurve sign + recover",
        sense="at most",
        target=1.4,
    )
    return [row]


def voucher(seconds: float) -> list[Row]:
    """Vouchers taken, beside public keys recovered."""
    pairs = rates(cpu_pairs(_voucher_side(), _recover(), seconds))
    row = row_of(
        pairs,
        bench="voucher",
        name="vouchers accepted",
        unit="/s",
        against="coincurve recover",
        sense="at least",
        target=0.8,
    )
    return [row]


def chunk(seconds: float) -> list[Row]:
    """A chunk out and in again, beside msgpack with the same map; one token, then twenty."""
    rows = []
    for name, text, units in (("one token", " hay", 1), ("twenty tokens", " hay" * 20, 20)):
        said = Chunk(trade.named("job"), 1234, 300 + units, text)
        pairs = cpu_pairs(_chunk_side(said), _msgpack_side(said), seconds / 2)
        rows.append(
            row_of(
                pairs,
                bench="chunk",
                name=f"chunk of {name}, encode + decode",
                unit="µs",
                against="msgpack, same map",
                sense="at most",
                target=0.5,
            )
        )
    return rows


# --- a paid job -----------------------------------------------------------------------------


def _job_side() -> Callable[[int], bytes]:
    arrived = [messages.encode(trade.submit(number)) for number in range(INPUTS)]
    state = trade.channel()
    amount = trade.OUTPUT_UNITS * 2 + trade.INPUT_UNITS // 2
    output_hash = trade.named("answer")

    def side(number: int) -> bytes:
        said = messages.decode_from_client(arrived[number % INPUTS])
        assert isinstance(said, messages.Submit)
        opened = open_signed(said.order, Order, trade.DOMAIN)
        order = opened.statement
        check_order(state, order, opened.signer, input_hash(said.salt, said.input))
        receipt = Receipt(
            channel_id=state.channel_id,
            sequence=number,
            order_hash=opened.digest,
            segment=0,
            status=Status.FINAL,
            input_units=trade.INPUT_UNITS,
            cached_units=0,
            output_units=trade.OUTPUT_UNITS,
            amount=amount,
            total=amount,
            output_hash=output_hash,
            started_at_ms=trade.NOW_MS,
            finished_at_ms=trade.NOW_MS + 4_000,
        )
        signed = seal(receipt, trade.DOMAIN, trade.PROVIDER)
        return messages.encode(Bill(signed, order.job_id, "stop", ""))

    return side


def _sign_and_recover() -> Callable[[int], object]:
    key = PrivateKey(trade.PROVIDER.secret)
    digests = [sha256(bytes((number,))).digest() for number in range(INPUTS)]
    signatures = [key.sign_recoverable(digest, hasher=None) for digest in digests]

    def side(number: int) -> object:
        at = number % INPUTS
        key.sign_recoverable(digests[at], hasher=None)
        return PublicKey.from_signature_and_message(signatures[at], digests[at], hasher=None)

    return side


# --- a voucher ------------------------------------------------------------------------------


def _voucher_side() -> Callable[[int], seller.Outcome]:
    """States that owe one receipt each, as one channel goes through them, and the payments."""
    state = trade.channel()
    due: list[tuple[SellerChannel, bytes]] = []
    step = LOG_COUNT // INPUTS
    for number in range(step * INPUTS):
        state, _ = trade.served(state, number)
        owed = Voucher(
            payer=trade.PAYER,
            provider=trade.PROVIDER.address,
            total=state.issued.total,
            receipt_count=state.issued.count,
            receipts_root=state.issued.frontier.root(),
        )
        if number % step == step - 1:
            due.append((state, messages.encode(Pay(seal(owed, trade.DOMAIN, trade.SESSION)))))
        state, _ = seller.step(state, on.ClientPaid(owed, trade.SESSION.address), trade.METER)

    def side(number: int) -> seller.Outcome:
        before, arrived = due[number % INPUTS]
        said = messages.decode_from_client(arrived)
        assert isinstance(said, Pay)
        opened = open_signed(said.voucher, Voucher, trade.DOMAIN)
        paid = on.ClientPaid(opened.statement, opened.signer)
        return seller.step(before, paid, trade.METER)

    assert [type(effect) for effect in side(0)[1]] == [on.KeepVoucher, on.Settled]
    return side


def _recover() -> Callable[[int], object]:
    key = PrivateKey(trade.SESSION.secret)
    digests = [sha256(bytes((number,))).digest() for number in range(INPUTS)]
    signatures = [key.sign_recoverable(digest, hasher=None) for digest in digests]

    def side(number: int) -> object:
        at = number % INPUTS
        return PublicKey.from_signature_and_message(signatures[at], digests[at], hasher=None)

    return side


# --- a chunk --------------------------------------------------------------------------------


def _chunk_side(said: Chunk) -> Callable[[int], object]:
    def side(_number: int) -> object:
        return messages.decode_from_provider(messages.encode(said))

    assert side(0) == said
    return side


def _msgpack_side(said: Chunk) -> Callable[[int], object]:
    plain = {"t": "chunk", "job": said.job, "at": said.at, "units": said.units, "text": said.text}
    assert msgpack.packb(plain) == messages.encode(said), "both sides write the same bytes"

    def side(_number: int) -> object:
        return msgpack.unpackb(msgpack.packb(plain))

    assert side(0) == plain
    return side
