"""``rowen demo``: a folder, a model, a screen; and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from rowen.cli.demo.play import play
from rowen.cli.demo.screen import Screen, Silent
from rowen.cli.demo.stage import Places
from rowen.cli.demo.terminal import Terminal
from rowen.cli.exits import Exit
from rowen.cli.output import console, print_json
from rowen.cli.runner import run_async
from rowen.config import DEFAULT_MODEL
from rowen.engine.models import entry, pull
from rowen.home import Home, scratch
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
        began_s = trio.current_time()
        with screen.downloading(DEFAULT_MODEL) as progress:
            await pull(DEFAULT_MODEL, models, progress)
        known = entry(DEFAULT_MODEL)
        about = f"{known.model} {known.precision}, {known.size_bytes / 1e6:.0f} MB: quick, not wise"
        screen.ready("model", (about,), trio.current_time() - began_s)
        with _places(keep, models) as places:
            document = await play(places, screen)
        if as_json:
            print_json(document)
        return Exit.OK if document.is_consistent else Exit.FAILED

    return run_async(work)


@contextmanager
def _places(keep: Path | None, models: Path) -> Iterator[Places]:
    """New folders; all but the one that is to be kept go away, however this ends."""
    kept = None if keep is None else _new_folder(keep.expanduser().absolute())
    with scratch() as place:
        yield Places(folder=kept or place, scratch=place, models=models, is_kept=kept is not None)


def _new_folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot use {folder}: {error.strerror}") from error
    if not is_empty:
        raise UserError(f"{folder} is not empty: name a new folder")
    return folder
