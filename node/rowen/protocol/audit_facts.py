"""What a chain proves about one provider, as values; ``rowen.auditor`` fills them in.

The escrow rolls a hash over the voucher digest of every row it paid, provider by provider:
``accumulator = keccak256(digest ‖ accumulator)``. One proven storage value therefore shows
that a list of claims is complete and in order, whoever drew it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.ids import ZERO_HASH, keccak
from rowen.protocol.statements import Voucher


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A voucher as the escrow paid it.

    Attributes:
        payer: 20 bytes.
        signer: Session key, 20 bytes.
        total: Token units.
        receipt_count: Receipts.
        receipts_root: 32 bytes.
    """

    payer: bytes
    signer: bytes
    total: int
    receipt_count: int
    receipts_root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFacts:
    """State of the escrow at one block, as far as it concerns one provider; all of it proven.

    Attributes:
        block_number: Height.
        block_hash: keccak256 of the header the proofs start from, 32 bytes.
        channels: What the escrow holds for each proven channel.
        accumulator: Hash over all the provider's claims, 32 bytes.
        credit: Claimed and not swept yet, token units.
        claims: Said to be all claims ever, oldest first; the accumulator shows whether.
    """

    block_number: int
    block_hash: bytes
    channels: Mapping[bytes, ChannelView]
    accumulator: bytes
    credit: int
    claims: Sequence[Claim]


def rolled(domain: Domain, provider: bytes, claims: Sequence[Claim]) -> bytes:
    """The accumulator after these claims, 32 bytes."""
    accumulator = ZERO_HASH
    for claim in claims:
        voucher = Voucher(
            payer=claim.payer,
            provider=provider,
            total=claim.total,
            receipt_count=claim.receipt_count,
            receipts_root=claim.receipts_root,
        )
        accumulator = keccak(voucher.digest(domain) + accumulator)
    return accumulator
