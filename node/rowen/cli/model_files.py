"""``rowen models``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from rowen.cli.documents import ModelDocument, ModelEntry, ModelsDocument
from rowen.cli.exits import Exit
from rowen.cli.output import console, show
from rowen.cli.people import table
from rowen.cli.runner import run_async
from rowen.config import DEFAULT_MODEL
from rowen.engine.models import CATALOG, Progress, entry, locate, pull, verify
from rowen.home import Home
from rowen.protocol.errors import UserError


def list_models(home: Home, *, as_json: bool) -> int:
    """Prints the catalogue and which of it is here."""
    document = ModelsDocument(
        directory=str(home.models),
        models=[
            ModelEntry(
                name=known.name,
                model=known.model,
                precision=known.precision,
                licence=known.licence,
                size_bytes=known.size_bytes,
                sha256=known.weights_digest.hex(),
                file=str(home.models / f"{known.name}.gguf"),
                is_here=_is_here(known.name, home.models),
            )
            for known in CATALOG.values()
        ],
    )

    def for_people(screen: Console) -> None:
        rows = [
            (
                m.name,
                f"{m.size_bytes / 1e6:.0f} MB",
                m.licence,
                "here" if m.is_here else f"rowen models pull {m.name}",
            )
            for m in document.models
        ]
        screen.print(table(("model", "size", "licence", ""), rows, right="lr"))
        screen.print(f"in {document.directory}", style="dim")

    show(document, as_json=as_json, for_people=for_people)
    return Exit.OK


def pull_model(home: Home, name: str, *, as_json: bool) -> int:
    """Fetches a model."""
    known = entry(name or DEFAULT_MODEL)

    async def work() -> int:
        with downloading(known.name, is_shown=not as_json) as progress:
            file = await pull(known.name, home.models, progress)
        _show_file(known.name, file, known.weights_digest, as_json=as_json)
        return Exit.OK

    return run_async(work)


def verify_model(home: Home, name: str, *, as_json: bool) -> int:
    """Reads a model file whole and compares its hash."""
    known = entry(name or DEFAULT_MODEL)

    async def work() -> int:
        file = locate(known.name, home.models)
        await verify(file, known.weights_digest)
        _show_file(known.name, file, known.weights_digest, as_json=as_json)
        return Exit.OK

    return run_async(work)


@contextmanager
def downloading(name: str, *, is_shown: bool) -> Iterator[Progress | None]:
    """A bar on a terminal's standard error, nothing elsewhere."""
    screen = console(stderr=True)
    if not is_shown or not screen.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bar(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _is_here(name: str, directory: Path) -> bool:
    try:
        locate(name, directory)
    except UserError:
        return False
    return True


def _show_file(name: str, file: Path, digest: bytes, *, as_json: bool) -> None:
    document = ModelDocument(name=name, file=str(file), sha256=digest.hex())

    def for_people(screen: Console) -> None:
        screen.print(f"{document.file}")
        screen.print(f"SHA-256 {document.sha256}, as it must be", style="dim")

    show(document, as_json=as_json, for_people=for_people)
