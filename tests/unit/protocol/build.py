"""Builders with defaults for everything the protocol signs, sells and orders."""

from typing import Any

from rowen.protocol.admission import Terms
from rowen.protocol.buyer_channel import BuyerChannel
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.ids import channel_id_of
from rowen.protocol.metering import Reading
from rowen.protocol.seller_channel import Job, SellerChannel
from rowen.protocol.signing import Key
from rowen.protocol.statements import (
    EnergySource,
    Offer,
    Order,
    Receipt,
    Release,
    Statement,
    Status,
    Voucher,
)
from rowen_scheduler.market import Variant

OPERATOR = Key(b"\x01" * 32)
SESSION = Key(b"\x02" * 32)
STRANGER = Key(b"\x03" * 32)
PAYER = b"\xaa" * 20
DOMAIN = Domain(31337, b"\xe5" * 20)
CHANNEL = channel_id_of(PAYER, OPERATOR.address, SESSION.address)
NOW_MS = 1_790_000_000_000
MILLION = 1_000_000


def order(**changes: Any) -> Order:
    """One token unit per unit of any kind, nothing for the request."""
    fields: dict[str, Any] = {
        "channel_id": CHANNEL,
        "job_id": b"\x10" * 32,
        "variant": b"\x11" * 32,
        "input_hash": b"\x12" * 32,
        "price_input": MILLION,
        "price_cached": MILLION,
        "price_output": MILLION,
        "price_request": 0,
        "output_units_max": 100,
        "amount_max": 1_000,
        "deadline_ms": NOW_MS + 60_000,
    }
    return Order(**fields | changes)


def receipt(**changes: Any) -> Receipt:
    fields: dict[str, Any] = {
        "channel_id": CHANNEL,
        "sequence": 0,
        "order_hash": order().digest(DOMAIN),
        "segment": 0,
        "status": Status.PARTIAL,
        "input_units": 5,
        "cached_units": 2,
        "output_units": 3,
        "amount": 8,
        "total": 8,
        "output_hash": b"\x13" * 32,
        "started_at_ms": NOW_MS,
        "finished_at_ms": NOW_MS + 900,
        "gpu_ms": 800,
        "energy_mj": 70_000,
        "energy_source": EnergySource.NVML_POWER,
    }
    return Receipt(**fields | changes)


def voucher(**changes: Any) -> Voucher:
    fields: dict[str, Any] = {
        "payer": PAYER,
        "provider": OPERATOR.address,
        "total": 8,
        "receipt_count": 1,
        "receipts_root": b"\x14" * 32,
    }
    return Voucher(**fields | changes)


def release(**changes: Any) -> Release:
    fields: dict[str, Any] = {"channel_id": CHANNEL, "total": 8, "deadline_s": NOW_MS // 1000}
    return Release(**fields | changes)


def offer(**changes: Any) -> Offer:
    fields: dict[str, Any] = {
        "provider": OPERATOR.address,
        "issued_at_ms": NOW_MS,
        "expires_at_ms": NOW_MS + 600_000,
        "content_hash": b"\x15" * 32,
    }
    return Offer(**fields | changes)


STATEMENTS: list[Statement] = [order(), receipt(), voucher(), release(), offer()]


def variant(**changes: Any) -> Variant:
    fields: dict[str, Any] = {
        "id": b"\x11" * 32,
        "model": "smollm2-135m",
        "precision": "q4_1",
        "weights_digest": b"\x16" * 32,
        "build": "llama.cpp b1",
        "context_units": 200,
        "kinds": ("chat", "completion"),
        "output_units_max": 150,
        "price_input": MILLION,
        "price_cached": MILLION,
        "price_output": MILLION,
        "price_request": 0,
    }
    return Variant(**fields | changes)


def terms(**changes: Any) -> Terms:
    fields: dict[str, Any] = {
        "variants": {b"\x11" * 32: variant()},
        "jobs_max": 2,
        "deadline_ms_max": 600_000,
    }
    return Terms(**fields | changes)


def view(**changes: Any) -> ChannelView:
    return ChannelView(**{"locked": 10_000, "claimed": 0} | changes)


def seller_channel(**changes: Any) -> SellerChannel:
    fields: dict[str, Any] = {
        "domain": DOMAIN,
        "channel_id": CHANNEL,
        "payer": PAYER,
        "provider": OPERATOR.address,
        "signer": SESSION.address,
        "credit": 40,
    }
    return SellerChannel(**fields | changes)


def seller_job(ordered: Order | None = None, **changes: Any) -> Job:
    ordered = ordered or order()
    fields: dict[str, Any] = {
        "order": ordered,
        "order_hash": ordered.digest(DOMAIN),
        "output_units_max": 100,
        "started_at_ms": NOW_MS,
        "reading": Reading(5, 0, 0),
    }
    return Job(**fields | changes)


def buyer_channel(**changes: Any) -> BuyerChannel:
    fields: dict[str, Any] = {
        "domain": DOMAIN,
        "channel_id": CHANNEL,
        "payer": PAYER,
        "provider": OPERATOR.address,
        "locked": 10_000,
    }
    return BuyerChannel(**fields | changes)
