"""What the installed set of packages relies on, against what its authors asked for."""

from importlib.metadata import version
from importlib.util import find_spec

import pytest


def test_our_identities_work_with_the_newer_fastecdsa() -> None:
    """requirements/overrides.txt lifts a pin of libp2p's, so that no compiler is needed."""
    from libp2p.crypto.secp256k1 import create_new_key_pair
    from libp2p.crypto.serialization import deserialize_public_key

    public = create_new_key_pair(b"\x01" * 32).public_key
    assert version("fastecdsa") == "4.0.0"
    assert deserialize_public_key(public.serialize()).to_bytes() == public.to_bytes()


def test_what_the_newer_fastecdsa_costs_is_nist_curve_keys() -> None:
    """Only secio, which is never offered, and identities that are no EVM addresses use them."""
    from libp2p.crypto.ecc import create_new_key_pair

    pair = create_new_key_pair("P-256")
    with pytest.raises(TypeError, match="encode_public_key"):
        pair.public_key.to_bytes()


def test_trio_is_seen_with_its_own_types() -> None:
    """Setup removes the stubs of an older trio, which mypy would prefer."""
    assert find_spec("trio-stubs") is None
