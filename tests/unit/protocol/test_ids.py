"""Addresses, channel ids and peer ids, against libp2p and Ethereum's own libraries."""

import time

import base58
import pytest
from coincurve import PrivateKey
from eth_account import Account
from eth_utils.address import to_checksum_address

from rowen.protocol import ids
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.signing import Key

SECRETS = [bytes((n,)) * 32 for n in range(1, 20)]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_key_has_the_peer_id_that_libp2p_gives_it(secret: bytes) -> None:
    from libp2p.crypto.secp256k1 import create_new_key_pair
    from libp2p.peer.id import ID

    peer_id = ID.from_pubkey(create_new_key_pair(secret).public_key)
    assert Key(secret).peer_id == str(peer_id)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_key_has_the_address_that_ethereum_gives_it(secret: bytes) -> None:
    assert ids.format_address(Key(secret).address) == Account.from_key(secret).address


@pytest.mark.parametrize("secret", SECRETS)
def test_a_peer_id_leads_to_its_keys_address(secret: bytes) -> None:
    """One key is both identities, so nobody can advertise in another's name."""
    key = Key(secret)
    assert ids.address_of_peer_id(key.peer_id) == key.address


def test_the_channel_id_is_the_hash_of_the_abi_encoded_parties() -> None:
    from eth_abi.abi import encode

    parties = [b"\x01" * 20, b"\x02" * 20, b"\x03" * 20]
    encoded = encode(["address"] * 3, ["0x" + party.hex() for party in parties])
    assert ids.channel_id_of(*parties) == ids.keccak(encoded)


def other_forms(key: Key) -> dict[str, str]:
    prefix = bytes.fromhex("002508021221")
    point = PrivateKey(key.secret).public_key
    uncompressed = point.format(compressed=False)
    hybrid = bytes((6 + (uncompressed[-1] & 1),)) + uncompressed[1:]
    ed25519 = bytes.fromhex("002408011220") + b"\x07" * 32
    return {
        "empty": "",
        "a space after it": key.peer_id + " ",
        "a newline before it": "\n" + key.peer_id,
        "not base58": key.peer_id[:-1] + "0",
        "not ASCII": "é" * 53,
        "cut short": key.peer_id[:-1],
        "the point uncompressed": base58.b58encode(prefix + uncompressed).decode(),
        "the point in hybrid form": base58.b58encode(prefix + hybrid).decode(),
        "not on the curve": base58.b58encode(prefix + b"\x02" + b"\xff" * 32).decode(),
        "another kind of key": base58.b58encode(ed25519).decode(),
        "hashed": base58.b58encode(bytes.fromhex("1220") + b"\x01" * 32).decode(),
        "very long": "z" * 100_000,
    }


@pytest.mark.parametrize("form", other_forms(Key(b"\x01" * 32)))
def test_a_peer_id_has_one_form(form: str) -> None:
    """Two spellings of one peer would count as two peers."""
    started = time.process_time()
    with pytest.raises(PeerError):
        ids.address_of_peer_id(other_forms(Key(b"\x01" * 32))[form])
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    "address",
    [
        # The examples of EIP-55.
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_addresses_are_written_as_eip_55_says(address: str) -> None:
    raw = ids.parse_address(address)
    assert ids.format_address(raw) == to_checksum_address(address)
    assert ids.parse_address(ids.format_address(raw)) == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0X5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1bea",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed00",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaeg",
        "0x" + "11 " * 20,
        "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    ],
)
def test_a_mistyped_address_is_refused(text: str) -> None:
    """One wrong digit sends money to nobody."""
    with pytest.raises(UserError):
        ids.parse_address(text)
