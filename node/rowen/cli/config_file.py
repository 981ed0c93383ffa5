"""The ``rowen.toml`` that ``rowen init`` writes: every setting, with its default and meaning.

Keys, defaults and explanations come from the dataclasses in ``rowen.config``, so that the
file cannot say anything else than the program does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from rowen.config import ENGINE, PRIVATE, SECTIONS, Config, EngineConfig, Usd
from rowen.config.reading import variable_of
from rowen.protocol.amounts import format_usd

Values = Mapping[str, object]

_HEADER = """\
# Settings of one Rowen node. A line that starts with "#" shows a default; remove the "#" to
# change it. Variables override this file: ROWEN_CHAIN_RPC is rpc in [chain]. What is in force,
# and where it comes from: rowen config show --origin
"""

_PAGE_HEADER = """\
# Settings

Made from `node/rowen/config/sections.py`: `python -m rowen.cli.config_file` writes this page anew.

A setting comes from its default, from the file `rowen.toml` in the node's home, from a variable,
or from `--set section.key=value` on the command line (nothing that may hold an access key: every
user of a machine sees its command lines). The last one wins. An unknown key or variable is an
error that names its place, with exit code 2. `rowen config show --origin` prints what is in force
and where it comes from. Amounts are US dollars, written as text: `"0.25"`.
"""


def render(values: Values) -> str:
    """The file's text.

    Args:
        values: What is not a comment, by ``section.key``.
    """
    lines = [_HEADER]
    for section, kind in SECTIONS.items():
        summary, meanings = _explained(kind)
        lines += [f"[{section}]", f"# {summary[:1].upper()}{summary[1:]}", ""]
        for known in fields(kind):
            name = f"{section}.{known.name}"
            if meaning := meanings.get(known.name):
                lines.append(f"# {meaning.replace('``', '`')}")
            value = values.get(name, known.default)
            mark = "" if name in values else "# "
            lines += [f"{mark}{known.name} = {toml_value(value)}", ""]
    summary, meanings = _explained(EngineConfig)
    lines += [f"# {summary[:1].upper()}{summary[1:]} One table for each.", "", "# [engine.NAME]"]
    for known in fields(EngineConfig):
        lines += [f"# {known.name} = {toml_value(known.default)}  # {meanings[known.name]}"]
    return "\n".join([*lines, ""])


def settings(config: Config) -> Iterator[tuple[str, object]]:
    """Every setting by ``section.key``, as it is in force."""
    for section in SECTIONS:
        table = getattr(config, section)
        for known in fields(table):
            yield f"{section}.{known.name}", getattr(table, known.name)
    for name, engine in config.engines.items():
        for known in fields(engine):
            yield f"{ENGINE}.{name}.{known.name}", getattr(engine, known.name)


def plain(value: object) -> str | int | bool | list[str]:
    """A setting's value as JSON holds it; amounts as dollars, as they are written in the file."""
    if isinstance(value, Usd):
        return format_usd(value.units).removeprefix("$").replace(",", "")
    if isinstance(value, tuple | list):
        return list(value)
    assert isinstance(value, str | int)
    return value


def toml_value(value: object) -> str:
    """A value as TOML; its texts, numbers and lists look as in JSON."""
    return json.dumps(plain(value), ensure_ascii=False)


def is_secret(key: str) -> bool:
    """Whether the value of ``section.key`` may hold an access key."""
    section, _, name = key.rpartition(".")
    kind = EngineConfig if section.startswith(f"{ENGINE}.") else SECTIONS[section]
    return any(known.name == name and known.metadata.get(PRIVATE) for known in fields(kind))


def page() -> str:
    """``docs/settings.md``."""
    lines = [_PAGE_HEADER]
    sections: dict[str, type[Any]] = {**SECTIONS, f"{ENGINE}.NAME": EngineConfig}
    for section, kind in sections.items():
        summary, meanings = _explained(kind)
        lines += [f"## [{section}]", "", f"{summary[:1].upper()}{summary[1:]}", ""]
        lines += ["| Setting | Default | Variable | Meaning |", "|---|---|---|---|"]
        lines += [_row(section, known, meanings.get(known.name, "")) for known in fields(kind)]
        lines.append("")
    return "\n".join(lines)


def _row(section: str, known: Field[Any], meaning: str) -> str:
    meaning = meaning.replace("``", "`").replace("|", "\\|")
    if known.metadata.get(PRIVATE):
        meaning += " May hold access keys: only hosts are ever shown."
    variable = variable_of(f"{section}.{known.name}")
    return f"| `{known.name}` | `{toml_value(known.default)}` | `{variable}` | {meaning} |"


def _explained(kind: type[Any]) -> tuple[str, dict[str, str]]:
    """The class's first sentence, and each attribute's, out of its docstring."""
    doc = kind.__doc__ or ""
    summary = doc.partition("\n")[0].partition(": ")[2].replace("``", "`")
    meanings: dict[str, str] = {}
    name = ""
    for line in doc.partition("Attributes:")[2].splitlines():
        if begun := re.match(r" {8}(\w+): (.*)", line):
            name, meanings[begun[1]] = begun[1], begun[2]
        elif name and line.strip():
            meanings[name] += " " + line.strip()
    return summary, meanings


if __name__ == "__main__":
    Path("docs/settings.md").write_text(page(), encoding="utf-8")
