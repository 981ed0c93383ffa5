"""``rowen demo``: a folder, a model, a screen; and nothing left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rowen.cli.demo.play import play
from rowen.cli.demo.screen import Screen, Silent
from rowen.cli.demo.terminal import Terminal
from rowen.cli.exits import Exit
from rowen.cli.output import console, print_json
from rowen.cli.runner import run_async
from rowen.config import DEFAULT_MODEL
from rowen.engine.models import pull
from rowen.home import Home
from rowen.log import set_up_logs
from rowen.protocol.errors import UserError


def run_demo(keep: Path | None, *, as_json: bool) -> int:
    """Plays the demo; any disagreement is a failure.

    Raises:
        UserError: The folder to keep it in is not new, or something is missing here.
    """
    set_up_logs("error", as_json=as_json)
    screen: Screen = Silent() if as_json else Terminal(console())
    models = Home.default().models.absolute()

    async def work() -> int:
        screen.opening()
        with screen.downloading(DEFAULT_MODEL) as progress:
            await pull(DEFAULT_MODEL, models, progress)
        with _folder(keep) as folder:
            document = await play(folder, models, screen, is_kept=keep is not None)
        if as_json:
            print_json(document)
        return Exit.OK if document.is_consistent else Exit.FAILED

    return run_async(work)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """A new folder, removed afterwards unless it is to be kept."""
    if keep is None:
        # Removed however this ends; short, because a socket's path must be.
        folder = Path(tempfile.mkdtemp(prefix="rowen-demo-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = keep.expanduser().absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot use {folder}: {error.strerror}") from error
    if not is_empty:
        raise UserError(f"{folder} is not empty: name a new folder")
    yield folder
