"""Calls of RowenEscrow.

Written by tools/bindings.py; do not edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rowen.chain.codec import Call

_LOCK = "(address,address,address,uint96,bytes32,uint64)"
_LOCK_PART = "(address,address,uint96)"
_PERMIT = "(uint256,bytes32,bytes32)"


class Lock(NamedTuple):
    """The contract's ``Lock``."""

    payer: bytes
    provider: bytes
    signer: bytes
    amount: int
    salt: bytes
    deadline: int


class LockPart(NamedTuple):
    """The contract's ``LockPart``."""

    provider: bytes
    signer: bytes
    amount: int


class Permit(NamedTuple):
    """The contract's ``Permit``."""

    deadline: int
    r: bytes
    vs: bytes


def accumulator_of(provider: bytes) -> Call[bytes]:
    """``accumulatorOf``."""
    return Call("accumulatorOf", ("address",), (provider,), ("bytes32",))


def apply_payout(provider: bytes) -> Call[None]:
    """``applyPayout``."""
    return Call("applyPayout", ("address",), (provider,))


def authorization_nonce(id_: bytes, salt: bytes) -> Call[bytes]:
    """``authorizationNonce``."""
    return Call("authorizationNonce", ("bytes32", "bytes32"), (id_, salt), ("bytes32",))


def cancel_unlock(provider: bytes, signer: bytes) -> Call[None]:
    """``cancelUnlock``."""
    return Call("cancelUnlock", ("address", "address"), (provider, signer))


def cancel_unlock_digest(
    payer: bytes,
    provider: bytes,
    signer: bytes,
    unlock_at: int,
    deadline: int,
) -> Call[bytes]:
    """``cancelUnlockDigest``."""
    return Call(
        "cancelUnlockDigest",
        ("address", "address", "address", "uint64", "uint64"),
        (payer, provider, signer, unlock_at, deadline),
        ("bytes32",),
    )


def cancel_unlock_for(
    payer: bytes,
    provider: bytes,
    signer: bytes,
    unlock_at: int,
    deadline: int,
    signature: bytes,
) -> Call[None]:
    """``cancelUnlockFor``."""
    return Call(
        "cancelUnlockFor",
        ("address", "address", "address", "uint64", "uint64", "bytes"),
        (payer, provider, signer, unlock_at, deadline, signature),
    )


def channel_id(payer: bytes, provider: bytes, signer: bytes) -> Call[bytes]:
    """``channelId``."""
    return Call(
        "channelId",
        ("address", "address", "address"),
        (payer, provider, signer),
        ("bytes32",),
    )


def channels(id_: bytes) -> Call[tuple[int, int, int]]:
    """``channels``."""
    return Call("channels", ("bytes32",), (id_,), ("uint96", "uint96", "uint64"))


def claim(provider: bytes, rows: bytes) -> Call[int]:
    """``claim``."""
    return Call("claim", ("address", "bytes"), (provider, rows), ("uint256",))


def credit_of(provider: bytes) -> Call[int]:
    """``creditOf``."""
    return Call("creditOf", ("address",), (provider,), ("uint256",))


def eip712_domain() -> Call[tuple[bytes, str, str, int, bytes, bytes, int]]:
    """``eip712Domain``."""
    return Call(
        "eip712Domain",
        (),
        (),
        ("bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"),
    )


def is_authorization_used(payer: bytes, digest: bytes) -> Call[bool]:
    """``isAuthorizationUsed``."""
    return Call("isAuthorizationUsed", ("address", "bytes32"), (payer, digest), ("bool",))


def is_release_used(digest: bytes) -> Call[bool]:
    """``isReleaseUsed``."""
    return Call("isReleaseUsed", ("bytes32",), (digest,), ("bool",))


def lock(provider: bytes, signer: bytes, amount: int) -> Call[None]:
    """``lock``."""
    return Call("lock", ("address", "address", "uint96"), (provider, signer, amount))


def lock_digest(wanted: Lock) -> Call[bytes]:
    """``lockDigest``."""
    return Call("lockDigest", (_LOCK,), (wanted,), ("bytes32",))


def lock_for(wanted: Lock, signature: bytes) -> Call[None]:
    """``lockFor``."""
    return Call("lockFor", (_LOCK, "bytes"), (wanted, signature))


def lock_many(parts: Sequence[LockPart]) -> Call[None]:
    """``lockMany``."""
    return Call("lockMany", (_LOCK_PART + "[]",), (parts,))


def lock_with_authorization(wanted: Lock, signature: bytes) -> Call[None]:
    """``lockWithAuthorization``."""
    return Call("lockWithAuthorization", (_LOCK, "bytes"), (wanted, signature))


def lock_with_permit(permit: Permit, part: LockPart) -> Call[None]:
    """``lockWithPermit``."""
    return Call("lockWithPermit", (_PERMIT, _LOCK_PART), (permit, part))


def lock_with_permit2(wanted: Lock, signature: bytes) -> Call[None]:
    """``lockWithPermit2``."""
    return Call("lockWithPermit2", (_LOCK, "bytes"), (wanted, signature))


def min_lock() -> Call[int]:
    """``minLock``."""
    return Call("minLock", (), (), ("uint96",))


def payout_delay() -> Call[int]:
    """``payoutDelay``."""
    return Call("payoutDelay", (), (), ("uint64",))


def payout_of(provider: bytes) -> Call[bytes]:
    """``payoutOf``."""
    return Call("payoutOf", ("address",), (provider,), ("address",))


def pending_payout_of(provider: bytes) -> Call[tuple[bytes, int]]:
    """``pendingPayoutOf``."""
    return Call("pendingPayoutOf", ("address",), (provider,), ("address", "uint64"))


def release(
    payer: bytes,
    signer: bytes,
    provider: bytes,
    total: int,
    deadline: int,
    r: bytes,
    vs: bytes,
) -> Call[None]:
    """``release``."""
    return Call(
        "release",
        ("address", "address", "address", "uint96", "uint64", "bytes32", "bytes32"),
        (payer, signer, provider, total, deadline, r, vs),
    )


def release_digest(id_: bytes, total: int, deadline: int) -> Call[bytes]:
    """``releaseDigest``."""
    return Call(
        "releaseDigest",
        ("bytes32", "uint96", "uint64"),
        (id_, total, deadline),
        ("bytes32",),
    )


def request_payout(next_: bytes) -> Call[None]:
    """``requestPayout``."""
    return Call("requestPayout", ("address",), (next_,))


def request_unlock(provider: bytes, signer: bytes) -> Call[None]:
    """``requestUnlock``."""
    return Call("requestUnlock", ("address", "address"), (provider, signer))


def request_unlock_digest(
    payer: bytes,
    provider: bytes,
    signer: bytes,
    deadline: int,
) -> Call[bytes]:
    """``requestUnlockDigest``."""
    return Call(
        "requestUnlockDigest",
        ("address", "address", "address", "uint64"),
        (payer, provider, signer, deadline),
        ("bytes32",),
    )


def request_unlock_for(
    payer: bytes,
    provider: bytes,
    signer: bytes,
    deadline: int,
    signature: bytes,
) -> Call[None]:
    """``requestUnlockFor``."""
    return Call(
        "requestUnlockFor",
        ("address", "address", "address", "uint64", "bytes"),
        (payer, provider, signer, deadline, signature),
    )


def revoke_authorization(digest: bytes) -> Call[None]:
    """``revokeAuthorization``."""
    return Call("revokeAuthorization", ("bytes32",), (digest,))


def sweep(provider: bytes) -> Call[int]:
    """``sweep``."""
    return Call("sweep", ("address",), (provider,), ("uint256",))


def token() -> Call[bytes]:
    """``token``."""
    return Call("token", (), (), ("address",))


def unlock(payer: bytes, provider: bytes, signer: bytes) -> Call[None]:
    """``unlock``."""
    return Call("unlock", ("address", "address", "address"), (payer, provider, signer))


def unlock_delay() -> Call[int]:
    """``unlockDelay``."""
    return Call("unlockDelay", (), (), ("uint64",))


def veto_payout(provider: bytes) -> Call[None]:
    """``vetoPayout``."""
    return Call("vetoPayout", ("address",), (provider,))


def voucher_digest(
    payer: bytes,
    provider: bytes,
    total: int,
    receipt_count: int,
    receipts_root: bytes,
) -> Call[bytes]:
    """``voucherDigest``."""
    return Call(
        "voucherDigest",
        ("address", "address", "uint96", "uint32", "bytes32"),
        (payer, provider, total, receipt_count, receipts_root),
        ("bytes32",),
    )


def wallet_deployer() -> Call[bytes]:
    """``walletDeployer``."""
    return Call("walletDeployer", (), (), ("address",))
