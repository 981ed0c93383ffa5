"""Calls of a token with ERC-20, ERC-2612 and ERC-3009, such as TestUSDC.

Written by tools/bindings.py; do not edit.
"""

from __future__ import annotations

from rowen.chain.codec import Call


def domain_separator() -> Call[bytes]:
    """``DOMAIN_SEPARATOR``."""
    return Call("DOMAIN_SEPARATOR", (), (), ("bytes32",))


def allowance(owner: bytes, spender: bytes) -> Call[int]:
    """``allowance``."""
    return Call("allowance", ("address", "address"), (owner, spender), ("uint256",))


def approve(spender: bytes, value: int) -> Call[bool]:
    """``approve``."""
    return Call("approve", ("address", "uint256"), (spender, value), ("bool",))


def authorization_state(authorizer: bytes, nonce: bytes) -> Call[bool]:
    """``authorizationState``."""
    return Call("authorizationState", ("address", "bytes32"), (authorizer, nonce), ("bool",))


def balance_of(account: bytes) -> Call[int]:
    """``balanceOf``."""
    return Call("balanceOf", ("address",), (account,), ("uint256",))


def cancel_authorization(authorizer: bytes, nonce: bytes, v: int, r: bytes, s: bytes) -> Call[None]:
    """``cancelAuthorization``."""
    return Call(
        "cancelAuthorization",
        ("address", "bytes32", "uint8", "bytes32", "bytes32"),
        (authorizer, nonce, v, r, s),
    )


def decimals() -> Call[int]:
    """``decimals``."""
    return Call("decimals", (), (), ("uint8",))


def eip712_domain() -> Call[tuple[bytes, str, str, int, bytes, bytes, int]]:
    """``eip712Domain``."""
    return Call(
        "eip712Domain",
        (),
        (),
        ("bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"),
    )


def mint(to: bytes, amount: int) -> Call[None]:
    """``mint``."""
    return Call("mint", ("address", "uint256"), (to, amount))


def name() -> Call[str]:
    """``name``."""
    return Call("name", (), (), ("string",))


def nonces(owner: bytes) -> Call[int]:
    """``nonces``."""
    return Call("nonces", ("address",), (owner,), ("uint256",))


def permit(
    owner: bytes,
    spender: bytes,
    value: int,
    deadline: int,
    v: int,
    r: bytes,
    s: bytes,
) -> Call[None]:
    """``permit``."""
    return Call(
        "permit",
        ("address", "address", "uint256", "uint256", "uint8", "bytes32", "bytes32"),
        (owner, spender, value, deadline, v, r, s),
    )


def receive_with_authorization(
    from_: bytes,
    to: bytes,
    value: int,
    valid_after: int,
    valid_before: int,
    nonce: bytes,
    v: int,
    r: bytes,
    s: bytes,
) -> Call[None]:
    """``receiveWithAuthorization``."""
    return Call(
        "receiveWithAuthorization",
        (
            "address",
            "address",
            "uint256",
            "uint256",
            "uint256",
            "bytes32",
            "uint8",
            "bytes32",
            "bytes32",
        ),
        (from_, to, value, valid_after, valid_before, nonce, v, r, s),
    )


def symbol() -> Call[str]:
    """``symbol``."""
    return Call("symbol", (), (), ("string",))


def total_supply() -> Call[int]:
    """``totalSupply``."""
    return Call("totalSupply", (), (), ("uint256",))


def transfer(to: bytes, value: int) -> Call[bool]:
    """``transfer``."""
    return Call("transfer", ("address", "uint256"), (to, value), ("bool",))


def transfer_from(from_: bytes, to: bytes, value: int) -> Call[bool]:
    """``transferFrom``."""
    return Call("transferFrom", ("address", "address", "uint256"), (from_, to, value), ("bool",))


def transfer_with_authorization(
    from_: bytes,
    to: bytes,
    value: int,
    valid_after: int,
    valid_before: int,
    nonce: bytes,
    v: int,
    r: bytes,
    s: bytes,
) -> Call[None]:
    """``transferWithAuthorization``."""
    return Call(
        "transferWithAuthorization",
        (
            "address",
            "address",
            "uint256",
            "uint256",
            "uint256",
            "bytes32",
            "uint8",
            "bytes32",
            "bytes32",
        ),
        (from_, to, value, valid_after, valid_before, nonce, v, r, s),
    )


def version() -> Call[str]:
    """``version``."""
    return Call("version", (), (), ("string",))
