"""The demo from curtain to totals."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from rowen.cli.demo import acts
from rowen.cli.demo.evidence import Bundle, audit_all, export_all
from rowen.cli.demo.screen import Screen
from rowen.cli.demo.stage import Places, Player, Stage, open_stage
from rowen.cli.demo_document import (
    DemoAnswer,
    DemoAudit,
    DemoBooks,
    DemoDocument,
    DemoRecovery,
    DemoSettlement,
)

PLANTS: Final = "Explain in simple words how plants make food from sunlight."
SKY: Final = "Why is the sky blue? Answer in a short paragraph."
GRAVITY: Final = "What is gravity?"
OUTPUT_MAX: Final = 128
CANCEL_AFTER: Final = 25
KILL_AFTER: Final = 40
SETTLE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Totals:
    """One provider's total before the audit, as four parties see it, token units."""

    player: Player
    client_owes: int
    provider_was_promised: int
    escrow_claimed: int
    payout_received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Played:
    """What is left of the acts when the stage is gone."""

    stage: Stage
    answers: list[DemoAnswer]
    recovery: DemoRecovery
    settlements: list[DemoSettlement]
    totals: list[_Totals]
    bundles: list[Bundle]


async def play(places: Places, screen: Screen) -> DemoDocument:
    """Plays everything; the document says whether all parties agree.

    Args:
        places: Where everything lies.
        screen: The audience.

    Raises:
        PeerError: Something is not as it must be.
        Unavailable: Something did not answer in time.
        UserError: Something is missing on this machine.
    """
    began_s = time.monotonic()
    async with open_stage(places, screen) as stage:
        played = await _play_acts(stage, screen)
    screen.act("The audit", "Chain and providers are off: a folder and four pins must do.")
    with screen.waiting("checking every signature, price and total"):
        audits = await audit_all(played.bundles, is_kept=places.is_kept)
    screen.audited(audits)
    books = [_books(t, a) for t, a in zip(played.totals, audits, strict=True)]
    stage = played.stage
    document = DemoDocument(
        is_consistent=all(b.agrees for b in books) and _is_paid_once(played, books),
        chain_id=stage.devnet.deployment.domain.chain_id,
        escrow=played.bundles[0].pins.escrow,
        model=stage.model,
        precision=stage.precision,
        providers=[player.shown for player in stage.players],
        answers=played.answers,
        recovery=played.recovery,
        settlements=played.settlements,
        audits=audits,
        books=books,
        elapsed_ms=round((time.monotonic() - began_s) * 1000),
        kept=str(places.folder) if places.is_kept else None,
    )
    screen.closing(document)
    return document


async def _play_acts(stage: Stage, screen: Screen) -> _Played:
    screen.act("An answer", "It streams from the cheapest provider and is paid for as it comes.")
    answers = [await acts.buy(stage, screen, PLANTS, OUTPUT_MAX)]
    screen.act("A change of mind", "The client cancels in the middle and pays for what it got.")
    answers.append(await acts.cancel(stage, screen, GRAVITY, OUTPUT_MAX, CANCEL_AFTER))
    screen.act("A power cut", "The provider dies in mid-sentence; the other one goes on.")
    answer, killed = await acts.kill_and_continue(stage, screen, SKY, OUTPUT_MAX, KILL_AFTER)
    answers.append(answer)
    name = killed.player.process.name
    screen.act("The return", f"{name} starts again from its journal; it and the client compare.")
    with screen.waiting(f"starting {name} again"):
        recovery = await acts.recover(stage, killed)
    screen.recovered(recovery)
    screen.act("Settlement", "Both claim their vouchers, and send the money to a cold address.")
    with screen.waiting("claiming and sweeping on chain"):
        settlements = await acts.settle_all(stage)
    screen.settled(settlements)
    with screen.waiting("exporting the evidence"):
        totals = [await _totals(stage, player) for player in stage.players]
        bundles = await export_all(stage)
    return _Played(
        stage=stage,
        answers=answers,
        recovery=recovery,
        settlements=settlements,
        totals=totals,
        bundles=bundles,
    )


async def _totals(stage: Stage, player: Player) -> _Totals:
    with stage.limit(SETTLE_S, "reading the totals"):
        channel = await stage.buyer.channel(player.address)
        report = await acts.status(player)
        received = await stage.buyer.escrow.token_balance(player.payout)
    return _Totals(
        player=player,
        client_owes=channel.owed,
        provider_was_promised=report.paid,
        escrow_claimed=channel.claimed,
        payout_received=received,
    )


def _books(totals: _Totals, audit: DemoAudit) -> DemoBooks:
    figures = audit.verdict.figures
    seen = {
        totals.client_owes,
        totals.provider_was_promised,
        totals.escrow_claimed,
        totals.payout_received,
        int(figures.acknowledged_total),
        int(figures.swept_total),
    }
    return DemoBooks(
        provider=totals.player.shown.address,
        client_owes=str(totals.client_owes),
        provider_was_promised=str(totals.provider_was_promised),
        escrow_claimed=str(totals.escrow_claimed),
        payout_received=str(totals.payout_received),
        auditor_found=figures.acknowledged_total,
        agrees=len(seen) == 1 and audit.verdict.status == "verified",
    )


def _is_paid_once(played: _Played, books: list[DemoBooks]) -> bool:
    """Whether answers, and what the return added, make up the totals: nothing twice or lost."""
    bought = sum(int(answer.cost) for answer in played.answers)
    recovery = played.recovery
    settled_late = int(recovery.paid_after) - int(recovery.paid_before)
    return bought + settled_late == sum(int(b.client_owes) for b in books)
