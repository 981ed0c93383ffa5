"""What the installed set of packages relies on, against what its authors asked for."""

import json
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


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


def test_whatever_is_installed_is_pinned_by_hash() -> None:
    """Threat 63: pip and npm refuse an archive with another hash than the one in the lock."""
    for name in ("build", "compiler", "dev", "ffmpeg", "halmos", "lock", "nodejs", "slither", "uv"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        pins = [line for line in re.split(r"(?<!\\)\n", text) if line and line[0] != "#"]
        assert pins
        for pin in pins:
            assert re.match(r"[\w.-]+==[\w.]+ .*--hash=sha256:[0-9a-f]{64}", pin, re.DOTALL), pin
    for folder in ("contracts", "tests/interop"):
        packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
        loose = [path for path, package in packages.items() if path and "integrity" not in package]
        # Foundry's tools for macOS and ARM: the lock was made where npm does not fetch them.
        assert all(re.search(r"@foundry-rs/\w+-(darwin|win32|linux-arm64)", path) for path in loose)
