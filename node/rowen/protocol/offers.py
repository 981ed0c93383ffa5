"""Offers on the wire: canonical content, its hash in a signed statement, its reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Annotated

import msgspec

from rowen.protocol import statements
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.messages import Bytes32, Count, Hello, Milliseconds, Signed
from rowen.protocol.signing import Key, recover
from rowen_scheduler.market import Claim, ClaimedRun, Variant
from rowen_scheduler.market import Offer as MarketOffer

Amount = Annotated[bytes, msgspec.Meta(min_length=12, max_length=12)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
# Words, not ``Kind``: a provider that does what we do not know yet sells the rest all the same.
KindName = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]

OFFER_LIFETIME_MS_MAX = 24 * 3600 * 1000
CLOCK_SKEW_MS_MAX = 60_000


class RunContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Speed and energy as they travel; see ``market.ClaimedRun``."""

    concurrency: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    input_per_ks: Count
    output_per_ks: Count
    first_token_ms: Count
    input_j_per_m: Count | None
    output_j_per_m: Count | None


class ClaimContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a provider measured, as it travels; see ``market.Claim``."""

    measured_at_ms: Milliseconds
    energy_source: KindName
    runs: Annotated[tuple[RunContent, ...], msgspec.Meta(min_length=1, max_length=4)]


class VariantContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant as it travels; see ``market.Variant``."""

    model: Name
    precision: Name
    weights_digest: Bytes32
    build: Name
    context_units: Count
    kinds: Annotated[tuple[KindName, ...], msgspec.Meta(min_length=1, max_length=8)]
    output_units_max: Count
    price_input: Amount
    price_cached: Amount
    price_output: Amount
    price_request: Amount
    claim: ClaimContent | None


class OfferContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An offer as it travels; see ``market.Offer``."""

    addresses: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=512)], ...], msgspec.Meta(max_length=16)
    ]
    variants: Annotated[tuple[VariantContent, ...], msgspec.Meta(max_length=256)]
    credit: Amount
    jobs_max: Count


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(OfferContent)


def variant_id(
    model: str,
    precision: str,
    weights_digest: bytes,
    build: str,
    context_units: int,
    kinds: Sequence[str],
) -> bytes:
    """Identity of a product: SHA-256 over its canonical description, without the price."""
    described = (model, precision, weights_digest, build, context_units, tuple(kinds))
    return sha256(_encode(described)).digest()


def sign_offer(offer: MarketOffer, domain: Domain, key: Key) -> Hello:
    """The greeting that carries this offer, signed with the operator key."""
    content = _encode(
        OfferContent(
            addresses=offer.addresses,
            variants=tuple(_content_of(variant) for variant in offer.variants),
            credit=_amount(offer.credit),
            jobs_max=offer.jobs_max,
        )
    )
    statement = statements.Offer(
        provider=key.address,
        issued_at_ms=offer.issued_at_ms,
        expires_at_ms=offer.expires_at_ms,
        content_hash=sha256(content).digest(),
    )
    return Hello(Signed(statement.encode(), key.sign(statement.digest(domain))), content)


def read_offer(hello: Hello, domain: Domain, provider: bytes, now_ms: int) -> MarketOffer:
    """The offer inside a greeting, if it is this provider's own and still stands.

    Args:
        hello: As received.
        domain: The deployment the reader trades on.
        provider: Address of the peer that sent it; nobody offers in another's name.
        now_ms: The reader's clock, Unix time.

    Raises:
        PeerError: Signed by another key or for another deployment, altered, expired, or
            dated in the future.
    """
    statement = statements.Offer.decode(hello.offer.words)
    signer = recover(statement.digest(domain), hello.offer.signature)
    if signer != provider or statement.provider != provider:
        raise PeerError(
            f"offer is signed by 0x{signer.hex()} in the name of 0x{statement.provider.hex()}, "
            f"but comes from 0x{provider.hex()}; or it is for another chain or contract"
        )
    if sha256(hello.content).digest() != statement.content_hash:
        raise PeerError("offer content does not match its signed hash")
    if statement.expires_at_ms <= now_ms:
        late_ms = now_ms - statement.expires_at_ms
        raise PeerError(f"offer expired {late_ms} ms ago by our clock: compare the clocks")
    if statement.issued_at_ms > now_ms + CLOCK_SKEW_MS_MAX:
        early_ms = statement.issued_at_ms - now_ms
        raise PeerError(f"offer is dated {early_ms} ms in the future: compare the clocks")
    if statement.expires_at_ms - statement.issued_at_ms > OFFER_LIFETIME_MS_MAX:
        raise PeerError("offer is valid for more than a day")
    content = _read_content(hello.content)
    return MarketOffer(
        provider=provider,
        addresses=content.addresses,
        variants=tuple(_variant_of(variant) for variant in content.variants),
        credit=int.from_bytes(content.credit, "big"),
        jobs_max=content.jobs_max,
        issued_at_ms=statement.issued_at_ms,
        expires_at_ms=statement.expires_at_ms,
    )


def _read_content(raw: bytes) -> OfferContent:
    try:
        content = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The error may quote a key of any length that the peer chose.
        raise PeerError(f"malformed offer: {str(error)[:200]}") from error
    if _encode(content) != raw:
        raise PeerError("offer is not in its canonical encoding")
    return content


def _amount(value: int) -> bytes:
    return value.to_bytes(statements.AMOUNT_BYTES, "big")


def _content_of(variant: Variant) -> VariantContent:
    return VariantContent(
        model=variant.model,
        precision=variant.precision,
        weights_digest=variant.weights_digest,
        build=variant.build,
        context_units=variant.context_units,
        kinds=variant.kinds,
        output_units_max=variant.output_units_max,
        price_input=_amount(variant.price_input),
        price_cached=_amount(variant.price_cached),
        price_output=_amount(variant.price_output),
        price_request=_amount(variant.price_request),
        claim=None if variant.claim is None else _content_of_claim(variant.claim),
    )


def _content_of_claim(claim: Claim) -> ClaimContent:
    return ClaimContent(
        measured_at_ms=claim.measured_at_ms,
        energy_source=claim.energy_source,
        runs=tuple(RunContent(**asdict(run)) for run in claim.runs),
    )


def _claim_of(content: ClaimContent) -> Claim:
    return Claim(
        measured_at_ms=content.measured_at_ms,
        energy_source=content.energy_source,
        runs=tuple(ClaimedRun(**msgspec.structs.asdict(run)) for run in content.runs),
    )


def _variant_of(content: VariantContent) -> Variant:
    return Variant(
        id=variant_id(
            content.model,
            content.precision,
            content.weights_digest,
            content.build,
            content.context_units,
            content.kinds,
        ),
        model=content.model,
        precision=content.precision,
        weights_digest=content.weights_digest,
        build=content.build,
        context_units=content.context_units,
        kinds=content.kinds,
        output_units_max=content.output_units_max,
        price_input=int.from_bytes(content.price_input, "big"),
        price_cached=int.from_bytes(content.price_cached, "big"),
        price_output=int.from_bytes(content.price_output, "big"),
        price_request=int.from_bytes(content.price_request, "big"),
        claim=None if content.claim is None else _claim_of(content.claim),
    )
