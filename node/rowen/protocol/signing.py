"""secp256k1 signatures in 64 bytes, and the keys that make them.

A signature is ``r | vs`` with the parity of y in the top bit of ``vs`` (EIP-2098), and s
in the lower half of the order (EIP-2), so one (key, digest, nonce) has one encoding.
"""

from __future__ import annotations

from functools import lru_cache

from coincurve import PrivateKey

# coincurve's binding of libsecp256k1: its PublicKey would copy and wrap what recover needs only
# once. It is a compiled module without stubs.
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT

from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.ids import HASH_BYTES, address_of_public_key, peer_id_of_public_key

SIGNATURE_BYTES = 64
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER = (_ORDER // 2).to_bytes(32, "big")

KEYS_CACHED_MAX = 4096
_PUBLIC_BYTES = 65
_UNCOMPRESSED: int = lib.SECP256K1_EC_UNCOMPRESSED
_parse_signature = lib.secp256k1_ecdsa_recoverable_signature_parse_compact
_recover_public = lib.secp256k1_ecdsa_recover
_NewSignature = ffi.typeof("secp256k1_ecdsa_recoverable_signature *")
_NewPublicKey = ffi.typeof("secp256k1_pubkey *")
_NewPublicBytes = ffi.typeof(f"unsigned char[{_PUBLIC_BYTES}]")
_NewSize = ffi.typeof("size_t *")


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
    if len(digest) != HASH_BYTES:
        # The C code below reads 32 bytes, whatever there is.
        raise ValueError(f"digest has {len(digest)} bytes, expected {HASH_BYTES}")
    parity = signature[32] >> 7
    if parity:
        signature = signature[:32] + bytes((signature[32] & 0x7F,)) + signature[33:]
    # Both are 32 bytes, big-endian, so they compare like the numbers they are.
    if signature[32:] > _HALF_ORDER:
        raise PeerError("signature has s in the upper half of the order (EIP-2)")
    context = GLOBAL_CONTEXT.ctx
    parsed = ffi.new(_NewSignature)
    public = ffi.new(_NewPublicKey)
    if not (
        _parse_signature(context, parsed, signature, parity)
        and _recover_public(context, public, parsed, digest)
    ):
        raise PeerError("signature is not a point on the curve")
    return _address_of(bytes(ffi.buffer(public)))


# The same few clients sign thousands of vouchers. What the library keeps of a public key is no
# format, but equal bytes are equal keys, which is all that a cache asks of them.
@lru_cache(maxsize=KEYS_CACHED_MAX)
def _address_of(kept: bytes) -> bytes:
    public = ffi.new(_NewPublicKey)
    ffi.memmove(public, kept, len(kept))
    uncompressed = ffi.new(_NewPublicBytes)
    size = ffi.new(_NewSize, _PUBLIC_BYTES)
    lib.secp256k1_ec_pubkey_serialize(GLOBAL_CONTEXT.ctx, uncompressed, size, public, _UNCOMPRESSED)
    return address_of_public_key(bytes(ffi.buffer(uncompressed)))
