"""What a payer signs, held against somebody else's EIP-712."""

from __future__ import annotations

from typing import Any

import pytest

from rowen.chain import authorizations
from rowen.chain.authorizations import (
    Signable,
    TokenFacts,
    compact_signature,
    key_signature,
    separator_of,
)
from rowen.chain.base import ChannelKey
from rowen.chain.calls.escrow import Lock
from rowen.chain.foreign import recursion_limit_kept
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import keccak
from rowen.protocol.signing import Key, recover

KEY = Key(keccak(b"payer"))
DOMAIN = Domain(8453, b"e" * 20)
TOKEN = b"t" * 20
CHANNEL = ChannelKey(KEY.address, b"p" * 20, b"s" * 20)
WANTED = Lock(*CHANNEL, 5_000_000, b"\xff" * 32, 2_000_000_000)
FACTS = TokenFacts(
    domain_separator=separator_of(
        {"name": "USD Coin", "version": "2", "chainId": 8453, "verifyingContract": TOKEN}
    ),
    name="USD Coin",
    version="2",
    permit_nonce=3,
    takes_authorizations=True,
    allowance=0,
    permit2_allowance=None,
)
SIGNABLE = [
    authorizations.lock(DOMAIN, WANTED),
    authorizations.request_unlock(DOMAIN, CHANNEL, 2_000_000_000),
    authorizations.cancel_unlock(DOMAIN, CHANNEL, 1_900_000_000, 2_000_000_000),
    authorizations.permit(FACTS, DOMAIN, TOKEN, KEY.address, 7, 2_000_000_000),
    authorizations.authorization(FACTS, DOMAIN, TOKEN, WANTED),
    authorizations.permit2(DOMAIN, TOKEN, WANTED),
]


def digest_elsewhere(typed: dict[str, Any]) -> bytes:
    """As eth_account, and with it most wallets, works it out."""
    with recursion_limit_kept():
        from eth_account.messages import encode_typed_data

    message = encode_typed_data(full_message=typed)
    return keccak(b"\x19" + message.version + message.header + message.body)


@pytest.mark.parametrize("signable", SIGNABLE, ids=lambda each: each.kind)
def test_another_wallet_signs_the_same_bytes(signable: Signable) -> None:
    assert digest_elsewhere(signable.typed_data()) == signable.digest


def test_a_token_that_hides_its_domain_is_signed_here_only() -> None:
    """What a wallet would show and what it would sign must not differ."""
    hidden = FACTS._replace(name="Another Coin")
    signable = authorizations.authorization(hidden, DOMAIN, TOKEN, WANTED)
    assert signable.digest == authorizations.authorization(FACTS, DOMAIN, TOKEN, WANTED).digest
    with pytest.raises(ValueError, match="does not tell its EIP-712 domain"):
        signable.typed_data()


def test_signatures_of_64_and_65_bytes_are_the_same() -> None:
    for number in range(20):
        digest = keccak(bytes([number]))
        full = key_signature(KEY.sign(digest))
        assert recover(digest, compact_signature(full)) == KEY.address
        assert key_signature(compact_signature(full)) == full


@pytest.mark.parametrize("raw", [b"", b"x" * 64, b"x" * 64 + b"\0", b"x" * 66])
def test_what_is_no_signature_of_a_key_is_refused(raw: bytes) -> None:
    with pytest.raises(PeerError, match="no signature of a key"):
        compact_signature(raw)
