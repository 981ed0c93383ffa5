import json
from pathlib import Path

import pytest

from rowen.chain.keystore import create_key, key_address, load_key, sealing_key
from rowen.protocol.errors import UserError
from rowen.protocol.signing import Key

SECRET = bytes(range(1, 33))


async def stored(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "operator.json"
    await create_key(path, "correct horse", secret=SECRET, scrypt_n=2)
    return path


async def test_a_stored_key_opens_with_its_password(tmp_path: Path) -> None:
    path = await stored(tmp_path)
    key = await load_key(path, "correct horse")
    assert key.secret == SECRET
    assert await key_address(path) == key.address


async def test_a_new_key_is_random(tmp_path: Path) -> None:
    first = await create_key(tmp_path / "1", "", scrypt_n=2)
    second = await create_key(tmp_path / "2", "", scrypt_n=2)
    assert first.secret != second.secret


async def test_only_its_user_can_read_a_key(tmp_path: Path) -> None:
    path = await stored(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["operator.json"]


async def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = await stored(tmp_path)
    path.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        await load_key(path, "correct horse")


async def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = await stored(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="never overwritten"):
        await create_key(path, "other", scrypt_n=2)
    assert path.read_bytes() == before


async def test_a_wrong_password_is_named(tmp_path: Path) -> None:
    path = await stored(tmp_path)
    with pytest.raises(UserError, match="wrong password"):
        await load_key(path, "wrong")


async def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rowen init"):
        await load_key(tmp_path / "none", "")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "\0" * 20_000,
        lambda text: text.replace('"version": 3', '"version": 4'),
        lambda text: text.replace('"scrypt"', '"md5"'),
        lambda text: text.replace('"n": 2', '"n": 1099511627776'),
        lambda text: text.replace('"ciphertext": "', '"ciphertext": "00'),
        lambda text: text.replace(json.loads(text)["address"], "00" * 20),
        lambda text: text.replace('"crypto"', '"cripto"'),
    ],
)
async def test_a_damaged_key_file_is_named(tmp_path: Path, damage: object) -> None:
    path = await stored(tmp_path)
    path.write_text(damage(path.read_text()))  # type: ignore[operator] # a lambda above
    with pytest.raises(UserError, match="damaged"):
        await load_key(path, "correct horse")


async def test_another_wallet_can_read_the_file(tmp_path: Path) -> None:
    """It is the standard's format; geth and MetaMask read it as eth_account does."""
    from eth_account import Account

    path = await stored(tmp_path)
    assert bytes(Account.decrypt(path.read_text(), "correct horse")) == SECRET


def test_the_sealing_key_is_stable_and_is_not_the_key() -> None:
    """A changed derivation would lock every journal, so its value is pinned."""
    sealed = sealing_key(Key(SECRET))
    assert sealed.hex() == "b4197fc669a4a55c10adde5c522998e296c345b645c7397924b72337a51c7db6"
    assert sealed != sealing_key(Key(SECRET[::-1]))
