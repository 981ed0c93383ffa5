"""Every way to bend a true statement that the other side must notice."""

from collections.abc import Iterator
from dataclasses import fields
from typing import TypeVar

from msgspec.structs import replace

from rowen.protocol.buyer_events import ProviderBilled
from rowen.protocol.jobs import Finish
from rowen.protocol.statements import Receipt, Status, Voucher


def flipped(value: bytes) -> bytes:
    """The same with its last bit turned."""
    return value[:-1] + bytes((value[-1] ^ 1,))


E = TypeVar("E")


def but(event: E, **changes: object) -> E:
    """The event with some fields changed, whether it is a dataclass or a msgspec.Struct."""
    names = getattr(event, "__struct_fields__", None)
    if names is None:
        names = [field.name for field in fields(event)]  # type: ignore[arg-type]  # it is one or the other
    return type(event)(**{name: getattr(event, name) for name in names} | changes)


def about_receipt(event: ProviderBilled) -> Iterator[tuple[str, ProviderBilled]]:
    """Receipts the client must not pay, made from one that it would."""
    receipt = event.receipt
    for name, lie in _receipts(receipt):
        # The digest is over the lie: this is a provider that signs it.
        yield name, but(event, receipt=lie, digest=flipped(event.digest))
    yield "another's signature", but(event, signer=flipped(event.signer))
    yield "another finish", but(event, finish=_OTHER_FINISH[receipt.status])
    yield "an unknown job", but(event, job=flipped(event.job))


_OTHER_FINISH = {
    Status.PARTIAL: Finish.STOP,
    Status.FINAL: Finish.FAILED,
    Status.CANCELLED: Finish.STOP,
    Status.PREEMPTED: Finish.FAILED,
    Status.FAILED: Finish.STOP,
}


def _receipts(receipt: Receipt) -> Iterator[tuple[str, Receipt]]:
    yield "another channel", replace(receipt, channel_id=flipped(receipt.channel_id))
    yield "a later number", replace(receipt, sequence=receipt.sequence + 1)
    if receipt.sequence:
        yield "a number used before", replace(receipt, sequence=receipt.sequence - 1)
    yield "another order", replace(receipt, order_hash=flipped(receipt.order_hash))
    yield "a segment skipped", replace(receipt, segment=receipt.segment + 1)
    yield "a higher amount", replace(receipt, amount=receipt.amount + 1)
    yield "more in amount and total", overcharged(receipt)
    yield "a higher total", replace(receipt, total=receipt.total + 1)
    if receipt.amount:
        yield "a lower amount", replace(receipt, amount=receipt.amount - 1)
    if receipt.total:
        yield "a lower total", replace(receipt, total=receipt.total - 1)
    started = receipt.finished_at_ms + 1
    yield "an end before its start", replace(receipt, started_at_ms=started)
    if receipt.status is Status.FAILED:
        # It is free, so its reading is not looked at.
        return
    yield "a unit too many", replace(receipt, output_units=receipt.output_units + 1)
    if receipt.output_units:
        yield "a unit too few", replace(receipt, output_units=receipt.output_units - 1)
    yield "input nobody sent", replace(receipt, input_units=2**32 - 1)
    yield "more cached than sent", replace(receipt, cached_units=receipt.input_units + 1)
    yield "another answer", replace(receipt, output_hash=flipped(receipt.output_hash))


def overcharged(receipt: Receipt) -> Receipt:
    """Consistent in itself, but one token unit above units times price."""
    return replace(receipt, amount=receipt.amount + 1, total=receipt.total + 1)


def overmetered(receipt: Receipt) -> Receipt:
    """Units that were never delivered."""
    return replace(receipt, output_units=receipt.output_units + 1)


def about_voucher(true: Voucher, signer: bytes) -> Iterator[tuple[str, Voucher, bytes]]:
    """Vouchers the provider must not take, made from one that it would."""
    yield "another signer", true, flipped(signer)
    yield "another payer", replace(true, payer=flipped(true.payer)), signer
    yield "another provider", replace(true, provider=flipped(true.provider)), signer
    yield "a higher total", replace(true, total=true.total + 1), signer
    if true.total:
        yield "a lower total", replace(true, total=true.total - 1), signer
    yield "a receipt more", replace(true, receipt_count=true.receipt_count + 1), signer
    if true.receipt_count:
        yield "a receipt less", replace(true, receipt_count=true.receipt_count - 1), signer
    yield "another log", replace(true, receipts_root=flipped(true.receipts_root)), signer
    yield "far more receipts", replace(true, receipt_count=2**32 - 1), signer
