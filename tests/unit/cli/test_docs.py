"""The page about the commands names all of them, with all their exit codes."""

from pathlib import Path

import typer.main

from rowen.cli.config_file import page
from rowen.cli.doctor.codes import CODES
from rowen.cli.exits import Exit
from rowen.cli.main import app
from rowen.cli.schema import SCHEMAS
from rowen.provider.readings import ALERTS

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "commands.md").read_text()


def commands() -> list[str]:
    """Every command as it is typed."""
    root = typer.main.get_command(app)
    found = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]  # a group
        inner = getattr(command, "commands", None)
        found += [name] if inner is None else [f"{name} {each}" for each in inner]
    return found


def test_every_command_is_on_the_page() -> None:
    for command in commands():
        group, _, name = command.partition(" ")
        assert f"`rowen {command}" in PAGE or (f"`rowen {group} " in PAGE and f"`{name} " in PAGE)


def test_every_command_has_a_schema() -> None:
    """`serve` and `devnet` print theirs when they are ready."""
    assert {command.replace(" ", "-") for command in commands()} | {"devnet", "error"} == set(
        SCHEMAS
    )


def test_every_exit_code_is_on_the_page() -> None:
    for code in Exit:
        assert f"| {code.value} |" in PAGE


def test_every_code_of_the_doctor_is_on_the_page_with_its_severity() -> None:
    for name, code in CODES.items():
        assert f"`{name}`{'¹' if code.severity == 'warning' else ''}" in PAGE
        assert (f"`{name}`¹" in PAGE) == (code.severity == "warning")


def test_every_alert_is_on_the_page() -> None:
    for name in ALERTS:
        assert f"`{name}`" in PAGE


def test_the_page_of_settings_is_not_stale() -> None:
    """`python -m rowen.cli.config_file` after a change of the settings."""
    assert (DOCS / "settings.md").read_text() == page()
