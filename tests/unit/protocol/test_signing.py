"""Signatures: 64 bytes, one form, the same key as everybody else recovers."""

import pytest
from coincurve import PublicKey
from eth_keys.datatypes import PrivateKey, Signature
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.ids import address_of_public_key, keccak
from rowen.protocol.signing import Key, recover

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
DIGESTS = [keccak(bytes((n,))) for n in range(40)]


def halves(signature: bytes) -> tuple[int, int, int]:
    """The numbers r and s and the parity of y."""
    vs = int.from_bytes(signature[32:], "big")
    return int.from_bytes(signature[:32], "big"), vs & (2**255 - 1), vs >> 255


def packed(r: int, s: int, parity: int) -> bytes:
    return r.to_bytes(32, "big") + (s | parity << 255).to_bytes(32, "big")


@pytest.mark.parametrize("digest", DIGESTS)
def test_others_recover_our_signatures(digest: bytes) -> None:
    key = Key(b"\x07" * 32)
    r, s, parity = halves(key.sign(digest))
    foreign = Signature(vrs=(parity, r, s))
    assert foreign.recover_public_key_from_msg_hash(digest).to_canonical_address() == key.address


@pytest.mark.parametrize("digest", DIGESTS)
def test_we_recover_others_signatures(digest: bytes) -> None:
    foreign = PrivateKey(b"\x08" * 32)
    signature = foreign.sign_msg_hash(digest)
    ours = recover(digest, packed(signature.r, signature.s, signature.v))
    assert ours == foreign.public_key.to_canonical_address()


@pytest.mark.parametrize("digest", DIGESTS)
def test_a_signature_has_s_in_the_lower_half(digest: bytes) -> None:
    """EIP-2: only one of two signatures is valid, or a signed object has two identities."""
    _, s, _ = halves(Key(b"\x07" * 32).sign(digest))
    assert 0 < s <= ORDER // 2


def test_both_parities_occur() -> None:
    signatures = {halves(Key(b"\x07" * 32).sign(digest))[2] for digest in DIGESTS}
    assert signatures == {0, 1}


@pytest.mark.parametrize("digest", DIGESTS[:8])
def test_the_same_signature_in_its_high_form_is_refused(digest: bytes) -> None:
    r, s, parity = halves(Key(b"\x07" * 32).sign(digest))
    twin = ORDER - s
    if twin < 2**255:
        with pytest.raises(PeerError, match="upper half"):
            recover(digest, packed(r, twin, 1 - parity))


@pytest.mark.parametrize("s", [ORDER // 2 + 1, ORDER // 2 + 2, 2**255 - 1])
def test_s_just_above_half_is_refused(s: int) -> None:
    with pytest.raises(PeerError, match="upper half"):
        recover(DIGESTS[0], packed(5, s, 0))


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (ORDER, 1), (2**256 - 1, 1), (5, 1)])
def test_numbers_that_are_no_signature_are_refused(r: int, s: int) -> None:
    with pytest.raises(PeerError):
        recover(DIGESTS[0], packed(r, s, 0))


@pytest.mark.parametrize("size", [0, 1, 63, 65, 66, 1_000_000])
def test_a_signature_has_64_bytes(size: int) -> None:
    with pytest.raises(PeerError, match="64"):
        recover(DIGESTS[0], b"\x01" * size)


def test_every_bit_of_a_signature_counts() -> None:
    """512 bits turned one by one: 0 recover the signer."""
    key = Key(b"\x07" * 32)
    signature = key.sign(DIGESTS[0])
    for bit in range(512):
        bent = bytearray(signature)
        bent[bit >> 3] ^= 1 << (bit & 7)
        try:
            assert recover(DIGESTS[0], bytes(bent)) != key.address
        except PeerError:
            continue


@pytest.mark.parametrize("secret", [b"", bytes(32), b"\x01" * 31, b"\x01" * 33, b"\xff" * 32])
def test_what_is_no_key_is_refused(secret: bytes) -> None:
    with pytest.raises(UserError):
        Key(secret)


def test_a_key_does_not_show_its_secret() -> None:
    key = Key(b"\x07" * 32)
    assert key.secret.hex() not in repr(key)
    assert str(key.secret) not in repr(key)


@settings(max_examples=300)
@given(
    digest=st.binary(min_size=32, max_size=32),
    signature=st.binary(min_size=64, max_size=64),
    near=st.booleans(),
)
def test_recover_agrees_with_the_library_s_public_interface(
    digest: bytes, signature: bytes, near: bool
) -> None:
    """Coincurve's binding is called directly, for speed alone."""
    if near:
        signature = Key(b"\x07" * 32).sign(digest)[:63] + signature[63:]
    r, s, parity = halves(signature)
    assume(s <= ORDER // 2)
    try:
        public = PublicKey.from_signature_and_message(
            r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((parity,)), digest, hasher=None
        )
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception
        with pytest.raises(PeerError):
            recover(digest, signature)
        return
    assert recover(digest, signature) == address_of_public_key(public.format(compressed=False))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_has_32_bytes(size: int) -> None:
    """C code reads 32 bytes, whatever there is."""
    with pytest.raises(ValueError, match="32"):
        recover(bytes(size), Key(b"\x07" * 32).sign(DIGESTS[0]))
