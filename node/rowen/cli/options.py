"""Options that many commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rowen.config import load_config
from rowen.home import Home
from rowen.protocol.errors import UserError

MODEL = "smollm2-135m-instruct"
OCR_MODEL = "pp-ocrv6-small"
"""What is asked for unless another model is named: the default model, as offers call it."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
HomeAt = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="The node's files. [ROWEN_HOME, else ~/.rowen]"),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Holds the keys' password. [ROWEN_PASSWORD_FILE, else asked for]",
    ),
]

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A setting such as provider.threads=2; may be repeated."
    ),
]


def home_of(path: Path | None) -> Home:
    """The home that was named, or the default one; it need not exist.

    Raises:
        UserError: It is there, and this user may not look into it.
    """
    home = Home(path.expanduser().absolute()) if path is not None else Home.default()
    try:
        home.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return home
    except OSError as error:
        raise UserError(f"{home.path} cannot be looked at: {error.strerror}") from error
    # Everything below would fail, each file in its own words.
    if not os.access(home.path, os.R_OK | os.X_OK):
        raise UserError(
            f"{home.path} is closed to this user: run the command as the user of the node, or name "
            "--home"
        )
    return home


def node_of(path: Path | None, flags: Sequence[str] = ()) -> Home:
    """A home with a node that can reach a chain: what is missing is said before slow imports.

    Raises:
        UserError: There is no node, a setting is wrong, or no escrow is set.
    """
    home = home_of(path)
    if not home.path.is_dir():
        raise UserError(f"there is no node in {home.path}: run `rowen init` first, or name --home")
    if not load_config(home.config, flags=flags).chain.escrow:
        raise UserError(
            f"no escrow contract is set: put its address into [chain] escrow of {home.config}, or "
            "set ROWEN_CHAIN_ESCROW; `rowen devnet` prints one"
        )
    return home
