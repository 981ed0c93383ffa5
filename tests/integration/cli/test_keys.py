"""Keys of other wallets in and out; none is ever overwritten, none is ever on disk in the clear."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from tests.integration.cli.command import rowen

SECRET = bytes(range(1, 33))
THEIRS = "their password"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A keystore as another wallet writes it, and its password beside it."""
    file = tmp_path / "theirs.json"
    # eth_account is the other wallet here; pbkdf2 is what others use instead of scrypt.
    file.write_text(json.dumps(Account.encrypt(SECRET, THEIRS, kdf="pbkdf2", iterations=1000)))
    file.chmod(0o600)
    (tmp_path / "their-password").write_text(THEIRS + "\n")
    (tmp_path / "our-password").write_text("our password\n")
    return file


def test_a_key_of_another_wallet_goes_in_and_out_again(tmp_path: Path, theirs: Path) -> None:
    home = tmp_path / "home"
    address = Account.from_key(SECRET).address
    ours = ("--password-file", tmp_path / "our-password")
    took = rowen(home, "keys", "import", "operator", theirs,
                 "--file-password", tmp_path / "their-password", *ours, "--json")  # fmt: skip
    assert took.document("keys-import")["address"] == address
    assert home.stat().st_mode & 0o777 == 0o700

    made = rowen(home, "init", "--yes", *ours, "--json").document("init")
    assert made["operator"] == address, "init keeps the key that is there"
    listed = rowen(home, "keys", "list", "--json").document("keys-list")["keys"]
    assert [k["address"] for k in listed] == [made["operator"], made["wallet"], made["session"]]

    copy = tmp_path / "copy.json"
    gave = rowen(home, "keys", "export", "operator", copy,
                 "--file-password", tmp_path / "their-password", *ours, "--json")  # fmt: skip
    assert gave.document("keys-export")["address"] == address
    assert copy.stat().st_mode & 0o777 == 0o600
    assert Account.decrypt(json.loads(copy.read_text()), THEIRS) == SECRET

    files = [copy, *(path for path in home.rglob("*") if path.is_file())]
    assert len(files) >= 5
    for file in files:
        assert SECRET not in file.read_bytes()
        assert SECRET.hex().encode() not in file.read_bytes().lower()

    again = rowen(home, "keys", "import", "operator", theirs, "--json")
    assert (again.code, "never overwritten" in again.error()["message"]) == (2, True)
    over = rowen(home, "keys", "export", "operator", copy,
                 "--file-password", tmp_path / "their-password", *ours, "--json")  # fmt: skip
    assert (over.code, "never overwritten" in over.error()["message"]) == (2, True)


def test_what_cannot_be_opened_leaves_nothing(tmp_path: Path, theirs: Path) -> None:
    home = tmp_path / "home"
    ours = tmp_path / "our-password"
    wrong = rowen(home, "keys", "import", "wallet", theirs, "--file-password", ours,
                  "--password-file", ours, "--json")  # fmt: skip
    assert wrong.code == 2
    assert "wrong password" in wrong.error()["message"]
    unasked = rowen(home, "keys", "import", "wallet", theirs, "--json")
    assert unasked.code == 2
    assert "name a file" in unasked.error()["message"]
    strange = rowen(home, "keys", "export", "other", tmp_path / "x", "--json")
    assert strange.code == 2
    assert "operator, wallet, session" in strange.error()["message"]
    assert not list(home.rglob("*.json"))
