"""How tokens get into channels: by what the payer signs, or by an allowance."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_bytes
from typing import Any, Final

from rowen.chain import authorizations
from rowen.chain.authorizations import (
    PERMIT2,
    Funding,
    Permit,
    Signable,
    TokenFacts,
    key_signature,
)
from rowen.chain.base import TxReceipt
from rowen.chain.calls import escrow as calls
from rowen.chain.calls import token as token_calls
from rowen.chain.calls.escrow import Lock, LockPart
from rowen.chain.codec import Call
from rowen.chain.escrow import RpcEscrow
from rowen.chain.refusals import TooFewTokens
from rowen.chain.rpc import RpcError, to_hex
from rowen.chain.sender import Sender
from rowen.protocol.amounts import format_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address
from rowen.protocol.signing import Key

SIGNED_LIFE_S: Final = 86_400
"""A permit or authorization outlives a stuck transaction, and not its purpose."""


class Funder:
    """The part of a wallet that moves tokens into channels.

    Args:
        escrow: The contracts.
        key: Whose tokens, and who signs.
        sender: Of the same key.
    """

    def __init__(self, escrow: RpcEscrow, key: Key, sender: Sender) -> None:
        self._escrow = escrow
        self._key = key
        self._sender = sender

    async def lock(
        self,
        provider: bytes,
        signer: bytes,
        amount: int,
        *,
        intent: str,
        by: Funding | None = None,
    ) -> TxReceipt:
        """See ``Wallet``."""
        if await self._sender.is_known(intent):  # with the signature it has
            return (await self._sender.resume("lock", intent)).receipt
        await self._require_tokens(amount)
        token = await self._escrow.token_facts(self._key.address)
        deadline_s = (await self._escrow.head()).timestamp_s + SIGNED_LIFE_S
        wanted = Lock(self._key.address, provider, signer, amount, token_bytes(32), deadline_s)
        for way in [by] if by else self._ways(token, amount):
            call = await self._funded(way, wanted, token, intent, is_chosen=by is not None)
            if call is not None:
                return await self._call(call, intent=intent)
        raise AssertionError  # an approval always remains

    async def lock_many(self, parts: Sequence[LockPart], *, intent: str) -> TxReceipt:
        """See ``Wallet``."""
        total = sum(part.amount for part in parts)
        if not await self._sender.is_known(intent):
            await self._require_tokens(total)
            token = await self._escrow.token_facts(self._key.address)
            domain = self._escrow.deployment.domain
            await self._allow(domain.escrow, total, token.allowance, intent)
        return await self._call(calls.lock_many(tuple(parts)), intent=intent)

    async def lock_for(
        self,
        wanted: Lock,
        signature: bytes,
        *,
        by: Funding,
        intent: str,
        permit: Permit | None = None,
    ) -> TxReceipt:
        """See ``Wallet``."""
        if by is Funding.AUTHORIZATION:
            return await self._call(calls.lock_with_authorization(wanted, signature), intent=intent)
        if by is Funding.PERMIT2:
            return await self._call(calls.lock_with_permit2(wanted, signature), intent=intent)
        if permit is not None and not await self._sender.is_known(intent):
            facts = await self._escrow.token_facts(wanted.payer)
            if facts.allowance < wanted.amount:
                call = self._permit_call(wanted.payer, permit)
                await self._send_to_token(call, f"{intent}/permit")
        return await self._call(calls.lock_for(wanted, signature), intent=intent)

    async def _call(self, call: Call[Any], *, intent: str) -> TxReceipt:
        to = self._escrow.deployment.domain.escrow
        return (await self._sender.submit(call.name, intent, to, call.data)).receipt

    @staticmethod
    def _ways(token: TokenFacts, amount: int) -> list[Funding]:
        """What the token says it takes, fewest transactions first."""
        ways = []
        if token.permit_nonce is not None:
            ways.append(Funding.PERMIT)
        if token.takes_authorizations:
            ways.append(Funding.AUTHORIZATION)
        if (token.permit2_allowance or 0) >= amount:
            ways.append(Funding.PERMIT2)
        return [*ways, Funding.APPROVE]

    async def _funded(
        self, by: Funding, wanted: Lock, token: TokenFacts, intent: str, *, is_chosen: bool
    ) -> Call[None] | None:
        """The call that locks; None when the token does not keep what it says, unless chosen."""
        deployment = self._escrow.deployment
        if by is Funding.APPROVE:
            await self._allow(deployment.domain.escrow, wanted.amount, token.allowance, intent)
            return calls.lock(wanted.provider, wanted.signer, wanted.amount)
        if by is Funding.PERMIT2:
            if token.permit2_allowance is None:
                raise UserError("Permit2 is not on this chain: fund the channel another way")
            await self._allow(PERMIT2, wanted.amount, token.permit2_allowance, intent)
            signed = self._sign(authorizations.permit2(deployment.domain, deployment.token, wanted))
            return calls.lock_with_permit2(wanted, signed)
        if by is Funding.AUTHORIZATION:
            if not token.takes_authorizations:
                raise self._unsupported("authorizations (ERC-3009)")
            message = authorizations.authorization(
                token, deployment.domain, deployment.token, wanted
            )
            call = calls.lock_with_authorization(wanted, self._sign(message))
            to = deployment.domain.escrow
        else:
            if token.permit_nonce is None:
                raise self._unsupported("permits (ERC-2612)")
            permit = self._permit(token, wanted)
            part = LockPart(wanted.provider, wanted.signer, wanted.amount)
            call = calls.lock_with_permit(_compact(permit), part)
            # The escrow passes over a permit that fails, so the token itself is asked.
            to = deployment.token
            if not is_chosen and not await self._works(
                to, self._permit_call(self._key.address, permit)
            ):
                return None
            return call
        return call if is_chosen or await self._works(to, call) else None

    def _permit(self, token: TokenFacts, wanted: Lock) -> Permit:
        deployment = self._escrow.deployment
        message = authorizations.permit(
            token, deployment.domain, deployment.token, wanted.payer, wanted.amount, wanted.deadline
        )
        return Permit(wanted.amount, wanted.deadline, self._sign(message))

    def _permit_call(self, owner: bytes, permit: Permit) -> Call[None]:
        escrow = self._escrow.deployment.domain.escrow
        return token_calls.permit(owner, escrow, permit.amount, *_permit_words(permit))

    def _sign(self, message: Signable) -> bytes:
        return key_signature(self._key.sign(message.digest))

    async def _works(self, to: bytes, call: Call[None]) -> bool:
        """Whether the call would succeed now."""
        fields = {"from": to_hex(self._key.address), "to": to_hex(to), "data": to_hex(call.data)}
        try:
            await self._escrow.endpoints[0].call("eth_call", fields, "latest")
        except RpcError as error:
            if not error.data and "revert" not in error.reason:
                raise
            return False
        return True

    async def _allow(self, spender: bytes, amount: int, allowance: int, intent: str) -> None:
        token = self._escrow.deployment.token
        await allow(self._sender, token, spender, amount, allowance, intent)

    async def _send_to_token(self, call: Call[Any], intent: str) -> None:
        token = self._escrow.deployment.token
        await self._sender.submit(call.name, intent, token, call.data)

    async def _require_tokens(self, amount: int) -> None:
        missing = amount - await self._escrow.token_balance(self._key.address)
        if missing > 0:
            raise TooFewTokens(self._key.address, missing, f"to lock {format_usd(amount)}")

    def _unsupported(self, what: str) -> UserError:
        token = format_address(self._escrow.deployment.token)
        return UserError(f"the token {token} takes no {what}: fund the channel another way")


async def allow(
    sender: Sender, token: bytes, spender: bytes, amount: int, allowance: int, intent: str
) -> None:
    """Gives an allowance, in a transaction of its own, unless there is one.

    Args:
        sender: Of whose tokens.
        token: 20 bytes.
        spender: 20 bytes.
        amount: Token units that it must cover.
        allowance: What it is now.
        intent: Of what the allowance is for.
    """
    if allowance >= amount:
        return
    calls_needed = [(token_calls.approve(spender, amount), f"{intent}/approve")]
    if allowance:
        # Some tokens, USDT among them, refuse to change one allowance into another.
        calls_needed.insert(0, (token_calls.approve(spender, 0), f"{intent}/reset"))
    for call, name in calls_needed:
        await sender.submit(call.name, name, token, call.data)


def _compact(permit: Permit) -> calls.Permit:
    compact = authorizations.compact_signature(permit.signature)
    return calls.Permit(permit.deadline_s, compact[:32], compact[32:])


def _permit_words(permit: Permit) -> tuple[int, int, bytes, bytes]:
    signature = permit.signature
    return permit.deadline_s, signature[64], signature[:32], signature[32:64]
