"""``rowen version`` and ``rowen config show``."""

from __future__ import annotations

import platform
from urllib.parse import urlsplit

from rich.console import Console

import rowen
from rowen.cli.config_file import is_secret, plain, settings, toml_value
from rowen.cli.documents import ConfigDocument, Setting, VersionDocument
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.people import table
from rowen.config import load_config
from rowen.home import Home

HIDDEN = "•••"


def show_version(*, as_json: bool) -> int:
    """Prints the version."""
    document = VersionDocument(rowen=rowen.__version__, python=platform.python_version())

    def for_people(screen: Console) -> None:
        screen.print(f"rowen {document.rowen} (Python {document.python})")

    show(document, as_json=as_json, for_people=for_people)
    return Exit.OK


def config_document(home: Home, flags: tuple[str, ...]) -> ConfigDocument:
    """Every setting in force and its origin, without access keys.

    Raises:
        UserError: The file, a variable or a flag is wrong; the message names it.
    """
    config = load_config(home.config, flags=flags)
    found = [
        Setting(key=key, value=_redacted(key, plain(value)), origin=config.origins[key])
        for key, value in settings(config)
    ]
    return ConfigDocument(file=str(home.config), settings=found)


def show_config(home: Home, flags: tuple[str, ...], *, with_origin: bool, as_json: bool) -> int:
    """Prints every setting in force and, if wished, where it comes from.

    Raises:
        UserError: The file or a variable is wrong; the message names it.
    """
    document = config_document(home, flags)
    found = document.settings

    def for_people(screen: Console) -> None:
        rows = [(s.key, toml_value(s.value), s.origin) for s in found]
        if with_origin:
            screen.print(table(("setting", "value", "origin"), rows))
            return
        section = ""
        for key, value, _ in rows:
            table_name, _, name = key.rpartition(".")
            if table_name != section:
                screen.print(f"{'' if not section else chr(10)}[{table_name}]", style="bold")
                section = table_name
            screen.print(f"{name} = {value}")

    show(document, as_json=as_json, for_people=for_people)
    return Exit.OK


def _redacted(key: str, value: str | int | bool | list[str]) -> str | int | bool | list[str]:
    """URLs often carry an access key in their path, query or user name."""
    if not is_secret(key) or isinstance(value, int):
        return value
    if isinstance(value, str):
        return without_secrets(value)
    return [without_secrets(url) for url in value]


def without_secrets(url: str) -> str:
    """Scheme, host and port of a URL; the rest, and what is no URL, may be an access key."""
    if "://" not in url:
        return HIDDEN if url else url
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return HIDDEN
    place = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return url if url.rstrip("/") == place else f"{place}/{HIDDEN}"
