"""``rowen embed`` and ``rowen ocr``: lists that are answered item by item, and what they cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rowen.cli.asking import part_entry, read_stdin
from rowen.cli.buyers import Session
from rowen.cli.buying_documents import EmbedDocument, OcrDocument
from rowen.cli.exits import Exit
from rowen.cli.output import console, print_json
from rowen.cli.people import counted, dollars, harmless, short
from rowen.cli.quoting import turned
from rowen.cli.runner import Interrupt, run_async
from rowen.client.client import Client
from rowen.client.items import ItemsAnswer
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.jobs import PAGE_BYTES_MAX
from rowen.protocol.vectors import Vector

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Of whom to buy, and for how much."""

    model: str
    max_cost: str
    providers: tuple[str, ...]


def embed_texts(
    home: Home, password_file: Path | None, wanted: Wanted, texts: tuple[str, ...], *, as_json: bool
) -> int:
    """Buys a vector for each text and prints them as they come."""
    if texts == ("-",):
        texts = tuple(line for line in read_stdin().splitlines() if line.strip())
    session = Session(home, password_file, wanted.providers)

    def start(client: Client, max_cost: int) -> ItemsAnswer[Vector]:
        return client.embed(texts, model=wanted.model, max_cost=max_cost, providers=session.only)

    def put(vector: Vector, _number: int) -> None:
        sys.stdout.write(msgspec.json.encode(vector).decode() + "\n")

    def document(vectors: list[Vector], fields: dict[str, Any]) -> EmbedDocument:
        return EmbedDocument(vectors=[list(vector) for vector in vectors], **fields)

    return _buy(session, wanted, start, None if as_json else put, document, "vector")


def ocr_files(
    home: Home,
    password_file: Path | None,
    wanted: Wanted,
    files: tuple[Path, ...],
    *,
    as_json: bool,
) -> int:
    """Has pages read and prints their text as it comes."""
    pages = [_picture(file) for file in files]
    session = Session(home, password_file, wanted.providers)

    def start(client: Client, max_cost: int) -> ItemsAnswer[str]:
        return client.ocr(pages, model=wanted.model, max_cost=max_cost, providers=session.only)

    def put(text: str, number: int) -> None:
        # A file gets the text as it is; a terminal would obey what is in it.
        said = harmless(text) if sys.stdout.isatty() else text
        sys.stdout.write(("\f" if number else "") + said + "\n")

    def document(texts: list[str], fields: dict[str, Any]) -> OcrDocument:
        return OcrDocument(pages=texts, **fields)

    return _buy(session, wanted, start, None if as_json else put, document, "page")


def _picture(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            raw = opened.read(PAGE_BYTES_MAX + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    if len(raw) > PAGE_BYTES_MAX:
        raise UserError(f"{file} is larger than {PAGE_BYTES_MAX:,} bytes: make the picture smaller")
    return raw


def _buy(
    session: Session,
    wanted: Wanted,
    start: Callable[[Client, int], ItemsAnswer[T]],
    put: Callable[[T, int], None] | None,
    document: Callable[[list[T], dict[str, Any]], EmbedDocument | OcrDocument],
    noun: str,
) -> int:
    max_cost = session.config.client.max_cost.units
    if wanted.max_cost:
        max_cost = parse_usd(wanted.max_cost)
    interrupt = Interrupt()

    async def work() -> int:
        async with session.client() as client:
            began_s = time.monotonic()
            items: list[T] = []
            answer = start(client, max_cost)
            try:
                # Ctrl-C ends the answer, and not the session that has to pay for it.
                with interrupt.ends_this():
                    async with answer:
                        async for item in answer:
                            items.append(item)
                            if put is not None:
                                put(item, len(items) - 1)
                                sys.stdout.flush()
                        answer.check_all()
            finally:
                # Also when interrupted: what came in was paid for, and says so.
                if items or answer.cost:
                    told = document(items, _fields(answer, wanted.model, began_s))
                    if put is None:
                        print_json(told)
                    else:
                        _explain(told, counted(len(items), noun))
        return Exit.OK

    return run_async(work, interrupt)


def _fields(answer: ItemsAnswer[T], model: str, began_s: float) -> dict[str, Any]:
    bought = answer.answer
    return {
        "finish": bought.finish.value if bought.finish else "failed",
        "model": model,
        "input_units": sum(part.input_units for part in bought.parts),
        "output_units": bought.output_units,
        "cost": str(bought.cost),
        "elapsed_ms": round((time.monotonic() - began_s) * 1000),
        "parts": [part_entry(part) for part in bought.parts],
        "attempts": [turned(rejection) for rejection in bought.attempts],
    }


def _explain(told: EmbedDocument | OcrDocument, what: str) -> None:
    # To standard error: standard output should hold the answer and nothing else.
    screen = console(stderr=True)
    who = " then ".join(short(part.provider) for part in told.parts)
    receipts = sum(len(part.receipts) for part in told.parts)
    screen.print(
        f"{dollars(told.cost)} for {what} ({told.finish}), {counted(receipts, 'receipt')} · {who}",
        style="dim",
    )
    for attempt in told.attempts:
        why = harmless(attempt.why)
        screen.print(f"gave up on {short(attempt.provider)}: {why}", style="dim")
