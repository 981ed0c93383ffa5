"""Entries with defaults."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from rowen.protocol.messages import Signed
from rowen.protocol.statements import AMOUNT_MAX
from rowen.store.base import (
    ChannelOpened,
    ChannelStopped,
    DisputeKept,
    Entry,
    JobDropped,
    LogSettled,
    OrderKept,
    ReceiptKept,
    Role,
    VoucherKept,
)

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
CANARY = "the quick brown canary sings of Wiesenheu"


def named(name: str, size: int = 32) -> bytes:
    """Bytes that stand for a name."""
    return sha256(name.encode()).digest()[:size]


CHANNEL = named("channel")
JOB = named("job")


def signed(name: str = "statement", size: int = 160) -> Signed:
    return Signed((named(name) * (size // 32 + 1))[:size], named(name) * 2)


def opened(channel_id: bytes = CHANNEL, **fields: Any) -> ChannelOpened:
    defaults: dict[str, Any] = {
        "role": "seller",
        "chain_id": 31337,
        "escrow": named("escrow", 20),
        "payer": named("payer", 20),
        "provider": named("provider", 20),
        "signer": named("signer", 20),
    }
    return ChannelOpened(channel_id=channel_id, **(defaults | fields))


def order(job_id: bytes = JOB, channel_id: bytes = CHANNEL, **fields: Any) -> OrderKept:
    defaults: dict[str, Any] = {
        "order": signed("order", 352),
        "salt": named("salt"),
        "input": b"what is hay?",
        "input_units": 4,
        "input_units_max": 90,
        "output_units_max": 64,
        "started_at_ms": 1_790_000_000_000,
    }
    return OrderKept(channel_id=channel_id, job_id=job_id, **(defaults | fields))


def receipt(
    sequence: int = 0, channel_id: bytes = CHANNEL, job_id: bytes = JOB, **fields: Any
) -> ReceiptKept:
    defaults: dict[str, Any] = {
        "receipt": signed(f"receipt {sequence}", 512),
        "text": f"segment {sequence}. ",
    }
    return ReceiptKept(
        channel_id=channel_id, sequence=sequence, job_id=job_id, **(defaults | fields)
    )


def voucher(receipt_count: int = 1, channel_id: bytes = CHANNEL, **fields: Any) -> VoucherKept:
    defaults: dict[str, Any] = {
        "total": 10 * receipt_count,
        "voucher": signed(f"voucher {receipt_count}"),
    }
    return VoucherKept(channel_id=channel_id, receipt_count=receipt_count, **(defaults | fields))


def settled(receipt_count: int = 1, channel_id: bytes = CHANNEL, **fields: Any) -> LogSettled:
    defaults: dict[str, Any] = {
        "peaks": (named("peak"),),
        "voucher": signed(f"voucher {receipt_count}"),
    }
    return LogSettled(channel_id=channel_id, receipt_count=receipt_count, **(defaults | fields))


def a_whole_channel(channel_id: bytes = CHANNEL, role: Role = "seller") -> list[Entry]:
    """One of each kind, in an order that can happen."""
    job, refused = named("job" + channel_id.hex()), named("refused" + channel_id.hex())
    return [
        opened(channel_id, role=role, signer=channel_id[:20]),
        order(job, channel_id),
        receipt(0, channel_id, job),
        voucher(1, channel_id),
        order(refused, channel_id),
        JobDropped(channel_id=channel_id, job_id=refused, detail="busy"),
        receipt(1, channel_id, job, finish="stop", text="the end 🌾"),
        voucher(2, channel_id, total=AMOUNT_MAX),
        DisputeKept(channel_id=channel_id, sequence=7, receipt=signed(), detail="too dear"),
        ChannelStopped(channel_id=channel_id, detail="receipt 7 is disputed"),
    ]
