"""What a payer signs so that somebody else can send it, or so that no allowance is needed.

Digests of EIP-712 structs in three domains: the escrow's, the token's (ERC-2612, ERC-3009) and
Permit2's. Each names payer, channel, sum and an end, and works once. Pure.

Unlike vouchers, these may be signed by a wallet's code (ERC-1271) or by one that is not deployed
yet (ERC-6492): then the signature is any bytes, and only the contracts can judge it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from rowen.chain.base import ChannelKey
from rowen.chain.calls.escrow import Lock
from rowen.chain.codec import encode
from rowen.protocol.eip712 import NAME, VERSION, Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import format_address, keccak

PERMIT2: Final = bytes.fromhex("000000000022d473030f116ddee9f6b43ac78ba3")
"""Where Permit2 stands on every chain that has it."""

KEY_SIGNATURE_BYTES: Final = 65


class Funding(StrEnum):
    """How tokens get from a payer into a channel."""

    PERMIT = "permit"
    """ERC-2612: the payer signs an allowance, used in the same transaction."""
    AUTHORIZATION = "authorization"
    """ERC-3009: the payer signs the transfer itself."""
    PERMIT2 = "permit2"
    """Permit2, which the payer gave an allowance to: the payer signs the transfer."""
    APPROVE = "approve"
    """The payer gives the escrow an allowance in a transaction of its own."""


class Permit(NamedTuple):
    """An allowance for the escrow, as the payer signed it (ERC-2612).

    Attributes:
        amount: Token units.
        deadline_s: Unix time after which it is void.
        signature: The owner's, 65 bytes.
    """

    amount: int
    deadline_s: int
    signature: bytes


class TokenFacts(NamedTuple):
    """What a token and Permit2 say about one owner, now.

    Attributes:
        domain_separator: The token's EIP-712 domain, 32 bytes; None when it has none.
        name: Of that domain, as far as the token tells.
        version: Of that domain, as far as the token tells.
        permit_nonce: Of the owner's next permit; None when the token takes none (ERC-2612).
        takes_authorizations: Whether it knows ERC-3009.
        allowance: The owner's to the escrow, token units.
        permit2_allowance: The owner's to Permit2; None where that is not deployed.
    """

    domain_separator: bytes | None
    name: str
    version: str
    permit_nonce: int | None
    takes_authorizations: bool
    allowance: int
    permit2_allowance: int | None


def key_signature(compact: bytes) -> bytes:
    """65 bytes ``r ‖ s ‖ v`` from 64 bytes ``r ‖ vs`` (EIP-2098)."""
    return compact[:32] + bytes((compact[32] & 0x7F,)) + compact[33:] + _v(compact)


def compact_signature(signature: bytes) -> bytes:
    """64 bytes from 65; the other way round.

    Raises:
        PeerError: It is no key's signature.
    """
    if len(signature) != KEY_SIGNATURE_BYTES or signature[64] not in (27, 28):
        raise PeerError(f"{len(signature)} bytes are no signature of a key")
    top = signature[32] | 0x80 if signature[64] == 28 else signature[32]
    return signature[:32] + bytes((top,)) + signature[33:64]


def _v(compact: bytes) -> bytes:
    return bytes((27 + (compact[32] >> 7),))


# --- types, as EIP-712 writes them; each list is a struct's fields in order ------------------

_DOMAIN: Final = (
    ("string", "name"), ("string", "version"), ("uint256", "chainId"),
    ("address", "verifyingContract"),
)  # fmt: skip
_LOCK: Final = (
    ("address", "payer"), ("address", "provider"), ("address", "signer"), ("uint96", "amount"),
    ("bytes32", "salt"), ("uint64", "deadline"),
)  # fmt: skip
_REQUEST_UNLOCK: Final = (
    ("address", "payer"), ("address", "provider"), ("address", "signer"), ("uint64", "deadline"),
)  # fmt: skip
_CANCEL_UNLOCK: Final = (
    ("address", "payer"), ("address", "provider"), ("address", "signer"), ("uint64", "unlockAt"),
    ("uint64", "deadline"),
)  # fmt: skip
_PERMIT: Final = (
    ("address", "owner"), ("address", "spender"), ("uint256", "value"), ("uint256", "nonce"),
    ("uint256", "deadline"),
)  # fmt: skip
_RECEIVE: Final = (
    ("address", "from"), ("address", "to"), ("uint256", "value"), ("uint256", "validAfter"),
    ("uint256", "validBefore"), ("bytes32", "nonce"),
)  # fmt: skip
_TOKEN_PERMISSIONS: Final = (("address", "token"), ("uint256", "amount"))
_CHANNEL: Final = (("address", "provider"), ("address", "signer"))
_TRANSFER: Final = (
    ("TokenPermissions", "permitted"), ("address", "spender"), ("uint256", "nonce"),
    ("uint256", "deadline"), ("Channel", "witness"),
)  # fmt: skip

_STRUCTS: Final = {
    "Lock": _LOCK,
    "RequestUnlock": _REQUEST_UNLOCK,
    "CancelUnlock": _CANCEL_UNLOCK,
    "Permit": _PERMIT,
    "ReceiveWithAuthorization": _RECEIVE,
    "TokenPermissions": _TOKEN_PERMISSIONS,
    "Channel": _CHANNEL,
    "PermitWitnessTransferFrom": _TRANSFER,
}


def separator_of(domain: dict[str, Any]) -> bytes:
    """An EIP-712 domain's separator, 32 bytes, from those of its fields that it has, in order."""
    fields = tuple(field for field in _DOMAIN if field[1] in domain)
    return _hash_fields("EIP712Domain", fields, domain)


class Signable(NamedTuple):
    """One EIP-712 struct with its domain, to be signed here or shown to a wallet elsewhere.

    Attributes:
        separator: Of its domain, 32 bytes.
        domain: The domain's fields, in order.
        kind: Name of the struct's type.
        message: Its fields; inner structs as mappings.
    """

    separator: bytes
    domain: dict[str, Any]
    kind: str
    message: dict[str, Any]

    @property
    def digest(self) -> bytes:
        """What is signed, 32 bytes."""
        return keccak(b"\x19\x01" + self.separator + _hash(self.kind, self.message))

    def typed_data(self) -> dict[str, Any]:
        """What ``eth_signTypedData_v4`` takes.

        Raises:
            ValueError: The domain's fields, as told, are not those it was made from.
        """
        fields = tuple(field for field in _DOMAIN if field[1] in self.domain)
        if separator_of(self.domain) != self.separator:
            raise ValueError("the token does not tell its EIP-712 domain: no other wallet can sign")
        kinds = {"EIP712Domain": fields} | {name: _STRUCTS[name] for name in _within(self.kind)}
        return {
            "types": {
                name: [{"name": field, "type": kind} for kind, field in each]
                for name, each in kinds.items()
            },
            "primaryType": self.kind,
            "domain": _shown(self.domain),
            "message": _shown(self.message),
        }


def lock(domain: Domain, wanted: Lock) -> Signable:
    """Consent to a lock out of the allowance: ``lockFor``."""
    return _of_escrow(domain, "Lock", wanted._asdict())


def request_unlock(domain: Domain, key: ChannelKey, deadline_s: int) -> Signable:
    """The payer's way out: ``requestUnlockFor``."""
    return _of_escrow(domain, "RequestUnlock", {**key._asdict(), "deadline": deadline_s})


def cancel_unlock(domain: Domain, key: ChannelKey, unlock_at_s: int, deadline_s: int) -> Signable:
    """Taking back the request that is due at ``unlock_at_s``: ``cancelUnlockFor``."""
    message = {**key._asdict(), "unlockAt": unlock_at_s, "deadline": deadline_s}
    return _of_escrow(domain, "CancelUnlock", message)


def permit(
    token: TokenFacts, domain: Domain, address: bytes, owner: bytes, amount: int, deadline_s: int
) -> Signable:
    """An allowance for the escrow: ERC-2612.

    The domain separator is the token's own word. A lying endpoint gains nothing by it: such a
    permit lets only the escrow spend, and the escrow takes only its own token.

    Args:
        token: What it says of the owner.
        domain: Of the escrow, who may spend.
        address: The token's, 20 bytes.
        owner: Who pays, 20 bytes.
        amount: Token units.
        deadline_s: Unix time.
    """
    assert token.permit_nonce is not None, "asked before"
    message = {
        "owner": owner,
        "spender": domain.escrow,
        "value": amount,
        "nonce": token.permit_nonce,
        "deadline": deadline_s,
    }
    return _of_token(token, domain, address, "Permit", message)


def authorization(token: TokenFacts, domain: Domain, address: bytes, wanted: Lock) -> Signable:
    """A transfer into one channel: ERC-3009, as ``lockWithAuthorization`` uses it."""
    channel_id = ChannelKey(wanted.payer, wanted.provider, wanted.signer).id
    message = {
        "from": wanted.payer,
        "to": domain.escrow,
        "value": wanted.amount,
        "validAfter": 0,
        "validBefore": wanted.deadline,
        # Ties the money to the channel; see IRowenEscrow.authorizationNonce.
        "nonce": keccak(channel_id + wanted.salt),
    }
    return _of_token(token, domain, address, "ReceiveWithAuthorization", message)


def permit2(domain: Domain, token: bytes, wanted: Lock) -> Signable:
    """A transfer into one channel through Permit2, as ``lockWithPermit2`` uses it."""
    fields = {"name": "Permit2", "chainId": domain.chain_id, "verifyingContract": PERMIT2}
    message = {
        "permitted": {"token": token, "amount": wanted.amount},
        "spender": domain.escrow,
        "nonce": int.from_bytes(wanted.salt, "big"),
        "deadline": wanted.deadline,
        "witness": {"provider": wanted.provider, "signer": wanted.signer},
    }
    return Signable(separator_of(fields), fields, "PermitWitnessTransferFrom", message)


def _of_escrow(domain: Domain, kind: str, message: dict[str, Any]) -> Signable:
    fields = {
        "name": NAME,
        "version": VERSION,
        "chainId": domain.chain_id,
        "verifyingContract": domain.escrow,
    }
    return Signable(domain.separator, fields, kind, message)


def _of_token(
    token: TokenFacts, domain: Domain, address: bytes, kind: str, message: dict[str, Any]
) -> Signable:
    assert token.domain_separator is not None, "asked before"
    fields = {
        "name": token.name,
        "version": token.version,
        "chainId": domain.chain_id,
        "verifyingContract": address,
    }
    return Signable(token.domain_separator, fields, kind, message)


def _within(kind: str) -> list[str]:
    """The struct and those inside it; EIP-712 sorts the latter by name."""
    inner = sorted(each for each, _ in _STRUCTS[kind] if each in _STRUCTS)
    return [kind, *inner]


def _hash(kind: str, message: dict[str, Any]) -> bytes:
    return _hash_fields(kind, _STRUCTS[kind], message)


def _hash_fields(kind: str, fields: tuple[tuple[str, str], ...], message: dict[str, Any]) -> bytes:
    """EIP-712's hashStruct."""
    parts = [(kind, fields), *((name, _STRUCTS[name]) for name in _inner(fields))]
    text = "".join(f"{name}({','.join(map(' '.join, each))})" for name, each in parts)
    words = [keccak(text.encode())]
    for each, name in fields:
        value = message[name]
        if each in _STRUCTS:
            words.append(_hash(each, value))
        elif each == "string":
            words.append(keccak(value.encode()))
        else:
            words.append(encode((each,), (value,)))
    return keccak(b"".join(words))


def _inner(fields: tuple[tuple[str, str], ...]) -> list[str]:
    return sorted(each for each, _ in fields if each in _STRUCTS)


def _shown(value: Any) -> Any:
    """As JSON: addresses and hashes in hexadecimal, numbers that readers would round as texts."""
    if isinstance(value, dict):
        return {name: _shown(each) for name, each in value.items()}
    if isinstance(value, bytes):
        return format_address(value) if len(value) == 20 else f"0x{value.hex()}"
    return str(value) if isinstance(value, int) and value >= 2**53 else value
