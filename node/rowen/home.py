"""Where one node keeps its files: ``~/.rowen``, ``ROWEN_HOME``, or ``--home``."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rowen.protocol.errors import UserError

_OURS = ("rowen.toml", "keys", "models", "seller.db", "buyer.db", "control.sock", "state")
"""Beginnings of the names a home holds, so that nobody's documents are closed by mistake."""


@dataclass(frozen=True, slots=True)
class Home:
    """The files of one node.

    Attributes:
        path: The directory, mode 0700.
    """

    path: Path

    @staticmethod
    def default() -> Home:
        """``ROWEN_HOME``, or ``.rowen`` in the user's home."""
        return Home(Path(os.environ.get("ROWEN_HOME") or Path.home() / ".rowen"))

    @property
    def logs(self) -> Path:
        """What engines say that the node started."""
        return self.path / "logs"

    @property
    def config(self) -> Path:
        """Settings."""
        return self.path / "rowen.toml"

    @property
    def operator_key(self) -> Path:
        """The provider's identity; it signs offers and receipts and pays for claims."""
        return self.path / "keys" / "operator.json"

    @property
    def session_key(self) -> Path:
        """The client's hot key; it signs orders and vouchers and can withdraw nothing."""
        return self.path / "keys" / "session.json"

    @property
    def wallet_key(self) -> Path:
        """The wallet that funds channels; needed only to open and close them."""
        return self.path / "keys" / "wallet.json"

    @property
    def password(self) -> Path:
        """A password for the keys, written by ``rowen init --yes``; mode 0600."""
        return self.path / "keys" / "password"

    @property
    def seller_journal(self) -> Path:
        """Money facts of the provider."""
        return self.path / "seller.db"

    @property
    def buyer_journal(self) -> Path:
        """Money facts of the client."""
        return self.path / "buyer.db"

    @property
    def measurements(self) -> Path:
        """What ``rowen bench`` measured, one file a variant."""
        return self.path / "measurements"

    @property
    def control_socket(self) -> Path:
        """Where a running daemon takes questions from this user."""
        return self.path / "control.sock"

    @property
    def paused(self) -> Path:
        """What its owner paused; not there when nothing is."""
        return self.path / "paused.json"

    @property
    def models(self) -> Path:
        """Model files; ``ROWEN_MODELS_DIR`` shares them between nodes."""
        return Path(os.environ.get("ROWEN_MODELS_DIR") or self.path / "models")

    def make(self) -> None:
        """Makes the directory, or closes one that is there, so that only this user enters it.

        Raises:
            UserError: It cannot be made, or is open to others and holds what is not a node's.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.open_to_others:
                return
            strange = [entry.name for entry in self.path.iterdir() if not _is_ours(entry.name)]
            if strange:
                raise UserError(
                    f"{self.path} is open to other users and holds {sorted(strange)[0]}, which "
                    f"is not a node's: choose another home, or run `chmod 700 {self.path}`"
                )
            self.path.chmod(0o700)
        except OSError as error:
            raise UserError(f"cannot make the home {self.path}: {error.strerror}") from error

    @property
    def open_to_others(self) -> bool:
        """Whether another user can enter or list the directory."""
        return bool(stat.S_IMODE(self.path.stat().st_mode) & 0o077)

    def read_password(self) -> str:
        """The password for the keys, from ``ROWEN_PASSWORD_FILE`` or the home; "" when neither.

        Raises:
            UserError: The named file cannot be read.
        """
        named = os.environ.get("ROWEN_PASSWORD_FILE")
        file = Path(named) if named else self.password
        try:
            return file.read_text(encoding="utf-8").rstrip("\n")
        except FileNotFoundError as error:
            if named:
                raise UserError(f"ROWEN_PASSWORD_FILE names {file}, which is not there") from error
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the password file {file} cannot be read: {error}") from error


@contextmanager
def scratch() -> Iterator[Path]:
    """A new directory for this user alone, removed when the block ends.

    Raises:
        UserError: There is no place for one.
    """
    try:
        directory = tempfile.TemporaryDirectory(prefix="rowen-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(
            f"no temporary directory can be made ({error.strerror or error}): make room, or set "
            "TMPDIR to a directory that can be written to"
        ) from error
    with directory as name:
        yield Path(name)


def key_lock(address: bytes) -> Path:
    """What a node holds while it uses a key, so that another home with a copy of it is noticed.

    Args:
        address: Of the key, 20 bytes.

    Raises:
        UserError: Its directory cannot be made.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    directory = Path(state) / "rowen"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {directory}: {error.strerror}") from error
    return directory / f"0x{address.hex()}"


def _is_ours(name: str) -> bool:
    # A database has -wal, -shm and .lock beside it.
    return any(name == ours or name.startswith((f"{ours}-", f"{ours}.")) for ours in _OURS)
