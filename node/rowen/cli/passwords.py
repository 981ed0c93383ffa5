"""Where the keys' password comes from: a file, or a person at a terminal. Never a flag."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from rowen.home import Home
from rowen.protocol.errors import UserError


def password_for(home: Home, file: Path | None) -> str:
    """The password: from the named file, ``ROWEN_PASSWORD_FILE``, the home, or the terminal.

    Raises:
        UserError: The file cannot be read, or there is nobody to ask.
    """
    if file is not None:
        return read_password(file)
    found = home.read_password()
    if found:
        return found
    if not sys.stdin.isatty():
        raise UserError(
            "no password for the keys: name a file with --password-file or ROWEN_PASSWORD_FILE"
        )
    return getpass.getpass(f"Password of the keys in {home.path}: ", stream=sys.stderr)


def new_password() -> str:
    """Asks a person for a new one, twice; empty when they want it generated.

    Raises:
        UserError: The two differ.
    """
    first = getpass.getpass("Password for the keys (empty: generate and keep one): ")
    if first and getpass.getpass("The same again: ") != first:
        raise UserError("the two passwords differ; nothing was written")
    return first


def ask_password(file: Path) -> str:
    """Asks for the password of a key file from elsewhere.

    Raises:
        UserError: There is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise UserError(f"no password for {file}: name a file that holds it")
    return getpass.getpass(f"Password of {file}: ", stream=sys.stderr)


def read_password(file: Path) -> str:
    """What the file holds, without the newline at its end.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the password file {file} cannot be read: {error}") from error
