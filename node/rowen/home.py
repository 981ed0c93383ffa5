"""Where one node keeps its files: ``~/.rowen``, ``ROWEN_HOME``, or ``--home``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rowen.protocol.errors import UserError


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
    def control_socket(self) -> Path:
        """Where a running daemon takes questions from this user."""
        return self.path / "control.sock"

    @property
    def models(self) -> Path:
        """Model files; ``ROWEN_MODELS_DIR`` shares them between nodes."""
        return Path(os.environ.get("ROWEN_MODELS_DIR") or self.path / "models")

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
