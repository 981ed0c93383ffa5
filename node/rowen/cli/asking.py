"""``rowen run``: asks, streams the answer, and says what it cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from rowen.cli.buyers import Session
from rowen.cli.buying_documents import PartEntry, ResultLine, TextLine
from rowen.cli.documents import EnergyWord
from rowen.cli.exits import Exit
from rowen.cli.output import console, print_json
from rowen.cli.people import counted, dollars, harmless, joules, short
from rowen.cli.quoting import turned
from rowen.cli.runner import Interrupt, run_async
from rowen.client.answer import Answer
from rowen.client.parts import Part
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address
from rowen.protocol.jobs import CONTENT_BYTES_MAX
from rowen.protocol.statements import EnergySource
from rowen_scheduler.selection import Sort

_WORDS: Final[Mapping[EnergySource, EnergyWord]] = {
    EnergySource.NONE: "none",
    EnergySource.NVML_COUNTER: "nvml_counter",
    EnergySource.NVML_POWER: "nvml_power",
    EnergySource.RAPL: "rapl",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was typed. The prompt appears in no message, log or ``repr``."""

    prompt: str
    is_completion: bool
    model: str
    max_cost: str
    max_output: int
    temperature: float
    seed: int
    providers: tuple[str, ...]
    sort: str = "price"

    def __repr__(self) -> str:
        return f"Question(model={self.model!r})"


@dataclass(slots=True)
class Clock:
    """When an answer began, spoke first, and ended; seconds of a steady clock."""

    began_s: float
    first_s: float | None = None
    ended_s: float | None = None

    @property
    def first_token_ms(self) -> int | None:
        """From the question to the first text; None if there was none."""
        return None if self.first_s is None else round((self.first_s - self.began_s) * 1000)

    @property
    def elapsed_ms(self) -> int:
        """From the question to the end."""
        ended_s = time.monotonic() if self.ended_s is None else self.ended_s
        return round((ended_s - self.began_s) * 1000)


def ask(home: Home, password_file: Path | None, question: Question, *, as_json: bool) -> int:
    """Asks one question and streams its answer."""
    prompt = read_stdin() if question.prompt == "-" else question.prompt
    if not prompt.strip():
        raise UserError("the prompt is empty")
    session = Session(home, password_file, question.providers)
    max_cost = session.config.client.max_cost.units
    if question.max_cost:
        max_cost = parse_usd(question.max_cost)

    interrupt = Interrupt()

    async def work() -> int:
        async with session.client() as client:
            clock = Clock(time.monotonic())
            start = client.complete if question.is_completion else client.chat
            answer = start(
                prompt,
                model=question.model,
                max_cost=max_cost,
                max_output=question.max_output,
                temperature=question.temperature,
                seed=question.seed,
                providers=session.only,
                sort=Sort(question.sort),
            )
            try:
                # Ctrl-C ends the answer, and not the session that has to pay for it.
                with interrupt.ends_this():
                    async with answer:
                        async for text in answer:
                            clock.first_s = clock.first_s or time.monotonic()
                            _put(text, as_json=as_json)
            finally:
                # Also when interrupted: what came in was paid for, and says so.
                clock.ended_s = time.monotonic()
                if answer.text or answer.cost:
                    _conclude(answer, clock, question.model, as_json=as_json)
        return Exit.OK

    return run_async(work, interrupt)


def result_line(answer: Answer, clock: Clock, model: str) -> ResultLine:
    """The outcome as a document."""
    return ResultLine(
        finish=answer.finish.value if answer.finish else "failed",
        model=model,
        text=answer.text,
        input_units=sum(part.input_units for part in answer.parts),
        output_units=answer.output_units,
        cost=str(answer.cost),
        first_token_ms=clock.first_token_ms,
        elapsed_ms=clock.elapsed_ms,
        parts=[part_entry(part) for part in answer.parts],
        attempts=[turned(rejection) for rejection in answer.attempts],
    )


def part_entry(part: Part) -> PartEntry:
    """One provider's contribution as a document."""
    newest = part.receipts[-1][0] if part.receipts else None
    source = newest.energy_source if newest else EnergySource.NONE
    return PartEntry(
        provider=format_address(part.provider),
        variant="0x" + part.variant.id.hex(),
        input_units=part.input_units,
        output_units=part.output_units,
        billed_units=newest.output_units if newest else 0,
        cost=str(part.paid),
        receipts=[receipt.sequence for receipt, _ in part.receipts],
        voucher_total=str(newest.total) if newest else None,
        is_settled=part.is_settled,
        energy_mj=newest.energy_mj if newest else 0,
        energy_source=_WORDS[source.origin],
        energy_is_shared=source.is_shared,
        energy_is_weak=source.is_weak,
    )


def tokens_per_s(units: int, first_token_ms: int | None, elapsed_ms: int) -> str:
    """Speed after the first token; the wait before it is told apart."""
    spoke_ms = elapsed_ms - (first_token_ms or 0)
    if units < 2 or spoke_ms <= 0:
        return "–"
    return f"{(units - 1) * 1000 / spoke_ms:.0f} tokens/s"


def read_stdin() -> str:
    """What is piped in.

    Raises:
        UserError: It is too long, or no text.
    """
    raw = sys.stdin.buffer.read(CONTENT_BYTES_MAX + 1)
    if len(raw) > CONTENT_BYTES_MAX:
        raise UserError(f"standard input is longer than {CONTENT_BYTES_MAX} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8 text: {error}") from error


def _put(text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(TextLine(text=text))
    else:
        # A file gets the answer as it is; a terminal would obey what is in it.
        sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()


def _conclude(answer: Answer, clock: Clock, model: str, *, as_json: bool) -> None:
    result = result_line(answer, clock, model)
    if as_json:
        print_json(result)
        return
    sys.stdout.write("\n")
    sys.stdout.flush()
    # To standard error: `rowen run … > answer.txt` should hold the answer and nothing else.
    _explain(console(stderr=True), result)


def energy_of(result: ResultLine) -> str:
    """The providers' own readings; nothing when one of them has none, for half a sum is wrong.

    One that was reckoned, or measured for too short a time, is about so much.
    """
    if not result.parts or any(part.energy_source == "none" for part in result.parts):
        return ""
    is_about = any(part.energy_is_shared or part.energy_is_weak for part in result.parts)
    about = "about " if is_about else ""
    return f" · {about}{joules(sum(part.energy_mj for part in result.parts))}"


def _explain(screen: Console, result: ResultLine) -> None:
    speed = tokens_per_s(result.output_units, result.first_token_ms, result.elapsed_ms)
    first = "–" if result.first_token_ms is None else f"{result.first_token_ms} ms"
    who = " then ".join(short(part.provider) for part in result.parts)
    receipts = sum(len(part.receipts) for part in result.parts)
    screen.print(
        f"{dollars(result.cost)} for {counted(result.output_units, 'token')} "
        f"({result.finish}), {counted(receipts, 'receipt')} · {who} · "
        f"first token after {first}, then {speed}{energy_of(result)}",
        style="dim",
    )
    for attempt in result.attempts:
        why = harmless(attempt.why)
        screen.print(f"gave up on {short(attempt.provider)}: {why}", style="dim")
