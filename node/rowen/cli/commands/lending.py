"""``gpu``, ``pause``, ``resume``."""

from __future__ import annotations

from typing import Annotated

import typer

from rowen.cli.options import HomeAt, Json, home_of

Gpus = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu",
        metavar="UUID",
        help="Only this GPU; the beginning of its UUID is enough. May be repeated.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command(rich_help_panel="Sell")(gpu)
    app.command(rich_help_panel="Sell")(pause)
    app.command(rich_help_panel="Sell")(resume)


def gpu(as_json: Json = False) -> int:
    """Say what the driver tells of this machine's GPUs; exit code 4 when there is none."""
    from rowen.cli.lending import show_gpus

    return show_gpus(as_json=as_json)


def pause(gpu: Gpus = None, home: HomeAt = None, as_json: Json = False) -> int:
    """Take the GPUs back now, and lend them no more until `rowen resume`."""
    from rowen.cli.lending import turn

    return turn(home_of(home), tuple(gpu or ()), is_paused=True, as_json=as_json)


def resume(gpu: Gpus = None, home: HomeAt = None, as_json: Json = False) -> int:
    """Lend the GPUs again."""
    from rowen.cli.lending import turn

    return turn(home_of(home), tuple(gpu or ()), is_paused=False, as_json=as_json)
