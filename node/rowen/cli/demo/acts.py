"""What happens on the stage, measured. Nothing here prints."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import trio

from rowen.cli.asking import Clock, part_entry
from rowen.cli.buying_documents import PartEntry
from rowen.cli.demo.screen import Screen
from rowen.cli.demo.stage import Player, Stage
from rowen.cli.demo_document import DemoAnswer, DemoRecovery, DemoSettlement
from rowen.cli.quoting import turned
from rowen.cli.settling import transaction_of
from rowen.client.answer import Answer
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import PeerError, Unavailable
from rowen.protocol.ids import format_address
from rowen.protocol.jobs import Finish
from rowen.provider.asking import ask_daemon
from rowen.provider.reports import ProviderReport, SettleReport

ANSWER_S: Final = 180.0
RECOVER_S: Final = 120.0
SETTLE_S: Final = 120.0
MAX_COST: Final = parse_usd("0.001")
POLL_S: Final = 0.1

Interrupt = Callable[[Answer], Awaitable[bool]]
Act = Literal["bought", "cancelled", "continued"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A provider that was killed.

    Attributes:
        player: Who.
        part: What it contributed before it died.
        owed: What the client had promised it, token units.
    """

    player: Player
    part: PartEntry
    owed: int


async def buy(stage: Stage, screen: Screen, question: str, max_output: int) -> DemoAnswer:
    """Asks and listens to the end."""

    async def goes_on(_answer: Answer) -> bool:
        return False

    return await _ask(stage, screen, "bought", question, max_output, goes_on)


async def cancel(
    stage: Stage, screen: Screen, question: str, max_output: int, after_units: int
) -> DemoAnswer:
    """Asks, and loses interest after so many tokens."""

    async def has_enough(answer: Answer) -> bool:
        return answer.output_units >= after_units

    answer = await _ask(stage, screen, "cancelled", question, max_output, has_enough)
    require(answer.finish == "cancelled", f"the answer was cancelled, yet ended as {answer.finish}")
    return answer


async def kill_and_continue(
    stage: Stage, screen: Screen, question: str, max_output: int, after_units: int
) -> tuple[DemoAnswer, Killed]:
    """Asks, and kills whoever answers after so many tokens; another provider goes on."""
    victims: list[Player] = []

    async def strike(answer: Answer) -> bool:
        if not victims and answer.output_units >= after_units:
            player = stage.player(answer.parts[-1].provider)
            victims.append(player)
            await player.process.kill()
            screen.aside(f"{player.process.name} is killed with SIGKILL")
        return False

    answer = await _ask(stage, screen, "continued", question, max_output, strike)
    require(bool(victims), "the answer ended before its provider could be killed")
    player = victims[0]
    providers = [part.provider for part in answer.parts]
    require(
        len(providers) == 2 and len(set(providers)) == 2,
        f"one provider should have continued another's answer; it came from {providers}",
    )
    owed = (await stage.buyer.channel(player.address)).owed
    return answer, Killed(player=player, part=answer.parts[0], owed=owed)


async def recover(stage: Stage, killed: Killed) -> DemoRecovery:
    """Restarts the killed provider and lets client and provider compare what they have."""
    player = killed.player
    with stage.limit(RECOVER_S, f"bringing {player.process.name} back"):
        began_s = time.monotonic()
        await player.process.start()
        restart_ms = round((time.monotonic() - began_s) * 1000)
        found = await status(player)
        await stage.client.account(player.address)
        while (left := await status(player)).paid != left.issued or _unpaid(left):
            await trio.sleep(POLL_S)
    owed = (await stage.buyer.channel(player.address)).owed
    return DemoRecovery(
        provider=player.shown.address,
        delivered_units=killed.part.output_units,
        billed_units=killed.part.billed_units,
        paid_before=str(killed.owed),
        unpaid_found=_unpaid(found),
        unpaid_left=_unpaid(left),
        paid_after=str(owed),
        restart_ms=restart_ms,
    )


async def settle_all(stage: Stage) -> list[DemoSettlement]:
    """Every provider claims what it was promised and sends it to its payout address."""
    done: dict[bytes, DemoSettlement] = {}

    async def settle(player: Player) -> None:
        done[player.address] = await _settle(player)

    with stage.limit(SETTLE_S, "settling on chain"):
        async with trio.open_nursery() as nursery:
            for player in stage.players:
                nursery.start_soon(settle, player)
    return [done[player.address] for player in stage.players]


async def status(player: Player) -> ProviderReport:
    """What a provider says of itself.

    Raises:
        Unavailable: It does not run.
    """
    return msgspec.convert(await asked(player, "status"), ProviderReport)


async def asked(player: Player, do: str, **arguments: object) -> dict[str, object]:
    """A provider's answer over its control socket.

    Raises:
        Unavailable: It does not run.
    """
    answer = await ask_daemon(player.process.home, do, **arguments)
    if answer is None:
        process = player.process
        raise Unavailable(f"{process.name} does not run any more; {process.log_tail()}")
    return answer


def require(is_so: bool, otherwise: str) -> None:
    """Fails the demo when something is not as it must be.

    Raises:
        PeerError: It is not.
    """
    if not is_so:
        raise PeerError(f"the demo failed: {otherwise}")


async def _ask(
    stage: Stage, screen: Screen, act: Act, question: str, max_output: int, interrupt: Interrupt
) -> DemoAnswer:
    screen.question(question)
    answer = stage.client.chat(
        question, model=stage.model, max_cost=MAX_COST, max_output=max_output
    )
    with stage.limit(ANSWER_S, "an answer"):
        clock = Clock(time.monotonic())
        async with answer:
            async for text in answer:
                clock.first_s = clock.first_s or time.monotonic()
                screen.text(text, format_address(answer.parts[-1].provider))
                if await interrupt(answer):
                    break
        clock.ended_s = time.monotonic()
    shown = _shown(act, question, answer, clock)
    paid = sum(int(part.cost) for part in shown.parts)
    require(int(shown.cost) == paid, f"an answer cost {shown.cost}, its receipts add up to {paid}")
    screen.answered(shown)
    return shown


def _shown(act: Act, question: str, answer: Answer, clock: Clock) -> DemoAnswer:
    return DemoAnswer(
        act=act,
        question=question,
        text=answer.text,
        finish=(answer.finish or Finish.FAILED).value,
        output_units=answer.output_units,
        cost=str(answer.cost),
        first_token_ms=clock.first_token_ms or 0,
        elapsed_ms=clock.elapsed_ms,
        parts=[part_entry(part) for part in answer.parts],
        attempts=[turned(rejection) for rejection in answer.attempts],
    )


async def _settle(player: Player) -> DemoSettlement:
    report = msgspec.convert(await asked(player, "settle", sweep=True), SettleReport)
    name = player.process.name
    require(report.claimed > 0 and not report.skipped, f"{name} could not claim all its vouchers")
    require(report.sweep is not None, f"{name} had nothing to send to its payout address")
    assert report.sweep is not None
    gas = sum(claim.gas_used for claim in report.transactions)
    return DemoSettlement(
        provider=player.shown.address,
        claimed=report.claimed,
        credited=str(report.credited),
        claims=[transaction_of(claim) for claim in report.transactions],
        gas_per_row=gas // report.claimed,
        swept=str(report.swept),
        payout=report.payout,
        sweep=transaction_of(report.sweep),
    )


def _unpaid(report: ProviderReport) -> int:
    return sum(channel.unpaid for channel in report.channels)
