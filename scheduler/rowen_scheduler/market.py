"""What is for sale: offers and their variants, as plain values.

Prices are in the token's smallest unit; ``price_*`` are per million units.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """Speed and energy with so many jobs at the same time, all of them together.

    Attributes:
        concurrency: Jobs.
        input_per_ks: Input units read in 1,000 seconds.
        output_per_ks: Output units written in 1,000 seconds.
        first_token_ms: From order to first token, the median job.
        input_j_per_m: Joules for a million input units; None where nothing measured them.
        output_j_per_m: The same of output units.
    """

    concurrency: int
    input_per_ks: int
    output_per_ks: int
    first_token_ms: int
    input_j_per_m: int | None = None
    output_j_per_m: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a provider says that it measured. Nobody checks it.

    Attributes:
        measured_at_ms: Unix time.
        energy_source: Where joules are from, a word such as ``nvml_counter``.
        runs: By concurrency; the first is a job alone.
    """

    measured_at_ms: int
    energy_source: str
    runs: tuple[ClaimedRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A priced product: one model at one precision on one engine build.

    Attributes:
        id: SHA-256 over what identifies it (see ``rowen.protocol.offers``), 32 bytes.
        model: Name a client asks for.
        precision: Quantisation, such as ``q4_1`` or ``bf16``.
        weights_digest: SHA-256 of the weights, 32 bytes.
        build: Engine and version.
        context_units: Largest input + output.
        kinds: Words for the kinds of jobs it takes, such as ``chat``.
        output_units_max: Longest answer the provider takes an order for; of a list, to one item.
        price_input: Per million input units.
        price_cached: Per million input units served from cache.
        price_output: Per million output units.
        price_request: For each job.
        claim: Its speed and energy, as its provider measured them; no part of the product.
    """

    id: bytes
    model: str
    precision: str
    weights_digest: bytes
    build: str
    context_units: int
    kinds: tuple[str, ...]
    output_units_max: int
    price_input: int
    price_cached: int
    price_output: int
    price_request: int
    claim: Claim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one provider sells until ``expires_at_ms``.

    Attributes:
        provider: Operator address, 20 bytes.
        addresses: Multiaddresses to dial.
        variants: At most 256.
        credit: Token units the provider works ahead of payment, per channel.
        jobs_max: Jobs it serves at the same time on one channel.
        issued_at_ms: Unix time.
        expires_at_ms: Unix time.
    """

    provider: bytes
    addresses: tuple[str, ...]
    variants: tuple[Variant, ...]
    credit: int
    jobs_max: int
    issued_at_ms: int
    expires_at_ms: int
