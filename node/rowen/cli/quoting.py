"""``rowen quote``: who sells a model now."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from rowen.cli.buyers import Session
from rowen.cli.buying_documents import ClaimEntry, OfferEntry, QuoteDocument, Turned
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.people import dollars, harmless, short, table
from rowen.cli.runner import run_async
from rowen.home import Home
from rowen.protocol.ids import format_address
from rowen_scheduler.selection import Match, Preferences, Rejection, Sort


def show_quote(
    home: Home,
    password_file: Path | None,
    model: str,
    named: tuple[str, ...],
    sort: str,
    *,
    as_json: bool,
) -> int:
    """Prints what will do, best first, and why the others will not."""
    session = Session(home, password_file, named)

    async def work() -> int:
        async with session.client() as client:
            wanted = Preferences(model=model, only=session.only, sort=Sort(sort))
            matches, rejections = await client.matches(wanted)
        document = QuoteDocument(
            model=model,
            offers=[_offer(match) for match in matches],
            rejected=[turned(rejection) for rejection in rejections],
        )
        show(document, as_json=as_json, for_people=lambda screen: _print_quote(screen, document))
        return Exit.OK if matches else Exit.UNAVAILABLE

    return run_async(work)


def turned(rejection: Rejection) -> Turned:
    """A provider that will not do, as a document."""
    return Turned(provider=format_address(rejection.provider), why=rejection.why)


def _offer(match: Match) -> OfferEntry:
    offer, variant = match.offer, match.variant
    return OfferEntry(
        provider=format_address(offer.provider),
        addresses=list(offer.addresses),
        model=variant.model,
        precision=variant.precision,
        build=variant.build,
        context_units=variant.context_units,
        kinds=list(variant.kinds),
        price_input=str(variant.price_input),
        price_cached=str(variant.price_cached),
        price_output=str(variant.price_output),
        price_request=str(variant.price_request),
        expires_at_ms=offer.expires_at_ms,
        claim=None if variant.claim is None else msgspec.convert(asdict(variant.claim), ClaimEntry),
    )


def _claims(claim: ClaimEntry | None) -> tuple[str, ...]:
    if claim is None:
        return ("–", "–", "–", "")
    alone = claim.runs[0]
    joules = alone.output_j_per_m
    return (
        f"{alone.output_per_ks / 1000:.1f}",
        f"{alone.first_token_ms} ms",
        "–" if joules is None else f"{joules / 1000:.1f}",
        _day(claim.measured_at_ms),
    )


def _day(at_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        # A stranger wrote it.
        return "?"


def _print_quote(screen: Console, document: QuoteDocument) -> None:
    if not document.offers:
        screen.print(f"Nobody sells {document.model} now.")
    else:
        rows = [
            (
                short(o.provider),
                harmless(f"{o.model}:{o.precision}"),
                harmless(" ".join(o.kinds)),
                dollars(o.price_input),
                dollars(o.price_cached),
                dollars(o.price_output),
                dollars(o.price_request),
                *_claims(o.claim),
            )
            for o in document.offers
        ]
        header = ("provider", "variant", "for", "input", "cached", "output", "request")
        claimed = ("tokens/s", "first", "J/1k", "claimed")
        screen.print(table((*header, *claimed), rows, right="lllrrrrrrrr"))
        screen.print(
            "prices per million tokens, output of vectors per million numbers; request is for each "
            "job; speed, time to first token and joules for 1,000 tokens of a job alone are the "
            "provider's claims of that day",
            style="dim",
        )
    for rejected in document.rejected:
        screen.print(f"not {short(rejected.provider)}: {harmless(rejected.why)}", style="dim")
