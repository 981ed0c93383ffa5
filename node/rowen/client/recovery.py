"""Rebuilds a channel's buyer state from the journal, through the functions that made it."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from rowen.protocol import buyer
from rowen.protocol import buyer_events as on
from rowen.protocol.buyer_channel import BuyerChannel
from rowen.protocol.eip712 import Domain
from rowen.protocol.jobs import Finish
from rowen.protocol.messages import Signed, decode_input, open_signed
from rowen.protocol.statements import AMOUNT_MAX, Order, Receipt
from rowen.protocol.units import allowance_of
from rowen.store.base import (
    ChannelOpened,
    ChannelStopped,
    JobDropped,
    Journal,
    LogSettled,
    OrderKept,
    ReceiptKept,
    VoucherKept,
)


class Replayed(NamedTuple):
    """A channel as it stood when its last entry became durable.

    Attributes:
        state: The buyer's.
        voucher: The newest.
        settled_count: Receipts of the newest ``LogSettled``.
    """

    state: BuyerChannel
    voucher: Signed | None
    settled_count: int


async def replay(journal: Journal, opened: ChannelOpened, locked: int) -> Replayed:
    """Rebuilds a channel.

    Args:
        journal: Where it is kept.
        opened: Its first entry.
        locked: Token units locked on chain now.

    Raises:
        ValueError: The journal contradicts itself.
        Unavailable: The journal failed.
    """
    # What fitted the deposit then may not fit what is left of it now.
    state = BuyerChannel(
        domain=Domain(opened.chain_id, opened.escrow),
        channel_id=opened.channel_id,
        payer=opened.payer,
        provider=opened.provider,
        locked=AMOUNT_MAX,
    )
    voucher: Signed | None = None
    settled_count = 0
    async for entry in journal.to_replay(opened.channel_id):
        if isinstance(entry, LogSettled):
            state = replace(state, log=entry.log())
            voucher, settled_count = entry.voucher, entry.receipt_count
        elif isinstance(entry, OrderKept):
            order = Order.decode(entry.order.words)
            allowance = allowance_of(decode_input(entry.input))
            if not allowance.is_by_item:
                # As it was believed then, whatever is believed now.
                allowance = replace(allowance, input_units_max=(entry.input_units_max,))
            state = buyer.place(state, order, allowance)
            # Its session is gone; what the provider has to say about it comes when we attach.
            state, _ = buyer.step(state, on.ProviderLost(order.job_id))
        elif isinstance(entry, ReceiptKept):
            state = _paid(state, entry)
        elif isinstance(entry, VoucherKept):
            voucher = entry.voucher
        elif isinstance(entry, JobDropped):
            state, _ = buyer.step(state, on.CaughtUp(entry.job_id))
        elif isinstance(entry, ChannelStopped):
            state = replace(state, stopped=entry.detail)
    return Replayed(replace(state, locked=locked), voucher, settled_count)


def _paid(state: BuyerChannel, kept: ReceiptKept) -> BuyerChannel:
    opened = open_signed(kept.receipt, Receipt, state.domain)
    receipt = opened.statement
    job = state.jobs.get(kept.job_id)
    if job is None:
        raise ValueError(f"receipt {kept.sequence} is for a job that is not open")
    sent = on.ProviderSent(
        kept.job_id, job.output_bytes, max(job.output_units, receipt.output_units), kept.text
    )
    state, _ = buyer.step(state, sent)
    finish = Finish(kept.finish) if kept.finish else None
    billed = on.ProviderBilled(
        kept.job_id, receipt, opened.digest, opened.signer, finish, kept.detail
    )
    state, _ = buyer.step(state, billed)
    if state.stopped:
        raise ValueError(f"receipt {kept.sequence} was paid, but is wrong: {state.stopped}")
    return state
