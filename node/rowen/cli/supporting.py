"""``rowen support-bundle``: what helps others to help. It names what it holds, and holds no secret.

Nothing in it is copied from a file of the home: settings are shown as `rowen config show` shows
them, files by name and size. What is left is searched for the secrets of this home all the same.
"""

from __future__ import annotations

import io
import os
import platform
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import msgspec
import trio

import rowen
from rowen.cli.config_file import is_secret, settings
from rowen.cli.doctor.command import examine
from rowen.cli.documents import BundledFile, SupportDocument
from rowen.cli.exits import Exit
from rowen.cli.looking import HIDDEN, config_document, without_secrets
from rowen.cli.output import show
from rowen.cli.passwords import read_password
from rowen.cli.runner import run_async
from rowen.config import load_config
from rowen.home import Home
from rowen.protocol.errors import RowenError, UserError
from rowen.provider.asking import ask_daemon

ASK_S = 30.0
SECRET_CHARS_MIN = 4
"""Anything shorter would be found everywhere, and tells nobody anything."""


def write_support_bundle(
    home: Home, flags: tuple[str, ...], password_file: Path | None, file: Path, *, as_json: bool
) -> int:
    """Writes the archive.

    Raises:
        UserError: The file exists, or cannot be written.
    """

    async def work() -> int:
        found = [part async for part in _parts(home, flags, password_file)]
        hidden = sorted(_secrets_of(home, flags, password_file), key=len, reverse=True)
        parts = {name: _scrubbed(raw, hidden) for name, raw in found}
        parts = {"README.txt": _readme(parts)} | parts
        _write(file, parts)
        document = SupportDocument(
            file=str(file),
            files=[BundledFile(name=name, size_bytes=len(raw)) for name, raw in parts.items()],
        )
        show(
            document,
            as_json=as_json,
            for_people=lambda s: s.print(
                f"{file} holds {', '.join(parts)}. Look through it before you send it."
            ),
        )
        return Exit.OK

    return run_async(work)


async def _parts(
    home: Home, flags: tuple[str, ...], password_file: Path | None
) -> AsyncIterator[tuple[str, bytes]]:
    yield "versions.json", _json(_versions())
    yield "files.json", _json(list(_listing(home)))
    try:
        yield "config.json", _json(config_document(home, flags))
    except UserError as error:
        yield "config.json", _json({"error": str(error)})
    yield "doctor.json", _json(await examine(home, flags, password_file))
    report = await _asked(home, "status")
    if report is None:
        return
    yield "status.json", _json(report)
    logs = await _asked(home, "logs") or {"lines": []}
    yield "logs.jsonl", "".join(f"{line}\n" for line in logs["lines"]).encode()
    # Of another version it may be without one.
    if watch := report.get("watch"):
        for page in ("metrics", "readyz?verbose"):
            name = page.partition("?")[0]
            yield f"{name}.txt", await _page(f"{watch}/{page}")


def _versions() -> dict[str, object]:
    return {
        "rowen": rowen.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": dict(sorted((d.name, d.version) for d in distributions())),
    }


def _listing(home: Home) -> Iterator[dict[str, object]]:
    for path in sorted(home.path.rglob("*")) if home.path.is_dir() else []:
        facts = path.lstat()
        yield {
            "name": str(path.relative_to(home.path)),
            "mode": stat.filemode(facts.st_mode),
            "size_bytes": facts.st_size,
            "changed_s": int(facts.st_mtime),
        }


async def _asked(home: Home, what: str) -> dict[str, Any] | None:
    try:
        with trio.move_on_after(ASK_S):
            return await ask_daemon(home, what)
    except RowenError:
        return None
    return None


async def _page(url: str) -> bytes:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=ASK_S) as client:
            return (await client.get(url)).content
    except httpx.HTTPError as error:
        return f"{type(error).__name__}\n".encode()


def _secrets_of(home: Home, flags: tuple[str, ...], password_file: Path | None) -> Iterator[str]:
    """What must not be in the archive, whatever brought it there."""
    for file in (password_file, home.password):
        try:
            yield from _long_enough(read_password(file) if file is not None else "")
        except UserError:
            continue
    try:
        yield from _long_enough(home.read_password())
        config = load_config(home.config, flags=flags)
    except UserError:
        return
    for key, value in settings(config):
        if is_secret(key):
            for text in map(str, value if isinstance(value, tuple) else [value]):
                # A plain host and port is no secret, and helps.
                if without_secrets(text) != text:
                    yield from _long_enough(text, *_pieces(text))


def _pieces(url: str) -> Iterator[str]:
    """The parts of a URL that an access key may be in."""
    try:
        parts = urlsplit(url)
    except ValueError:
        yield url
        return
    for piece in (parts.password, parts.username, parts.path.strip("/"), parts.query):
        if piece:
            yield from (piece, unquote(piece))
    for piece in parts.path.split("/"):
        yield piece


def _long_enough(*texts: str) -> Iterator[str]:
    yield from (text for text in texts if len(text) >= SECRET_CHARS_MIN)


def _scrubbed(raw: bytes, hidden: list[str]) -> bytes:
    for text in hidden:
        raw = raw.replace(text.encode(), HIDDEN.encode())
    return raw


def _readme(parts: dict[str, bytes]) -> bytes:
    return (
        "A support bundle of a Rowen node. It holds no key, password, prompt or answer, and of\n"
        "URLs the hosts only; addresses, amounts and peers' identities are in it.\n\n"
        + "".join(f"{name}\n" for name in parts)
    ).encode()


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _write(file: Path, parts: dict[str, bytes]) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(descriptor, "wb") as target,
            tarfile.open(fileobj=target, mode="w:gz") as tar,
        ):
            for name, raw in parts.items():
                entry = tarfile.TarInfo(f"rowen-support/{name}")
                entry.size = len(raw)
                entry.mode = 0o600
                tar.addfile(entry, io.BytesIO(raw))
    except FileExistsError as error:
        raise UserError(f"{file} exists and is not overwritten: name another file") from error
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from error
