"""What a payer wishes, signed for somebody else to send: a file between two machines.

The payer needs no gas. Whoever sends the file can choose nothing but when, up to its end, and
whether. Everything that is sent is worked out again from the fields here; the typed data in the
file is only what a wallet elsewhere shows and signs.
"""

from __future__ import annotations

from pathlib import Path
from secrets import token_bytes
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec.structs import replace

from rowen.chain import authorizations
from rowen.chain.authorizations import Funding, Permit, Signable, TokenFacts, key_signature
from rowen.chain.base import ChannelKey, Deployment, Escrow, TxReceipt, Wallet
from rowen.chain.calls.escrow import Lock
from rowen.protocol.amounts import format_usd
from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address, keccak, parse_address
from rowen.protocol.signing import Key
from rowen.protocol.statements import AMOUNT_MAX

FORMAT: Final = "rowen-wish/1"
_FILE_BYTES_MAX: Final = 256 * 1024

Kind = Literal["lock", "leave", "stay"]
HexAddress = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]
HexBytes = Annotated[str, msgspec.Meta(pattern=r"^0x([0-9a-f]{2})*$")]
HexHash = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{64}$")]
Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,29}$")]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One wish.

    Attributes:
        format: ``FORMAT``.
        kind: ``lock`` funds a channel, ``leave`` asks for its rest, ``stay`` takes that back.
        chain_id: EIP-155.
        escrow: The contract.
        payer: Whose wish: a key, or a wallet that is a contract, deployed or not.
        provider: With payer and signer, the channel.
        signer: Session key.
        amount: Of a lock, token units.
        by: Of a lock: what is signed.
        salt: Of a lock: tells it from others like it.
        unlock_at_s: Of ``stay``: when the request that is taken back would be due.
        deadline_s: Unix time after which nobody can send it.
        permit: With ``permit``, the signature of the allowance; else empty.
        signature: The payer's: 65 bytes of a key, any of a wallet, wrapped as ERC-6492 says where
            the wallet is not deployed yet. Empty while nobody signed.
        typed_data: For ``eth_signTypedData_v4``; null once it is signed.
    """

    format: Literal["rowen-wish/1"] = FORMAT
    kind: Kind
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    escrow: HexAddress
    payer: HexAddress
    provider: HexAddress
    signer: HexAddress
    amount: Amount = "0"
    by: Literal["permit", "authorization", "permit2", "approve"] = "approve"
    salt: HexHash = "0x" + "00" * 32
    unlock_at_s: Seconds = 0
    deadline_s: Seconds
    permit: HexBytes = "0x"
    signature: HexBytes = "0x"
    typed_data: dict[str, Any] | None = None

    @property
    def channel(self) -> ChannelKey:
        """The channel."""
        return ChannelKey(*map(parse_address, (self.payer, self.provider, self.signer)))

    @property
    def funding(self) -> Funding:
        """Of a lock: what is signed."""
        return Funding(self.by)

    @property
    def lock(self) -> Lock:
        """A lock as the escrow takes it."""
        return Lock(*self.channel, int(self.amount), bytes.fromhex(self.salt[2:]), self.deadline_s)

    @property
    def id(self) -> str:
        """Names the wish, so that it is sent once; its signature can differ, it cannot."""
        bare = replace(self, permit="0x", signature="0x", typed_data=None)
        return keccak(msgspec.json.encode(bare)).hex()


def lock_wish(
    deployment: Deployment,
    key: ChannelKey,
    amount: int,
    token: TokenFacts,
    deadline_s: int,
    by: Funding | None = None,
) -> Wish:
    """A wish to fund a channel.

    Args:
        deployment: The escrow.
        key: The channel.
        amount: Token units.
        token: What it says of the payer.
        deadline_s: Unix time.
        by: How; by default the first way that works without gas of the payer's.

    Raises:
        UserError: The token takes no such signature, or nothing can fund without gas.
    """
    if not 0 < amount <= AMOUNT_MAX:
        raise UserError(f"{format_usd(amount)} cannot be locked: name an amount above $0")
    chosen = by or _gasless(token, amount)
    can = {
        Funding.PERMIT: token.permit_nonce is not None,
        Funding.AUTHORIZATION: token.takes_authorizations,
        Funding.PERMIT2: token.permit2_allowance is not None,
        Funding.APPROVE: True,
    }
    if not can[chosen]:
        raise UserError(f"the token takes no {chosen.value} signature: choose another way")
    return Wish(
        kind="lock",
        amount=str(amount),
        by=chosen.value,
        salt=f"0x{token_bytes(32).hex()}",
        deadline_s=deadline_s,
        **_names(deployment, key),
    )


def _gasless(token: TokenFacts, amount: int) -> Funding:
    if token.takes_authorizations:
        return Funding.AUTHORIZATION
    if token.permit_nonce is not None:
        return Funding.PERMIT
    if (token.permit2_allowance or 0) >= amount:
        return Funding.PERMIT2
    if token.allowance >= amount:
        return Funding.APPROVE
    raise UserError(
        "this token takes no signatures, and there is no allowance to the escrow or to Permit2:"
        " the payer has to give one in a transaction of its own first"
    )


def unlock_wish(
    deployment: Deployment, key: ChannelKey, view: ChannelView, kind: Kind, deadline_s: int
) -> Wish:
    """A wish to leave a channel, or to stay after all.

    Raises:
        UserError: There is nothing to leave, or nothing to take back.
    """
    if kind == "leave" and view.unlock_at_s:
        raise UserError("this channel's rest was asked for already")
    if kind == "leave" and view.locked == view.claimed:
        raise UserError("there is nothing left in this channel")
    if kind == "stay" and not view.unlock_at_s:
        raise UserError("this channel's rest was not asked for: there is nothing to take back")
    due_s = view.unlock_at_s if kind == "stay" else 0
    return Wish(kind=kind, unlock_at_s=due_s, deadline_s=deadline_s, **_names(deployment, key))


def _names(deployment: Deployment, key: ChannelKey) -> dict[str, Any]:
    return {
        "chain_id": deployment.domain.chain_id,
        "escrow": format_address(deployment.domain.escrow),
        "payer": format_address(key.payer),
        "provider": format_address(key.provider),
        "signer": format_address(key.signer),
    }


def signable_of(wish: Wish, deployment: Deployment, token: TokenFacts) -> Signable:
    """What its payer signs; of a lock by permit, the consent beside the allowance."""
    domain = deployment.domain
    if wish.kind == "leave":
        return authorizations.request_unlock(domain, wish.channel, wish.deadline_s)
    if wish.kind == "stay":
        return authorizations.cancel_unlock(domain, wish.channel, wish.unlock_at_s, wish.deadline_s)
    if wish.funding is Funding.AUTHORIZATION:
        return authorizations.authorization(token, domain, deployment.token, wish.lock)
    if wish.funding is Funding.PERMIT2:
        return authorizations.permit2(domain, deployment.token, wish.lock)
    return authorizations.lock(domain, wish.lock)


def sign(wish: Wish, deployment: Deployment, token: TokenFacts, key: Key) -> Wish:
    """The wish with its payer's signature.

    Raises:
        UserError: The key is not the payer's.
    """
    if key.address != wish.channel.payer:
        raise UserError(
            f"{wish.payer} pays, and the wallet key here is {format_address(key.address)}: write"
            " the request for that wallet to sign with --elsewhere"
        )
    permit = ""
    if wish.kind == "lock" and wish.funding is Funding.PERMIT:
        allowance = authorizations.permit(
            token, deployment.domain, deployment.token, key.address, int(wish.amount),
            wish.deadline_s,
        )  # fmt: skip
        permit = key_signature(key.sign(allowance.digest)).hex()
    digest = signable_of(wish, deployment, token).digest
    signature = key_signature(key.sign(digest)).hex()
    return replace(wish, permit=f"0x{permit}", signature=f"0x{signature}")


def for_elsewhere(wish: Wish, deployment: Deployment, token: TokenFacts) -> Wish:
    """The wish with what a wallet elsewhere is to sign.

    Raises:
        UserError: It takes two signatures, or the token does not tell its EIP-712 domain.
    """
    if wish.kind == "lock" and wish.funding is Funding.PERMIT:
        raise UserError("a lock by permit takes two signatures: choose another way with --by")
    try:
        typed_data = signable_of(wish, deployment, token).typed_data()
    except ValueError as error:
        raise UserError(f"{error}; choose another way with --by") from error
    return replace(wish, typed_data=typed_data)


async def send(wish: Wish, escrow: Escrow, wallet: Wallet) -> TxReceipt:
    """Sends a wish with a wallet that pays the gas. Sent again, it is the same transaction.

    Raises:
        UserError: It is for another deployment, or not signed.
        Reverted: The contract refuses it: used, expired, not the payer's signature.
        Unavailable: The chain does not answer; what was sent stays pending.
    """
    domain = escrow.deployment.domain
    if (wish.chain_id, parse_address(wish.escrow)) != (domain.chain_id, domain.escrow):
        raise UserError(
            f"this wish is for escrow {wish.escrow} on chain {wish.chain_id}, the settings name"
            f" {format_address(domain.escrow)} on chain {domain.chain_id}"
        )
    signature = bytes.fromhex(wish.signature[2:])
    if not signature:
        raise UserError("nobody signed this yet: give the payer's signature with --signature")
    intent = f"{wish.kind}-{wish.id}"
    if wish.kind == "leave":
        return await wallet.request_unlock_for(
            wish.channel, wish.deadline_s, signature, intent=intent
        )
    if wish.kind == "stay":
        return await wallet.cancel_unlock_for(
            wish.channel, wish.unlock_at_s, wish.deadline_s, signature, intent=intent
        )
    allowance = bytes.fromhex(wish.permit[2:])
    permit = Permit(int(wish.amount), wish.deadline_s, allowance) if allowance else None
    return await wallet.lock_for(
        wish.lock, signature, by=wish.funding, intent=intent, permit=permit
    )


def encode_wish(wish: Wish) -> bytes:
    """The file."""
    return msgspec.json.format(msgspec.json.encode(wish), indent=2) + b"\n"


def read_wish(path: Path) -> Wish:
    """Reads a wish that anybody may have written.

    Raises:
        UserError: It is not there, or no wish.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
        if len(raw) > _FILE_BYTES_MAX:
            raise ValueError(f"over {_FILE_BYTES_MAX} bytes")
        wish = msgspec.json.decode(raw, type=Wish)
        if int(wish.amount) > AMOUNT_MAX or len(wish.permit) not in (2, 132):
            raise ValueError("an amount or a permit is out of range")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no wish: {error}") from error
    return wish
