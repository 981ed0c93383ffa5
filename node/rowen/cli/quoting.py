"""``rowen quote``: who sells a model now."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from rowen.cli.buyers import Session
from rowen.cli.buying_documents import OfferEntry, QuoteDocument, Turned
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.people import dollars, harmless, short, table
from rowen.cli.runner import run_async
from rowen.home import Home
from rowen.protocol.ids import format_address
from rowen_scheduler.selection import Match, Preferences, Rejection


def show_quote(
    home: Home, password_file: Path | None, model: str, named: tuple[str, ...], *, as_json: bool
) -> int:
    """Prints what will do, best first, and why the others will not."""
    session = Session(home, password_file, named)

    async def work() -> int:
        async with session.client() as client:
            matches, rejections = await client.matches(Preferences(model=model, only=session.only))
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
    )


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
            )
            for o in document.offers
        ]
        header = ("provider", "variant", "for", "input", "cached", "output", "request")
        screen.print(table(header, rows, right="lllrrrr"))
        screen.print("prices per million tokens; request is for each job", style="dim")
    for rejected in document.rejected:
        screen.print(f"not {short(rejected.provider)}: {harmless(rejected.why)}", style="dim")
