"""``rowen keys``: what keys there are, and Ethereum keystores in and out."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from rowen.chain.keystore import create_key, key_address, load_key
from rowen.cli.documents import KeyDocument, KeyEntry, KeysDocument
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.passwords import ask_password, new_password, password_for, read_password
from rowen.cli.people import table
from rowen.cli.runner import run_async
from rowen.home import Home
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address

PURPOSES = {
    "operator": "earns; signs offers and receipts, pays for claims",
    "wallet": "funds channels",
    "session": "signs orders and vouchers, holds nothing",
}


def key_file(home: Home, name: str) -> Path:
    """Where the key of that name is.

    Raises:
        UserError: No such name.
    """
    files = {
        "operator": home.operator_key,
        "wallet": home.wallet_key,
        "session": home.session_key,
    }
    if name not in files:
        raise UserError(f"{name!r} is no key of a node: choose {', '.join(files)}")
    return files[name]


def list_keys(home: Home, *, as_json: bool) -> int:
    """Prints addresses. Needs no password."""

    async def work() -> int:
        found = [
            KeyEntry(
                name=name,
                address=format_address(await key_address(file)) if file.exists() else None,
                file=str(file),
                purpose=purpose,
            )
            for name, purpose in PURPOSES.items()
            for file in (key_file(home, name),)
        ]
        document = KeysDocument(keys=found)

        def for_people(screen: Console) -> None:
            rows = [(k.name, k.address or "not made yet", k.purpose) for k in found]
            screen.print(table(("key", "address", ""), rows))

        show(document, as_json=as_json, for_people=for_people)
        return Exit.OK

    return run_async(work)


def import_key(
    home: Home, name: str, source: Path, source_password: Path | None, password_file: Path | None,
    *, as_json: bool,
) -> int:  # fmt: skip
    """Takes a keystore file in, under the password of this home.

    Raises:
        UserError: There is such a key already, a password is wrong, or the file is damaged.
    """
    target = key_file(home, name)
    if target.exists():
        raise UserError(f"there is a key at {target} already, and a key is never overwritten")
    home.make()
    opens = read_password(source_password) if source_password else ask_password(source)
    keeps = _password_of(home, password_file)

    async def work() -> int:
        key = await load_key(source, opens)
        await _check_same_password(home, keeps)
        await create_key(target, keeps, secret=key.secret)
        _say(name, key.address, target, "is in", as_json=as_json)
        return Exit.OK

    return run_async(work)


def export_key(
    home: Home, name: str, target: Path, target_password: Path | None, password_file: Path | None,
    *, as_json: bool,
) -> int:  # fmt: skip
    """Writes a keystore file for another wallet, under a password of its own.

    Raises:
        UserError: The file exists, a password is wrong, or the key is damaged.
    """
    source = key_file(home, name)
    opens = password_for(home, password_file)
    seals = read_password(target_password) if target_password else _ask_new()

    async def work() -> int:
        key = await load_key(source, opens)
        await create_key(target, seals, secret=key.secret)
        _say(name, key.address, target, "is copied to", as_json=as_json)
        return Exit.OK

    return run_async(work)


async def _check_same_password(home: Home, password: str) -> None:
    """All keys of a home open with one password, or `rowen serve` could not open them."""
    for name in PURPOSES:
        there = key_file(home, name)
        if there.exists():
            await load_key(there, password)
            return


def _password_of(home: Home, file: Path | None) -> str:
    if file is not None or home.read_password() or any(home.path.glob("keys/*.json")):
        return password_for(home, file)
    return _ask_new()


def _ask_new() -> str:
    if not sys.stdin.isatty():
        raise UserError("no password for the copy: name a file with a password in it")
    password = new_password()
    if not password:
        raise UserError("a key file without a password is open to whoever finds it")
    return password


def _say(name: str, address: bytes, file: Path, verb: str, *, as_json: bool) -> None:
    document = KeyDocument(name=name, address=format_address(address), file=str(file))
    show(
        document,
        as_json=as_json,
        for_people=lambda s: s.print(f"The {name} key {document.address} {verb} {file}."),
    )
