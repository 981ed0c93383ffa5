"""Identifiers: hashes, EVM addresses, channels and libp2p peer ids, from the same keys."""

from __future__ import annotations

import base58
from coincurve import PublicKey
from sha3 import keccak_256

from rowen.protocol.errors import PeerError, UserError

ADDRESS_BYTES = 20
HASH_BYTES = 32
ZERO_HASH = bytes(HASH_BYTES)

# An identity multihash (code 0x00, 37 bytes) over the protobuf PublicKey{type: secp256k1,
# data: 33 bytes}: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
_PEER_ID_PREFIX = bytes.fromhex("002508021221")
_PEER_ID_CHARS_MAX = 64


def keccak(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it, 32 bytes."""
    digest: bytes = keccak_256(data).digest()
    return digest


def address_of_public_key(uncompressed: bytes) -> bytes:
    """EVM address of a 65-byte uncompressed secp256k1 public key."""
    return keccak(uncompressed[1:])[12:]


def channel_id_of(payer: bytes, provider: bytes, signer: bytes) -> bytes:
    """The escrow's key for a channel: keccak256(abi.encode(payer, provider, signer))."""
    return keccak(b"".join((bytes(12), payer, bytes(12), provider, bytes(12), signer)))


def peer_id_of_public_key(compressed: bytes) -> str:
    """libp2p PeerId, base58, of a 33-byte compressed secp256k1 public key."""
    return base58.b58encode(_PEER_ID_PREFIX + compressed).decode("ascii")


def address_of_peer_id(peer_id: str) -> bytes:
    """EVM address of the key inside a secp256k1 PeerId.

    Raises:
        PeerError: Not a PeerId that carries a secp256k1 key.
    """
    try:
        # Base58 costs the square of its length.
        if len(peer_id) > _PEER_ID_CHARS_MAX:
            raise ValueError(f"{len(peer_id)} characters")
        raw = base58.b58decode(peer_id)
        if not raw.startswith(_PEER_ID_PREFIX):
            raise ValueError("no secp256k1 key inside")
        key = PublicKey(raw[len(_PEER_ID_PREFIX) :])
        # One key, one name: neither another form of the point nor a space at the end.
        if peer_id_of_public_key(key.format(compressed=True)) != peer_id:
            raise ValueError("not the canonical form")
    except ValueError as error:
        raise PeerError(f"peer id {peer_id[:64]!r} carries no secp256k1 key") from error
    return address_of_public_key(key.format(compressed=False))


def parse_address(text: str) -> bytes:
    """20 bytes from a hexadecimal address; a mixed-case one must have a right EIP-55 checksum.

    Raises:
        UserError: Not an address, or mistyped.
    """
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise UserError(f"{text!r} is not a hexadecimal address") from error
    # fromhex skips spaces, so the text is measured too.
    if len(raw) != ADDRESS_BYTES or len(text) != 2 + 2 * ADDRESS_BYTES or text[:2] != "0x":
        raise UserError(f"{text!r} is not an address: expected 0x and 40 hexadecimal digits")
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and format_address(raw) != text:
        raise UserError(f"{text} has a wrong checksum (EIP-55): check it for a typing error")
    return raw


def format_address(address: bytes) -> str:
    """Checksummed hexadecimal form. Source: EIP-55."""
    digits = address.hex()
    checksum = keccak(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(digits, checksum, strict=False)
    )
