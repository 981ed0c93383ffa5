"""``rowen``: reads the command line and ends with its exit code.

Nothing slow is imported here: ``rowen --help`` must answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import typer

from rowen.cli.commands import buying, checking, deploying, guarding, lending, selling, setting_up
from rowen.cli.exits import SIGNAL_BASE, Exit
from rowen.cli.output import show_error
from rowen.cli.reporting import run_reporting
from rowen.cli.streams import prepare, require_text

app = typer.Typer(
    name="rowen",
    help="Rent out a GPU's idle minutes, buy inference by the token, audit every payment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (checking, setting_up, selling, guarding, lending, buying, deploying):
    part.register(app)


def main() -> None:
    """The entry point."""
    prepare()
    sys.exit(run_line(sys.argv[1:]))


def run_line(arguments: Sequence[str]) -> int:
    """Runs one command line; everything but its exit code goes to stdout and stderr."""
    line = list(arguments)
    own = line[: line.index("--")] if "--" in line else line
    # Known before the line is parsed, because a line that cannot be parsed must answer in JSON too.
    as_json = "--json" in own
    return run_reporting(partial(_run, line, as_json), as_json=as_json)


def _run(line: list[str], as_json: bool) -> int:
    require_text(line)
    try:
        return int(app(args=line, prog_name="rowen", standalone_mode=False) or Exit.OK)
    except typer.Abort:
        return SIGNAL_BASE + 2
    except typer.TyperException as error:
        # `rowen` alone shows its help, which typer calls an error without a message.
        if error.format_message():
            context = getattr(error, "ctx", None)
            hint = f" See `{context.command_path} --help`." if context else ""
            show_error("usage", error.format_message() + hint, as_json=as_json)
        return Exit.USAGE
