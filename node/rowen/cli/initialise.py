"""``rowen init``: keys and settings for one node. It adds what is missing and changes nothing."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.console import Console

from rowen.chain.keystore import SCRYPT_N, create_key, key_address, load_key
from rowen.cli.config_file import render
from rowen.cli.documents import InitDocument
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.passwords import new_password, password_for
from rowen.cli.people import facts
from rowen.cli.runner import run_async
from rowen.config import DEFAULT_MODEL, Config, load_config
from rowen.engine.models import locate
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address, parse_address

PASSWORD_BYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Settings that were named on the command line; None or empty leaves the default."""

    rpc: tuple[str, ...] = ()
    chain_id: int | None = None
    escrow: str | None = None
    deployment: Path | None = None

    def values(self) -> dict[str, object]:
        """By ``section.key``, as the settings file holds them.

        Raises:
            UserError: The deployment record cannot be read.
        """
        named: dict[str, object] = {}
        if self.deployment is not None:
            from rowen.chain.deployments import read_record

            record = read_record(self.deployment)
            named |= {
                "chain.chain_id": record.chain_id,
                "chain.escrow": record.escrow.address,
                "chain.stake": record.stake.address,
                "chain.first_block": record.block,
            }
        if self.rpc:
            named["chain.rpc"] = self.rpc
        if self.chain_id is not None:
            named["chain.chain_id"] = self.chain_id
        if self.escrow is not None:
            named["chain.escrow"] = format_address(parse_address(self.escrow))
        return named


@dataclass(slots=True)
class _Work:
    """What was made and what was there."""

    created: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def note(self, path: Path, *, is_new: bool) -> None:
        (self.created if is_new else self.kept).append(str(path))


def initialise(
    home: Home, chosen: Chosen, password_file: Path | None, *, asks: bool, as_json: bool
) -> int:
    """Makes what a node needs and is not there yet.

    Raises:
        UserError: Nobody is there to ask, settings that differ from the file's were named, or
            something cannot be written.
    """
    if asks and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError("there is no terminal to ask questions on: use `rowen init --yes`")
    values = chosen.values()
    if home.config.exists() and values:
        raise UserError(f"{home.config} exists and is not changed: edit it instead")
    load_config(home.config)  # a broken file should be said before keys are made
    if asks and not home.config.exists():
        values = _ask_settings(values)
    home.make()
    work = _Work()
    password = _password(home, password_file, work, asks=asks)

    async def make() -> int:
        await make_keys(home, password, work)
        write_settings(home, values, work)
        document = InitDocument(
            home=str(home.path),
            created=work.created,
            kept=work.kept,
            operator=format_address(await key_address(home.operator_key)),
            wallet=format_address(await key_address(home.wallet_key)),
            session=format_address(await key_address(home.session_key)),
        )
        config = load_config(home.config)
        show(
            document,
            as_json=as_json,
            for_people=lambda screen: _print_made(screen, home, config, document),
        )
        return Exit.OK

    return run_async(make)


async def make_keys(
    home: Home, password: str, work: _Work | None = None, *, scrypt_n: int = SCRYPT_N
) -> None:
    """Makes the keys that are not there, all with the password that opens those that are.

    Raises:
        UserError: The password does not open a key that is there.
    """
    work = work or _Work()
    keys = (home.operator_key, home.wallet_key, home.session_key)
    there = [path for path in keys if path.exists()]
    if there and len(there) < len(keys):
        await load_key(there[0], password)
    for path in keys:
        if path not in there:
            await create_key(path, password, scrypt_n=scrypt_n)
        work.note(path, is_new=path not in there)


def write_settings(home: Home, values: dict[str, object], work: _Work | None = None) -> None:
    """Writes ``rowen.toml`` unless it is there."""
    is_new = not home.config.exists()
    if is_new:
        _write_new(home.config, render(values))
    if work is not None:
        work.note(home.config, is_new=is_new)


def write_password(home: Home, password: str) -> None:
    """Keeps a password beside the keys, readable by this user only."""
    _write_new(home.password, password + "\n")


def _password(home: Home, file: Path | None, work: _Work, *, asks: bool) -> str:
    """The password of the keys that are there, or a new one; "" when nothing has to be made."""
    keys = (home.operator_key, home.wallet_key, home.session_key)
    if all(path.exists() for path in keys):
        if home.password.exists():
            work.note(home.password, is_new=False)
        return ""
    if file is not None or any(path.exists() for path in keys) or home.read_password():
        if home.password.exists():
            work.note(home.password, is_new=False)
        return password_for(home, file)
    password = new_password() if asks else ""
    if not password:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        write_password(home, password)
        work.note(home.password, is_new=True)
    return password


def _write_new(path: Path, text: str) -> None:
    """Writes a file that does not exist, readable by this user only."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _ask_settings(values: dict[str, object]) -> dict[str, object]:
    """Asks what the command line did not say. An empty answer takes the default."""
    defaults = Config()
    asked = dict(values)
    questions: dict[str, tuple[str, str, Callable[[str], object]]] = {
        "chain.rpc": ("JSON-RPC endpoint of the chain", defaults.chain.rpc[0], _urls),
        "chain.chain_id": ("Its chain id", str(defaults.chain.chain_id), _number),
        "chain.escrow": ("RowenEscrow contract (empty: later)", "", _address),
        "provider.price_output": ("Your price for a million output tokens, USD", "0.20", _usd),
        "client.providers": ("Providers to buy from, multiaddresses (empty: later)", "", _list),
    }
    typer.echo("Enter takes what stands in brackets; all of it can be changed later.", err=True)
    for name, (text, default, read) in questions.items():
        if name in asked:
            continue
        value = _ask(text, default, read)
        if value not in ("", ()):
            asked[name] = value
    return asked


def _ask(text: str, default: str, read: Callable[[str], object]) -> object:
    while True:
        typed = typer.prompt(text, default=default, show_default=bool(default), err=True)
        try:
            return read(typed.strip())
        except UserError as error:
            typer.echo(f"  {error}", err=True)


def _urls(text: str) -> tuple[str, ...]:
    if not text.startswith(("http://", "https://")):
        raise UserError("it must begin with http:// or https://")
    return (text,)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UserError("it must be a whole number, such as 31337")
    return int(text)


def _address(text: str) -> str:
    return format_address(parse_address(text)) if text else ""


def _usd(text: str) -> str:
    parse_usd(text)
    return text


def _list(text: str) -> tuple[str, ...]:
    from rowen.client.link import provider_of

    addresses = tuple(part.strip() for part in text.split(",") if part.strip())
    for address in addresses:
        if address.startswith("0x"):
            raise UserError("a multiaddress says where, too: /ip4/…/tcp/…/p2p/…")
        provider_of(address)
    return addresses


def _print_made(screen: Console, home: Home, config: Config, document: InitDocument) -> None:
    if document.created:
        screen.print(f"A node is ready in {document.home}", style="bold")
    else:
        screen.print(f"Everything is in {document.home} already; nothing was changed.")
    pairs = [
        ("provider", f"{document.operator}  earns; needs a little gas money for claims"),
        ("wallet", f"{document.wallet}  pays for channels"),
        ("session", f"{document.session}  signs orders and vouchers, holds nothing"),
        ("settings", str(home.config)),
    ]
    if home.password.exists():
        pairs.append(("password", f"{home.password}  keep a copy of the keys folder"))
    facts(screen, pairs, indent=2)
    screen.print("Next", style="bold")
    facts(screen, _next_steps(home, config, document), indent=2)


def _next_steps(home: Home, config: Config, document: InitDocument) -> list[tuple[str, str]]:
    where = "" if home == Home.default() else f" --home {shlex.quote(str(home.path))}"
    steps = []
    if not config.chain.escrow:
        steps.append(
            ("chain", f"put the escrow's address into {home.config}; `rowen devnet` prints one")
        )
    try:
        locate(DEFAULT_MODEL, home.models)
    except UserError:
        steps.append(("to sell", f"rowen models pull{where}"))
    steps.append(("to sell", f"rowen serve{where}"))
    steps.append(("to buy", f"fund the wallet; on a devnet: rowen devnet fund {document.wallet}"))
    steps.append(("", f"rowen channel open PROVIDER 5{where}"))
    steps.append(("", f'rowen run "…" --provider PROVIDER{where}'))
    return steps
