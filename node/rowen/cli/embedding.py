"""``rowen embed``: vectors of texts, and what they cost."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rowen.cli.asking import part_entry, read_stdin
from rowen.cli.buyers import Session
from rowen.cli.buying_documents import EmbedDocument
from rowen.cli.exits import Exit
from rowen.cli.output import console, print_json
from rowen.cli.people import counted, dollars, harmless, short
from rowen.cli.quoting import turned
from rowen.cli.runner import Interrupt, run_async
from rowen.client.items import ItemsAnswer
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.vectors import Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What was typed. The texts appear in no message, log or ``repr``."""

    texts: tuple[str, ...]
    model: str
    max_cost: str
    providers: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Texts(model={self.model!r})"


def embed_texts(home: Home, password_file: Path | None, wanted: Texts, *, as_json: bool) -> int:
    """Buys a vector for each text and prints them as they come."""
    texts = wanted.texts
    if texts == ("-",):
        texts = tuple(line for line in read_stdin().splitlines() if line.strip())
    session = Session(home, password_file, wanted.providers)
    max_cost = session.config.client.max_cost.units
    if wanted.max_cost:
        max_cost = parse_usd(wanted.max_cost)
    interrupt = Interrupt()

    async def work() -> int:
        async with session.client() as client:
            began_s = time.monotonic()
            vectors: list[Vector] = []
            answer = client.embed(
                texts, model=wanted.model, max_cost=max_cost, providers=session.only
            )
            try:
                # Ctrl-C ends the answer, and not the session that has to pay for it.
                with interrupt.ends_this():
                    async with answer:
                        async for vector in answer:
                            vectors.append(vector)
                            if not as_json:
                                _put(vector)
                        answer.check_all()
            finally:
                # Also when interrupted: what came in was paid for, and says so.
                if vectors or answer.cost:
                    document = _document(answer, wanted.model, vectors, began_s)
                    _conclude(document, as_json=as_json)
        return Exit.OK

    return run_async(work, interrupt)


def _put(vector: Vector) -> None:
    sys.stdout.write(msgspec.json.encode(vector).decode() + "\n")
    sys.stdout.flush()


def _document(
    answer: ItemsAnswer[Vector], model: str, vectors: list[Vector], began_s: float
) -> EmbedDocument:
    bought = answer.answer
    return EmbedDocument(
        finish=bought.finish.value if bought.finish else "failed",
        model=model,
        vectors=[list(vector) for vector in vectors],
        input_units=sum(part.input_units for part in bought.parts),
        output_units=bought.output_units,
        cost=str(bought.cost),
        elapsed_ms=round((time.monotonic() - began_s) * 1000),
        parts=[part_entry(part) for part in bought.parts],
        attempts=[turned(rejection) for rejection in bought.attempts],
    )


def _conclude(document: EmbedDocument, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    screen = console(stderr=True)
    who = " then ".join(short(part.provider) for part in document.parts)
    receipts = sum(len(part.receipts) for part in document.parts)
    screen.print(
        f"{dollars(document.cost)} for {counted(len(document.vectors), 'vector')} of "
        f"{counted(document.input_units, 'token')}, {counted(receipts, 'receipt')} · {who}",
        style="dim",
    )
    for attempt in document.attempts:
        why = harmless(attempt.why)
        screen.print(f"gave up on {short(attempt.provider)}: {why}", style="dim")
