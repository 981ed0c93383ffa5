"""TestUSDC, rule by rule, in Python; see ``rowen.testing.escrow_model``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, Self

from rowen.chain import authorizations
from rowen.chain.authorizations import Permit, Signable, TokenFacts, compact_signature
from rowen.chain.base import Deployment
from rowen.chain.calls.escrow import Lock
from rowen.chain.refusals import Reverted
from rowen.protocol.errors import PeerError
from rowen.protocol.signing import recover

ZERO_ADDRESS = bytes(20)
NAME, VERSION = "USD Coin", "2"


class Call(NamedTuple):
    """Who calls, when, and where its events go.

    Attributes:
        sender: 20 bytes.
        now_s: The block's time, Unix seconds.
        emit: Takes the event's class and its own fields.
    """

    sender: bytes
    now_s: int
    emit: Callable[..., None]


def signer_of(digest: bytes, signature: bytes) -> bytes:
    """Who signed, as a contract sees it: the zero address when nobody did."""
    try:
        return recover(digest, compact_signature(signature))
    except PeerError:
        return ZERO_ADDRESS


@dataclass(slots=True)
class TokenModel:
    """All storage of the token. ``copy`` gives a block its own."""

    deployment: Deployment
    tokens: dict[bytes, int] = field(default_factory=dict)
    allowances: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    permit_nonces: dict[bytes, int] = field(default_factory=dict)
    used_nonces: frozenset[tuple[bytes, bytes]] = frozenset()

    def copy(self) -> Self:
        """A state that changes without this one changing."""
        held: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        mappings: dict[str, Any] = {k: dict(v) for k, v in held.items() if isinstance(v, dict)}
        return replace(self, **mappings)

    def facts(self, owner: bytes) -> TokenFacts:
        """What the token says of an owner; there is no Permit2 on a fake chain."""
        domain = {
            "name": NAME,
            "version": VERSION,
            "chainId": self.deployment.domain.chain_id,
            "verifyingContract": self.deployment.token,
        }
        return TokenFacts(
            domain_separator=authorizations.separator_of(domain),
            name=NAME,
            version=VERSION,
            permit_nonce=self.permit_nonces.get(owner, 0),
            takes_authorizations=True,
            allowance=self.allowances.get((owner, self.deployment.domain.escrow), 0),
            permit2_allowance=None,
        )

    def mint(self, _call: Call, to: bytes, amount: int) -> None:
        """TestUSDC.mint."""
        self.tokens[to] = self.tokens.get(to, 0) + amount

    def approve(self, call: Call, spender: bytes, amount: int) -> None:
        """TestUSDC.approve."""
        self.allowances[call.sender, spender] = amount

    def permit(self, call: Call, owner: bytes, permit: Permit) -> None:
        """TestUSDC.permit, of the escrow."""
        deployment = self.deployment
        if call.now_s > permit.deadline_s:
            raise Reverted("permit", "PermitExpired", (permit.deadline_s, call.now_s))
        signable = authorizations.permit(
            self.facts(owner), deployment.domain, deployment.token, owner, permit.amount,
            permit.deadline_s,
        )  # fmt: skip
        signer = signer_of(signable.digest, permit.signature)
        if signer != owner:
            raise Reverted("permit", "PermitSignerMismatch", (owner, signer))
        self.permit_nonces[owner] = self.permit_nonces.get(owner, 0) + 1
        self.allowances[owner, deployment.domain.escrow] = permit.amount

    def receive_with_authorization(
        self, call: Call, wanted: Lock, signable: Signable, signature: bytes
    ) -> None:
        """TestUSDC.receiveWithAuthorization, called by the escrow."""
        nonce = signable.message["nonce"]
        if signer_of(signable.digest, signature) != wanted.payer:
            raise Reverted("receive", "ERC3009InvalidSignature")
        # The token excludes the second itself.
        if call.now_s >= wanted.deadline:
            raise Reverted("receive", "ERC3009InvalidAuthorizationTime", (0, wanted.deadline))
        if (wanted.payer, nonce) in self.used_nonces:
            raise Reverted("receive", "ERC3009UsedAuthorization", (wanted.payer, nonce))
        self.used_nonces |= {(wanted.payer, nonce)}
        self.move(wanted.payer, self.deployment.domain.escrow, wanted.amount)

    def spend(self, owner: bytes, spender: bytes, amount: int) -> None:
        """TestUSDC.transferFrom, of a contract to itself."""
        allowed = self.allowances.get((owner, spender), 0)
        if allowed < amount:
            raise Reverted("transferFrom", "ERC20InsufficientAllowance", (spender, allowed, amount))
        self.allowances[owner, spender] = allowed - amount
        self.move(owner, spender, amount)

    def move(self, sender: bytes, to: bytes, amount: int) -> None:
        """A transfer."""
        held = self.tokens.get(sender, 0)
        if held < amount:
            raise Reverted("transfer", "ERC20InsufficientBalance", (sender, held, amount))
        self.tokens[sender] = held - amount
        self.tokens[to] = self.tokens.get(to, 0) + amount
