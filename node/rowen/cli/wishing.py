"""``rowen channel sign`` and ``send``: a payer without gas signs, anybody else sends."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from msgspec.structs import replace
from rich.console import Console

from rowen.chain.authorizations import Funding
from rowen.chain.base import TxReceipt, fresh_intent
from rowen.chain.connect import open_escrow
from rowen.chain.escrow import RpcEscrow
from rowen.chain.keystore import load_key
from rowen.chain.refusals import Reverted
from rowen.chain.wallet import RpcWallet
from rowen.chain.wishes import (
    Kind,
    Wish,
    encode_wish,
    for_elsewhere,
    lock_wish,
    read_wish,
    send,
    sign,
    unlock_wish,
)
from rowen.cli.acting import open_purse, patience
from rowen.cli.buyers import Session, transaction_of
from rowen.cli.chain_documents import SentDocument, WishDocument
from rowen.cli.channels import require_fundable, require_tokens
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.passwords import password_for
from rowen.cli.people import dollars, facts, to_copy, transaction
from rowen.cli.runner import run_async
from rowen.client.buyer import Buyer
from rowen.client.link import provider_of
from rowen.config import load_config
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError

HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class WishedFor:
    """What a person asked for on the command line.

    Attributes:
        provider: Multiaddress or 0x….
        lock: Dollars, or empty.
        leaves: Whether the channel's rest is wished for.
        stays: Whether that is taken back.
        by: A ``Funding``, or empty for the first that works.
        hours: How long it can be sent.
        elsewhere: Whether another wallet signs.
    """

    provider: str
    lock: str
    leaves: bool
    stays: bool
    by: str
    hours: int
    elsewhere: bool

    @property
    def kind(self) -> Kind:
        """What is wished.

        Raises:
            UserError: Nothing, or more than one thing.
        """
        kinds: tuple[tuple[bool, Kind], ...] = (
            (bool(self.lock), "lock"),
            (self.leaves, "leave"),
            (self.stays, "stay"),
        )
        asked = [kind for is_asked, kind in kinds if is_asked]
        if len(asked) != 1:
            raise UserError("say what is wished, one of --lock USD, --leave and --stay")
        return asked[0]


def sign_wish(
    home: Home, password_file: Path | None, wished: WishedFor, file: Path, *, as_json: bool
) -> int:
    """Writes a wish, signed or to be signed elsewhere."""
    provider, kind = provider_of(wished.provider), wished.kind
    amount = parse_usd(wished.lock) if wished.lock else 0
    if file.exists():
        raise UserError(f"{file} exists: name another file, nothing is overwritten")
    session = Session(home, password_file)
    password = password_for(home, password_file)

    async def work() -> int:
        async with session.buyer(network=False) as buyer:
            wish = await _wish(buyer, provider, kind, amount, wished)
            deployment = buyer.escrow.deployment
            token = await buyer.escrow.token_facts(buyer.payer)
            if wished.elsewhere:
                wish = for_elsewhere(wish, deployment, token)
            else:
                key = await load_key(home.wallet_key, password)
                wish = sign(wish, deployment, token, key)
            await buyer.remember(provider)
            _write_new(file, encode_wish(wish))
        document = _wish_document(wish, file)
        show(document, as_json=as_json, for_people=lambda s: _print_wish(s, document))
        return Exit.OK

    return run_async(work)


def send_wish(
    home: Home,
    password_file: Path | None,
    file: Path,
    signature: str,
    *,
    unlocks: bool,
    as_json: bool,
) -> int:
    """Sends a wish with this home's wallet, or what follows one to leave."""
    config = load_config(home.config)
    wish = read_wish(file)
    if unlocks and wish.kind != "leave":
        raise UserError(f"{file} is no wish to leave: there is nothing to unlock")
    if signature:
        wish = replace(wish, signature=_signature(signature))
    password = password_for(home, password_file)

    async def work() -> int:
        async with (
            open_escrow(config.chain) as escrow,
            open_purse(home, config.chain, password, escrow) as wallet,
        ):
            with patience():
                receipt = await (
                    wallet.unlock(wish.channel, intent=fresh_intent("unlock"))
                    if unlocks
                    else _sent(wish, escrow, wallet)
                )
            view = await escrow.channel(wish.channel.id, confirmations=0)
        document = SentDocument(
            kind=wish.kind,
            channel_id=f"0x{wish.channel.id.hex()}",
            payer=wish.payer,
            provider=wish.provider,
            locked=str(view.locked),
            unlock_at_s=view.unlock_at_s,
            transaction=transaction_of(receipt),
        )
        show(document, as_json=as_json, for_people=lambda s: _print_sent(s, document, unlocks))
        return Exit.OK

    return run_async(work)


async def _sent(wish: Wish, escrow: RpcEscrow, wallet: RpcWallet) -> TxReceipt:
    try:
        return await send(wish, escrow, wallet)
    except Reverted as error:
        if error.error:
            raise
        # So do wallets and tokens that know no such signature.
        raise UserError(
            f"{error}; most likely the signature is not that of {wish.payer} over exactly this"
        ) from error


async def _wish(buyer: Buyer, provider: bytes, kind: Kind, amount: int, wished: WishedFor) -> Wish:
    escrow, key = buyer.escrow, buyer.key_of(provider)
    # The chain's clock judges it.
    deadline_s = (await escrow.head()).timestamp_s + wished.hours * HOUR_S
    if kind == "lock":
        if amount:
            require_fundable(await buyer.channel(provider), amount, buyer)
            await require_tokens(buyer, amount)
        token = await escrow.token_facts(buyer.payer)
        by = Funding(wished.by) if wished.by else None
        return lock_wish(escrow.deployment, key, amount, token, deadline_s, by)
    view = await escrow.channel(key.id, confirmations=0)
    return unlock_wish(escrow.deployment, key, view, kind, deadline_s)


def _signature(text: str) -> str:
    try:
        return f"0x{bytes.fromhex(text.removeprefix('0x')).hex()}"
    except ValueError as error:
        raise UserError("the signature is not hexadecimal") from error


def _write_new(path: Path, raw: bytes) -> None:
    try:
        # For its owner alone: whoever has it can send it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _wish_document(wish: Wish, file: Path) -> WishDocument:
    return WishDocument(
        file=str(file),
        kind=wish.kind,
        channel_id=f"0x{wish.channel.id.hex()}",
        payer=wish.payer,
        provider=wish.provider,
        amount=wish.amount,
        by=wish.by if wish.kind == "lock" else None,
        deadline_s=wish.deadline_s,
        is_signed=wish.signature != "0x",
    )


_IN_WORDS = {"lock": "lock", "leave": "take the channel's rest", "stay": "keep the channel"}


def _print_wish(screen: Console, document: WishDocument) -> None:
    until = datetime.fromtimestamp(document.deadline_s).astimezone()
    facts(
        screen,
        [
            ("payer", document.payer),
            ("provider", document.provider),
            ("wishes to", _IN_WORDS[document.kind]
             + (f" {dollars(document.amount)}, by {document.by}" if document.by else "")),
            ("until", until.strftime("%Y-%m-%d %H:%M:%S %Z")),
        ],
    )  # fmt: skip
    if document.is_signed:
        screen.print(f"Signed in {document.file}. Whoever has that file can send it, and no more:")
        to_copy(screen, f"rowen channel send {shlex.quote(document.file)}")
    else:
        screen.print(f"Sign the typed_data in {document.file} with the payer's wallet, then:")
        to_copy(screen, f"rowen channel send {shlex.quote(document.file)} --signature 0x…")


def _print_sent(screen: Console, document: SentDocument, has_unlocked: bool) -> None:
    if document.kind == "lock":
        screen.print(f"Locked: the channel of {document.payer} holds {dollars(document.locked)}.")
    elif has_unlocked:
        screen.print(f"The rest went to {document.payer}.")
    elif document.kind == "leave" and not document.unlock_at_s:
        screen.print("This was sent before, and taken back or paid out since: sign a new one.")
    elif document.kind == "leave":
        when = datetime.fromtimestamp(document.unlock_at_s).astimezone()
        screen.print(f"Asked. The rest can be taken from {when:%Y-%m-%d %H:%M:%S %Z}.")
    else:
        screen.print("Taken back: the channel is open again.")
    transaction(screen, document.transaction)
