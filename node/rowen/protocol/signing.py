"""secp256k1 signatures in 64 bytes, and the keys that make them.

A signature is ``r | vs`` with the parity of y in the top bit of ``vs`` (EIP-2098), and s
in the lower half of the order (EIP-2), so one (key, digest, nonce) has one encoding.
"""

from __future__ import annotations

from coincurve import PrivateKey, PublicKey

from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.ids import address_of_public_key, peer_id_of_public_key

SIGNATURE_BYTES = 64
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER = _ORDER // 2


class Key:
    """A secp256k1 private key; its address and PeerId are the identity of a node or session."""

    __slots__ = ("_private", "address", "peer_id")

    def __init__(self, secret: bytes) -> None:
        """Takes the 32-byte secret.

        Raises:
            UserError: Not 32 bytes in [1, order).
        """
        try:
            if len(secret) != 32:
                raise ValueError(f"{len(secret)} bytes")
            self._private = PrivateKey(secret)
        except ValueError as error:
            raise UserError("a key must be 32 bytes between 1 and the curve order") from error
        public = self._private.public_key
        self.address = address_of_public_key(public.format(compressed=False))
        self.peer_id = peer_id_of_public_key(public.format(compressed=True))

    def __repr__(self) -> str:
        return f"Key({self.peer_id})"

    @property
    def secret(self) -> bytes:
        """The 32-byte secret, for the libp2p identity and the transaction signer only."""
        return self._private.secret

    def sign(self, digest: bytes) -> bytes:
        """64-byte EIP-2098 signature of a 32-byte digest. Deterministic (RFC 6979)."""
        raw = self._private.sign_recoverable(digest, hasher=None)
        if raw[64]:
            return raw[:32] + bytes((raw[32] | 0x80,)) + raw[33:64]
        return raw[:64]


def recover(digest: bytes, signature: bytes) -> bytes:
    """Address that signed a 32-byte digest.

    Raises:
        PeerError: Not a signature, or not the one canonical form of it.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise PeerError(f"signature has {len(signature)} bytes, expected {SIGNATURE_BYTES}")
    parity = signature[32] >> 7
    s_bytes = bytes((signature[32] & 0x7F,)) + signature[33:] if parity else signature[32:]
    if int.from_bytes(s_bytes, "big") > _HALF_ORDER:
        raise PeerError("signature has s in the upper half of the order (EIP-2)")
    try:
        public = PublicKey.from_signature_and_message(
            signature[:32] + s_bytes + bytes((parity,)), digest, hasher=None
        )
    except Exception as error:  # coincurve raises bare Exception for an unrecoverable point
        raise PeerError("signature is not a point on the curve") from error
    return address_of_public_key(public.format(compressed=False))
