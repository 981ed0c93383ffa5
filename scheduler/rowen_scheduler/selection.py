"""Which provider to ask, in which order, and why not the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from rowen_scheduler.market import Offer, Variant


class Sort(StrEnum):
    """What counts most. All but the price rest on providers' claims of a job that is alone."""

    PRICE = "price"
    THROUGHPUT = "throughput"
    LATENCY = "latency"
    ENERGY = "energy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What a developer wants of a provider.

    Attributes:
        model: Name as in the offer; ``model:precision`` asks for one precision.
        kind: Of the job, such as ``chat``; empty for any.
        price_input_max: Per million input units; None for any.
        price_output_max: Per million output units; None for any.
        only: Provider addresses to consider; empty for all.
        ignore: Provider addresses to leave out.
        sort: What counts most; what a provider does not claim comes last.
    """

    model: str
    kind: str = ""
    price_input_max: int | None = None
    price_output_max: int | None = None
    only: frozenset[bytes] = frozenset()
    ignore: frozenset[bytes] = frozenset()
    sort: Sort = Sort.PRICE


@dataclass(frozen=True, slots=True)
class Match:
    """An offer's variant that will do."""

    offer: Offer
    variant: Variant


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a provider will not do."""

    provider: bytes
    why: str


def select(
    offers: Iterable[Offer], preferences: Preferences, *, now_ms: int
) -> tuple[list[Match], list[Rejection]]:
    """Best first: by what counts most, cheapest output, cheapest input, then by address.

    So it is repeatable.

    Returns:
        What will do, best first, and a reason for every provider that will not.
    """
    matches: list[Match] = []
    rejections: list[Rejection] = []
    for offer in offers:
        why = _unfit(offer, preferences, now_ms)
        variants = [] if why else [v for v in offer.variants if _is_named(v, preferences.model)]
        if not why and not variants:
            names = ", ".join(f"{v.model}:{v.precision}" for v in offer.variants) or "nothing"
            why = f"does not sell {preferences.model}; it sells {names}"
        fitting = [v for v in variants if not _unsuited(v, preferences)]
        if not why and not fitting:
            why = _unsuited(variants[0], preferences)
        if why:
            rejections.append(Rejection(offer.provider, why))
        matches += [Match(offer, variant) for variant in fitting]
    matches.sort(key=lambda match: _rank(match, preferences.sort))
    return matches, rejections


def _rank(match: Match, sort: Sort) -> tuple[float, int, int, bytes]:
    variant = match.variant
    claim = variant.claim
    last = inf
    if claim is not None:
        alone = claim.runs[0]
        if sort is Sort.THROUGHPUT:
            last = -alone.output_per_ks
        elif sort is Sort.LATENCY:
            last = alone.first_token_ms
        elif sort is Sort.ENERGY and alone.output_j_per_m is not None:
            last = alone.output_j_per_m
    return (last, variant.price_output, variant.price_input, match.offer.provider)


def _is_named(variant: Variant, model: str) -> bool:
    return model in (variant.model, f"{variant.model}:{variant.precision}")


def _unfit(offer: Offer, preferences: Preferences, now_ms: int) -> str:
    if offer.expires_at_ms <= now_ms:
        return "its offer has expired"
    if preferences.only and offer.provider not in preferences.only:
        return "it is not among those you chose"
    if offer.provider in preferences.ignore:
        return "you ignore it"
    return ""


def _unsuited(variant: Variant, preferences: Preferences) -> str:
    if preferences.kind and preferences.kind not in variant.kinds:
        return f"sells {variant.model} for {', '.join(variant.kinds)}, not for {preferences.kind}"
    for what, price, cap in (
        ("input", variant.price_input, preferences.price_input_max),
        ("output", variant.price_output, preferences.price_output_max),
    ):
        if cap is not None and price > cap:
            return f"its {what} price {price} is above your cap {cap}"
    return ""
