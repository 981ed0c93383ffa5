"""Reads settings: the file, then the environment, then flags. Every error names its place."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from rowen.config.sections import ENGINE, PRIVATE, SECTIONS, Config, EngineConfig, Usd
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address, parse_address

FLAG = "flag:--set"


@dataclass(slots=True)
class _Source:
    """What values are read from, and where each was found.

    Attributes:
        file: Of the settings.
        text: What it holds.
        environ: The environment.
        flags: Texts by ``section.key``.
        origins: Filled in while reading.
    """

    file: Path
    text: str
    environ: Mapping[str, str]
    flags: Mapping[str, str]
    origins: dict[str, str] = field(default_factory=dict)

    def place(self, section: str, key: str) -> str:
        """``FILE:LINE`` of a key."""
        return f"{self.file}:{_line_of(self.text, section, key)}"


def load_config(
    file: Path, environ: Mapping[str, str] = os.environ, flags: Sequence[str] = ()
) -> Config:
    """Reads the file, if it is there, the environment over it, and flags over that.

    Args:
        file: ``rowen.toml``.
        environ: ``ROWEN_PROVIDER_THREADS`` is ``threads`` in ``[provider]``.
        flags: ``provider.threads=2``; no secrets, since every user sees a command line.

    Raises:
        UserError: Unknown key, wrong type or malformed value; the message names its place.
    """
    text = _read(file)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file} is not valid TOML: {error}") from error
    sections = {**SECTIONS, **{f"{ENGINE}.{name}": EngineConfig for name in _engines(tables)}}
    source = _Source(file, text, environ, _split(flags, sections))
    for name, table in tables.items():
        if name not in (*SECTIONS, ENGINE) or not isinstance(table, dict):
            known = ", ".join(f"[{section}]" for section in (*SECTIONS, f"{ENGINE}.NAME"))
            raise UserError(
                f"{source.place('', name)}: unknown section or key {name!r}; known are {known}"
            )
    _check_variables(environ, sections)
    read = {
        name: _section(name, kind, tables.get(name, {}), source) for name, kind in SECTIONS.items()
    }
    engines = {name: _engine(name, table, source) for name, table in _engines(tables).items()}
    return Config(**read, engines=engines, origins=source.origins)


def _engines(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    found = tables.get(ENGINE, {})
    return found if isinstance(found, dict) else {}


def _engine(name: str, table: Any, source: _Source) -> EngineConfig:
    if not re.fullmatch(r"[a-z0-9_-]{1,32}", name) or not isinstance(table, dict):
        raise UserError(
            f"{source.place(ENGINE, name)}: {name!r}: write engines as tables, [engine.NAME], "
            "their names in small letters and digits"
        )
    engine = _section(f"{ENGINE}.{name}", EngineConfig, table, source)
    assert isinstance(engine, EngineConfig)
    return engine


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error


def _split(flags: Sequence[str], sections: Mapping[str, type[Any]]) -> dict[str, str]:
    known = {f"{name}.{f.name}": f for name, kind in sections.items() for f in fields(kind)}
    named: dict[str, str] = {}
    for flag in flags:
        key, is_there, value = flag.partition("=")
        if not is_there:
            raise UserError(f"--set {flag}: write it as section.key=value")
        if key not in known:
            raise UserError(f"--set {key}: unknown key; `rowen config show` lists them")
        if known[key].metadata.get(PRIVATE):
            raise UserError(
                f"--set {key}: it may hold an access key, and every user of this machine sees a "
                f"command line: put it into the file or into {variable_of(key)}"
            )
        named[key] = value
    return named


def variable_of(key: str) -> str:
    """The variable of ``section.key``."""
    return f"ROWEN_{key.replace('.', '_').replace('-', '_')}".upper()


def _check_variables(environ: Mapping[str, str], sections: Mapping[str, type[Any]]) -> None:
    """A misspelt variable would be passed over in silence, and the owner believe it set."""
    known = {
        variable_of(f"{name}.{f.name}") for name, kind in sections.items() for f in fields(kind)
    }
    ours = tuple(f"ROWEN_{name}_".upper() for name in (*SECTIONS, ENGINE))
    for name in sorted(environ):
        if name.startswith(ours) and name not in known:
            raise UserError(f"{name}: unknown variable; `rowen config show` lists the settings")


def _section(name: str, kind: type[Any], table: Mapping[str, Any], source: _Source) -> Any:
    known: dict[str, Field[Any]] = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        place = source.place(name, key)
        if key not in known:
            raise UserError(
                f"{place}: unknown key {key!r} in [{name}]; known are {', '.join(known)}"
            )
        values[key] = _typed(known[key].default, value, f"{place}: {key}")
        source.origins[f"{name}.{key}"] = place
    for key, known_field in known.items():
        assert known_field.default is not MISSING
        full = f"{name}.{key}"
        source.origins.setdefault(full, "default")
        variable = variable_of(full)
        for text, spoken, origin in (
            (source.environ.get(variable), variable, f"env:{variable}"),
            (source.flags.get(full), f"--set {full}", FLAG),
        ):
            if text is not None:
                raw = _from_text(known_field.default, text)
                values[key] = _typed(known_field.default, raw, spoken)
                source.origins[full] = origin
    return kind(**values)


def _from_text(default: Any, text: str) -> Any:
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(default, int):
        return int(text) if re.fullmatch(r"\d+", text) else text
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _typed(default: Any, value: Any, where: str) -> Any:
    if isinstance(default, Usd):
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UserError(f'{where}: write dollars as text, such as "0.25", not {value!r}')
        try:
            return Usd(units=parse_usd(str(value)))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    if isinstance(default, tuple):
        if where.lower().endswith("gpus") and isinstance(value, list):
            # Some of them are numbers, and nobody writes numbers as texts.
            value = [str(item) if type(item) is int else item for item in value]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError(f"{where}: expected a list of texts, got {value!r}")
        return tuple(value)
    if type(value) is not type(default):
        raise UserError(f"{where}: expected {type(default).__name__}, got {value!r}")
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        raise UserError(f"{where}: {value} is negative")
    if where.lower().endswith(("escrow", "stake", "payer")) and value:
        try:
            return format_address(parse_address(value))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    return value


def _line_of(text: str, section: str, key: str) -> int:
    """Line of a key, from 1. tomllib does not say, so find it as a person would."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.-]+)", line):
            current = header.group(1)
            if not section and current == key:
                return number
        elif current == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return 1
