"""Settings: one TOML file, overridden by ``ROWEN_*`` variables, read into one frozen object."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address, parse_address

DEFAULT_MODEL = "smollm2-135m-instruct-q4_1"
DEFAULT_PORT = 4137


@dataclass(frozen=True, slots=True, kw_only=True)
class Usd:
    """A default or configured amount, in token units.

    Attributes:
        units: The smallest unit of the token.
    """

    units: int


_CENT = 10_000
"""Token units of one US cent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainConfig:
    """``[chain]``: where money is settled.

    Attributes:
        rpc: JSON-RPC endpoints; two or more are compared with each other.
        chain_id: EIP-155 id; every endpoint must be on it.
        escrow: Address of the RowenEscrow contract; empty until it is set.
        confirmations: Blocks on top of a deposit or claim before it counts.
        fee_max_gwei: Never more than this for a unit of gas, all included.
    """

    rpc: tuple[str, ...] = ("http://127.0.0.1:8545",)
    chain_id: int = 31337
    escrow: str = ""
    confirmations: int = 2
    fee_max_gwei: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """``[provider]``: what an owner sells. Prices are in US dollars.

    Attributes:
        listen: Multiaddresses to listen on.
        mdns: Whether to be found on the local network.
        model: A name from ``rowen models list``.
        threads: CPU threads of the engine.
        concurrency: Jobs the engine serves at the same time.
        context_units: Tokens of context for each job.
        price_input: For a million input tokens.
        price_cached: For a million input tokens served from the engine's cache.
        price_output: For a million output tokens.
        price_request: For each job.
        credit: Worked ahead of payment, per channel: the worst case a client can cost.
        credit_total: The same for all clients together, within an hour.
        claim_above: Unclaimed value that makes a claim worth its gas.
        claim_interval_s: How often unclaimed vouchers are looked at.
    """

    listen: tuple[str, ...] = (f"/ip4/127.0.0.1/tcp/{DEFAULT_PORT}",)
    mdns: bool = False
    model: str = DEFAULT_MODEL
    threads: int = 1
    concurrency: int = 2
    context_units: int = 2048
    price_input: Usd = Usd(units=5 * _CENT)
    price_cached: Usd = Usd(units=2 * _CENT)
    price_output: Usd = Usd(units=20 * _CENT)
    price_request: Usd = Usd(units=0 * _CENT)
    credit: Usd = Usd(units=2 * _CENT)
    credit_total: Usd = Usd(units=100 * _CENT)
    claim_above: Usd = Usd(units=100 * _CENT)
    claim_interval_s: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """``[client]``: how a developer buys.

    Attributes:
        payer: Wallet that funds the channels; empty for this node's own.
        providers: Multiaddresses of providers, each ending in /p2p/<PeerId>.
        mdns: Whether to look for providers on the local network.
        max_cost: One answer never costs more, in US dollars, unless asked for.
    """

    payer: str = ""
    providers: tuple[str, ...] = ()
    mdns: bool = False
    max_cost: Usd = Usd(units=1 * _CENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings.

    Attributes:
        chain: See ``ChainConfig``.
        provider: See ``ProviderConfig``.
        client: See ``ClientConfig``.
        origins: Where each value comes from, by ``section.key``: ``default``,
            ``file:LINE`` or ``env:NAME``.
    """

    chain: ChainConfig = ChainConfig()
    provider: ProviderConfig = ProviderConfig()
    client: ClientConfig = ClientConfig()
    origins: Mapping[str, str] = field(default_factory=dict)


_SECTIONS: dict[str, type[Any]] = {
    "chain": ChainConfig,
    "provider": ProviderConfig,
    "client": ClientConfig,
}


def load_config(file: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Reads the file, if it is there, and the environment over it.

    Raises:
        UserError: Unknown key, wrong type or malformed value; the message names its line.
    """
    text = _read(file)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file} is not valid TOML: {error}") from error
    for name, table in tables.items():
        if name not in _SECTIONS or not isinstance(table, dict):
            known = ", ".join(f"[{section}]" for section in _SECTIONS)
            line = _line_of(text, "", name)
            raise UserError(f"{file}:{line}: unknown section or key {name!r}; known are {known}")
    origins: dict[str, str] = {}
    sections = {
        name: _section(name, kind, tables.get(name, {}), text, file, environ, origins)
        for name, kind in _SECTIONS.items()
    }
    return Config(**sections, origins=origins)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error


def _section(
    name: str,
    kind: type[Any],
    table: Mapping[str, Any],
    text: str,
    file: Path,
    environ: Mapping[str, str],
    origins: dict[str, str],
) -> Any:
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        line = _line_of(text, name, key)
        if key not in known:
            raise UserError(
                f"{file}:{line}: unknown key {key!r} in [{name}]; known are {', '.join(known)}"
            )
        values[key] = _typed(known[key].default, value, f"{file}:{line}: {key}")
        origins[f"{name}.{key}"] = f"{file}:{line}"
    for key, known_field in known.items():
        variable = f"ROWEN_{name}_{key}".upper()
        origins.setdefault(f"{name}.{key}", "default")
        if variable in environ:
            raw = _from_text(known_field.default, environ[variable])
            values[key] = _typed(known_field.default, raw, variable)
            origins[f"{name}.{key}"] = f"env:{variable}"
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
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError(f"{where}: expected a list of texts, got {value!r}")
        return tuple(value)
    if type(value) is not type(default):
        raise UserError(f"{where}: expected {type(default).__name__}, got {value!r}")
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        raise UserError(f"{where}: {value} is negative")
    if where.endswith(("escrow", "payer", "ESCROW", "PAYER")) and value:
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
