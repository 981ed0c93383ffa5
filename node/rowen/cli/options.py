"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowen.config import load_config
from rowen.home import Home

MODEL = "smollm2-135m-instruct"
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


def home_of(path: Path | None) -> Home:
    """The home that was named, or the default one."""
    return Home(path.expanduser().absolute()) if path is not None else Home.default()


def node_of(path: Path | None) -> Home:
    """The home, its settings checked: a wrong one should be said before slow imports.

    Raises:
        UserError: A setting is wrong; the message names its line or variable.
    """
    home = home_of(path)
    load_config(home.config)
    return home
