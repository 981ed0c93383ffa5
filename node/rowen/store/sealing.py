"""Keys of one journal: texts are sealed with AES-256-GCM, rows carry a keyed BLAKE2b check.

Both keys come from the sealing key by HKDF-SHA256 (RFC 5869) with the file's own random salt,
so that no two files share a key and random 96-bit nonces stay far from their limit of 2^32
messages a key (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import os
from hashlib import blake2b
from hmac import compare_digest

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rowen.protocol.errors import UserError
from rowen.store.base import JournalCorrupt

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_BYTES = 12
CHECK_BYTES = 16

MEND = (
    "Stop the node, keep the file as evidence, check the disk, and restore the newest backup; "
    "peers and chain tell what it lacks"
)

Column = int | str | bytes | None

_encode = msgspec.msgpack.Encoder().encode


class Vault:
    """Seals, opens and checks what one file holds.

    Attributes:
        key_check: Tells the right sealing key from a wrong one, 16 bytes; stored in the clear.
    """

    __slots__ = ("_aead", "_keyed", "key_check")

    def __init__(self, sealing_key: bytes, salt: bytes) -> None:
        """Derives the keys.

        Raises:
            UserError: The sealing key is not 32 bytes.
        """
        if len(sealing_key) != KEY_BYTES:
            raise UserError(f"the sealing key has {len(sealing_key)} bytes, expected {KEY_BYTES}")
        self._aead = AESGCM(_derive(sealing_key, salt, b"rowen journal: texts"))
        # Keyed mode is a MAC by itself (RFC 7693, 2.9); a copy of the state spares keying it anew.
        self._keyed = blake2b(
            key=_derive(sealing_key, salt, b"rowen journal: rows"), digest_size=CHECK_BYTES
        )
        self.key_check = self.check("meta", ("key_check",))

    def check(self, table: str, columns: tuple[Column, ...]) -> bytes:
        """The check of a row, 16 bytes. MessagePack keeps columns and their types apart."""
        state = self._keyed.copy()
        state.update(_encode((table, columns)))
        return state.digest()

    def verify(self, table: str, row: tuple[Column, ...]) -> None:
        """Checks a row whose last column is its check.

        Raises:
            JournalCorrupt: It is not as it was written.
        """
        found = row[-1]
        try:
            is_right = isinstance(found, bytes) and compare_digest(
                found, self.check(table, row[:-1])
            )
        except (TypeError, OverflowError):
            is_right = False
        if not is_right:
            raise JournalCorrupt(corrupt(table, row[:2], "its check fails"))

    def seal(self, plain: tuple[bytes | str, ...], place: tuple[Column, ...]) -> bytes:
        """Nonce and ciphertext of some fields, bound to the place they are stored at."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, _encode(plain), _encode(place))

    def unseal(self, sealed: bytes, place: tuple[Column, ...]) -> bytes:
        """The MessagePack that was sealed.

        Raises:
            JournalCorrupt: Something else, or sealed for another place.
        """
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _encode(place))
        except (InvalidTag, ValueError) as error:
            raise JournalCorrupt(corrupt(str(place[0]), place[1:], "its seal is broken")) from error


def corrupt(table: str, key: tuple[Column, ...], what: str) -> str:
    """The message for a row that is not as it was written, with what to do."""
    shown = ", ".join(f"0x{part.hex()}" if isinstance(part, bytes) else str(part) for part in key)
    return f"the journal's row {table}({shown}) is corrupt: {what}. {MEND}"


def _derive(sealing_key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=purpose).derive(sealing_key)
