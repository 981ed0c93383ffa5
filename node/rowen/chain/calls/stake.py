"""Calls of RowenStake.

Written by tools/bindings.py; do not edit.
"""

from __future__ import annotations

from typing import NamedTuple

from rowen.chain.codec import Call

_RECEIPT = (
    "(bytes32,uint32,bytes32,uint32,uint8,uint32,uint32,uint32,uint96,uint96,bytes32,uint64,"
    "uint64,uint64,uint64,uint8)"
)
_SIGNED_RECEIPT = (
    "((bytes32,uint32,bytes32,uint32,uint8,uint32,uint32,uint32,uint96,uint96,bytes32,uint64,"
    "uint64,uint64,uint64,uint8),bytes32,bytes32)"
)


class Receipt(NamedTuple):
    """The contract's ``Receipt``."""

    channel_id: bytes
    sequence: int
    order_hash: bytes
    segment: int
    status: int
    input_units: int
    cached_units: int
    output_units: int
    amount: int
    total: int
    output_hash: bytes
    started_at_ms: int
    finished_at_ms: int
    gpu_ms: int
    energy_mj: int
    energy_source: int


class SignedReceipt(NamedTuple):
    """The contract's ``SignedReceipt``."""

    receipt: Receipt
    r: bytes
    vs: bytes


def active_of(provider: bytes) -> Call[int]:
    """``activeOf``."""
    return Call("activeOf", ("address",), (provider,), ("uint96",))


def bond(provider: bytes, amount: int) -> Call[None]:
    """``bond``."""
    return Call("bond", ("address", "uint96"), (provider, amount))


def bonds(provider: bytes) -> Call[tuple[int, int, int]]:
    """``bonds``."""
    return Call("bonds", ("address",), (provider,), ("uint96", "uint96", "uint64"))


def burned() -> Call[int]:
    """``burned``."""
    return Call("burned", (), (), ("uint256",))


def cancel_unbond(provider: bytes) -> Call[None]:
    """``cancelUnbond``."""
    return Call("cancelUnbond", ("address",), (provider,))


def escrow() -> Call[bytes]:
    """``escrow``."""
    return Call("escrow", (), (), ("address",))


def paid_for(provider: bytes, offence: int, channel_id: bytes, sequence: int) -> Call[int]:
    """``paidFor``."""
    return Call(
        "paidFor",
        ("address", "uint8", "bytes32", "uint32"),
        (provider, offence, channel_id, sequence),
        ("uint96",),
    )


def penalty() -> Call[int]:
    """``penalty``."""
    return Call("penalty", (), (), ("uint96",))


def receipt_digest(receipt: Receipt) -> Call[bytes]:
    """``receiptDigest``."""
    return Call("receiptDigest", (_RECEIPT,), (receipt,), ("bytes32",))


def request_unbond(provider: bytes, amount: int) -> Call[None]:
    """``requestUnbond``."""
    return Call("requestUnbond", ("address", "uint96"), (provider, amount))


def slash_broken_total(
    payer: bytes,
    provider: bytes,
    signer: bytes,
    first: SignedReceipt,
    second: SignedReceipt,
) -> Call[None]:
    """``slashBrokenTotal``."""
    return Call(
        "slashBrokenTotal",
        ("address", "address", "address", _SIGNED_RECEIPT, _SIGNED_RECEIPT),
        (payer, provider, signer, first, second),
    )


def slash_charged_failure(
    payer: bytes,
    provider: bytes,
    signer: bytes,
    charged: SignedReceipt,
) -> Call[None]:
    """``slashChargedFailure``."""
    return Call(
        "slashChargedFailure",
        ("address", "address", "address", _SIGNED_RECEIPT),
        (payer, provider, signer, charged),
    )


def slash_equivocation(
    payer: bytes,
    provider: bytes,
    signer: bytes,
    first: SignedReceipt,
    second: SignedReceipt,
) -> Call[None]:
    """``slashEquivocation``."""
    return Call(
        "slashEquivocation",
        ("address", "address", "address", _SIGNED_RECEIPT, _SIGNED_RECEIPT),
        (payer, provider, signer, first, second),
    )


def token() -> Call[bytes]:
    """``token``."""
    return Call("token", (), (), ("address",))


def unbond_delay() -> Call[int]:
    """``unbondDelay``."""
    return Call("unbondDelay", (), (), ("uint64",))


def withdraw(provider: bytes) -> Call[int]:
    """``withdraw``."""
    return Call("withdraw", ("address",), (provider,), ("uint96",))
