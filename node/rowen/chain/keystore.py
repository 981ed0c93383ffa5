"""Keys on disk: Ethereum's keystore, version 3, so that other wallets read it too.

Source: https://ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from secrets import token_bytes
from tempfile import NamedTemporaryFile
from typing import Any, Final

import trio
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address
from rowen.protocol.signing import Key

SCRYPT_N: Final = 2**18
"""The standard's work factor: 256 MiB and about a second for each guess at a password."""

# A damaged or planted file must not make scrypt take all memory.
_SCRYPT_N_MAX: Final = 2**20
_FILE_BYTES_MAX: Final = 10_000
_SEALING_INFO: Final = b"rowen sealing key 1"


async def create_key(
    path: Path, password: str, *, secret: bytes | None = None, scrypt_n: int = SCRYPT_N
) -> Key:
    """Makes a key, or takes one, and stores it encrypted; readable by this user only.

    Args:
        path: A file that does not exist; its directory is made, with mode 0700, if missing.
        password: Opens it again.
        secret: 32 bytes to import; random by default.
        scrypt_n: Work factor.

    Raises:
        UserError: The file exists (a key is never overwritten) or cannot be written.
    """
    key = Key(token_bytes(32) if secret is None else secret)
    await trio.to_thread.run_sync(_create, path, password, key, scrypt_n)
    return key


async def load_key(path: Path, password: str) -> Key:
    """Decrypts a key, in a thread: it takes about a second.

    Raises:
        UserError: No such file, a wrong password, a damaged file, or one others can read.
    """
    return await trio.to_thread.run_sync(_load, path, password)


async def key_address(path: Path) -> bytes:
    """Address of a stored key, 20 bytes, without its password.

    Raises:
        UserError: No such file, or a damaged one.
    """
    return _address(path, await trio.to_thread.run_sync(_read, path))


def sealing_key(key: Key) -> bytes:
    """What encrypts this key's journal, 32 bytes. Tells nothing about the key (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_SEALING_INFO).derive(key.secret)


def _create(path: Path, password: str, key: Key, scrypt_n: int) -> None:
    from eth_keyfile.keyfile import create_keyfile_json

    if path.exists():  # before a second of scrypt; the link below decides
        raise _exists(path)
    stored = create_keyfile_json(key.secret, password.encode(), kdf="scrypt", iterations=scrypt_n)
    # eth_keyfile writes 0x; the format has none.
    stored["address"] = key.address.hex()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with mode 0600. A link, not a rename: it fails if the name is taken by now.
        with NamedTemporaryFile(dir=path.parent, prefix=".key-") as file:
            file.write(json.dumps(stored).encode())
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise UserError(f"cannot write the key file {path}: {error.strerror}") from error


def _exists(path: Path) -> UserError:
    return UserError(f"there is a key at {path} already, and a key is never overwritten")


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise _damaged(path)
        stored = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"there is no key at {path}: run `rowen init`") from error
    except OSError as error:
        raise UserError(f"cannot read the key file {path}: {error.strerror}") from error
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(stored, dict):
        raise _damaged(path)
    return stored


def _load(path: Path, password: str) -> Key:
    from eth_keyfile.keyfile import decode_keyfile_json

    stored = _read(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise UserError(
            f"{path} has mode {mode:03o}, so others can read it: run `chmod 600 {path}`"
        )
    # Some wallets leave the address out, so that a lost file does not tell whose it is.
    address = _address(path, stored) if "address" in stored else None
    try:
        crypto = stored["crypto"]
        if crypto["kdf"] == "scrypt" and not 1 < crypto["kdfparams"]["n"] <= _SCRYPT_N_MAX:
            raise ValueError("scrypt's work factor is out of range")
        secret = decode_keyfile_json(stored, password.encode())
        key = Key(secret)
    except Exception as error:  # eth_keyfile raises anything on a damaged file
        if "MAC mismatch" in str(error):
            raise UserError(f"wrong password for {path}, or the file is damaged") from error
        raise _damaged(path) from error
    if address is not None and key.address != address:
        raise _damaged(path)
    return key


def _address(path: Path, stored: dict[str, Any]) -> bytes:
    try:
        address = bytes.fromhex(stored["address"].removeprefix("0x"))
        format_address(address)
        if len(address) != 20 or stored["version"] != 3:
            raise ValueError("not a version 3 keystore")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path) from error
    return address


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged or no key file: restore it from your backup")
