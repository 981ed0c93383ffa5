"""``rowen channel``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from rich.console import Console

from rowen.chain.authorizations import Funding
from rowen.chain.refusals import Reverted, TooLittleGas
from rowen.cli.buyers import Session, transaction_of
from rowen.cli.buying_documents import (
    BoughtChannel,
    ChannelClosedDocument,
    ChannelOpenedDocument,
    ChannelsDocument,
    OpenedChannel,
)
from rowen.cli.exits import Exit
from rowen.cli.output import show
from rowen.cli.people import dollars, harmless, short, table, to_copy, transaction
from rowen.cli.runner import run_async
from rowen.client.buyer import Buyer, ChannelReport
from rowen.client.link import provider_of
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.ids import format_address


def open_channels(
    home: Home,
    password_file: Path | None,
    providers: Sequence[str],
    usd: str,
    by: str,
    *,
    as_json: bool,
) -> int:
    """Locks as much money for each provider, all in one transaction."""
    addresses, amount = [provider_of(text) for text in providers], parse_usd(usd)
    if amount == 0:
        raise UserError("a channel needs more than $0")
    if len(set(addresses)) < len(addresses):
        raise UserError("a provider is named twice")
    if by and len(addresses) > 1:
        raise UserError("many channels are funded out of an allowance: leave --by away")
    session = Session(home, password_file)

    async def work() -> int:
        async with session.buyer(network=False) as buyer:
            for address in addresses:
                report = await buyer.channel(address)
                require_fundable(report, amount, buyer)
                _require_open(report)
            await require_tokens(buyer, amount * len(addresses))
            with _gas_or(f"--lock {usd}", addresses):
                if len(addresses) == 1:
                    way = Funding(by) if by else None
                    receipt = await buyer.open_channel(addresses[0], amount, way)
                else:
                    receipt = await buyer.open_channels(addresses, amount)
            reports = [await buyer.channel(address) for address in addresses]
        document = ChannelOpenedDocument(
            payer=reports[0].payer,
            amount=str(amount),
            channels=[
                OpenedChannel(channel_id=r.channel_id, provider=r.provider, locked=str(r.locked))
                for r in reports
            ],
            transaction=transaction_of(receipt),
        )
        show(document, as_json=as_json, for_people=lambda screen: _print_opened(screen, document))
        return Exit.OK

    return run_async(work)


def _print_opened(screen: Console, document: ChannelOpenedDocument) -> None:
    for channel in document.channels:
        screen.print(
            f"Locked {dollars(document.amount)} for {channel.provider}; "
            f"the channel now holds {dollars(channel.locked)}."
        )
    transaction(screen, document.transaction)


def list_channels(home: Home, password_file: Path | None, *, as_json: bool) -> int:
    """Prints the channels."""
    session = Session(home, password_file)

    async def work() -> int:
        async with session.buyer(network=False) as buyer:
            document = ChannelsDocument(channels=[_entry(r) for r in await buyer.channels()])
        show(document, as_json=as_json, for_people=lambda screen: _print_list(screen, document))
        return Exit.OK

    return run_async(work)


def close_channel(
    home: Home,
    password_file: Path | None,
    provider: str,
    *,
    takes: bool,
    cancels: bool,
    as_json: bool,
) -> int:
    """Asks for the rest of a channel, takes it, or takes the request back."""
    if takes and cancels:
        raise UserError("--unlock takes the rest and --cancel keeps it: choose one")
    address = provider_of(provider)
    session = Session(home, password_file)

    async def work() -> int:
        async with session.buyer(network=False) as buyer:
            before = await buyer.channel(address)
            if before.locked == 0:
                raise UserError(f"there is no channel with {format_address(address)} to close")
            step = _take if takes else _cancel if cancels else _request
            document = await step(buyer, address, before)
        show(document, as_json=as_json, for_people=lambda screen: _print_closed(screen, document))
        return Exit.OK

    return run_async(work)


def require_fundable(report: ChannelReport, amount: int, buyer: Buyer) -> None:
    """What no signature and no waiting can change.

    Raises:
        UserError: Nobody could spend what is locked there, or it is too little to begin with.
    """
    if report.stopped:
        raise UserError(
            f"the channel with {report.provider} is at an end ({harmless(report.stopped)}), and "
            "no job could spend what is locked in it: take its rest with `rowen channel close "
            f"{report.provider}`, and buy from somebody else"
        )
    least = buyer.escrow.deployment.min_lock
    if not report.locked and amount < least:
        raise UserError(f"a channel is opened with {dollars(least)} or more, not {dollars(amount)}")


def _require_open(report: ChannelReport) -> None:
    close = f"`rowen channel close {report.provider}"
    if report.unlock_at_s:
        raise UserError(
            f"the channel with {report.provider} is being closed: keep it with {close} --cancel`, "
            f"or take its rest with {close} --unlock` from {_when(report.unlock_at_s)} on; then "
            "lock more"
        )


@contextmanager
def _gas_or(wish: str, providers: Sequence[bytes]) -> Iterator[None]:
    """Names the other way, which needs no gas, when there is too little of it."""
    try:
        yield
    except TooLittleGas as error:
        named = format_address(providers[0]) if len(providers) == 1 else "PROVIDER"
        raise UserError(
            f"{error}; or sign `rowen channel sign {named} FILE {wish}`, and have somebody else "
            "send that and pay the gas"
        ) from error


async def require_tokens(buyer: Buyer, amount: int) -> None:
    """Before anything is signed.

    Raises:
        UserError: The payer has less.
    """
    held = await buyer.escrow.token_balance(buyer.payer)
    if held < amount:
        raise UserError(
            f"the wallet {format_address(buyer.payer)} holds {dollars(held)} of the escrow's "
            f"token, {dollars(amount - held)} too little: send it some, or on a devnet run "
            f"`rowen devnet fund {format_address(buyer.payer)}`"
        )


async def _request(buyer: Buyer, provider: bytes, before: ChannelReport) -> ChannelClosedDocument:
    if before.unlock_at_s:
        raise UserError(
            f"this channel's rest was asked for already and can be taken from "
            f"{_when(before.unlock_at_s)}: run the command again then, with --unlock"
        )
    with _gas_or("--leave", [provider]):
        receipt = await buyer.request_unlock(provider)
    after = await buyer.channel(provider)
    return ChannelClosedDocument(
        channel_id=after.channel_id,
        provider=after.provider,
        step="requested",
        unlock_at_s=after.unlock_at_s,
        refunded="0",
        transaction=transaction_of(receipt),
    )


async def _cancel(buyer: Buyer, provider: bytes, before: ChannelReport) -> ChannelClosedDocument:
    if not before.unlock_at_s:
        raise UserError("this channel's rest was not asked for: there is nothing to take back")
    with _gas_or("--stay", [provider]):
        receipt = await buyer.cancel_unlock(provider)
    return ChannelClosedDocument(
        channel_id=before.channel_id,
        provider=before.provider,
        step="cancelled",
        unlock_at_s=0,
        refunded="0",
        transaction=transaction_of(receipt),
    )


async def _take(buyer: Buyer, provider: bytes, before: ChannelReport) -> ChannelClosedDocument:
    if not before.unlock_at_s:
        raise UserError("this channel's rest was not asked for: run the command without --unlock")
    try:
        receipt = await buyer.unlock(provider)
    except Reverted as error:
        if error.error != "UnlockTooEarly":
            raise
        raise UserError(
            f"the rest can be taken from {_when(before.unlock_at_s)}: run the command again then"
        ) from error
    after = await buyer.channel(provider)
    return ChannelClosedDocument(
        channel_id=after.channel_id,
        provider=after.provider,
        step="unlocked",
        unlock_at_s=before.unlock_at_s,
        refunded=str(before.locked - after.locked),
        transaction=transaction_of(receipt),
    )


def _entry(report: ChannelReport) -> BoughtChannel:
    fields = msgspec.structs.asdict(report)
    for name in ("locked", "claimed", "owed", "free"):
        fields[name] = str(fields[name])
    return BoughtChannel(**fields)


def _print_list(screen: Console, document: ChannelsDocument) -> None:
    if not document.channels:
        screen.print("No channels yet: `rowen channel open PROVIDER USD` makes one.")
        return
    rows = [
        (
            short(c.provider),
            dollars(c.locked),
            dollars(c.owed),
            dollars(c.claimed),
            dollars(c.free),
            str(c.receipts),
            _state(c),
        )
        for c in document.channels
    ]
    header = ("provider", "locked", "owed", "claimed", "free", "receipts", "")
    screen.print(table(header, rows, right="lrrrrr"))


def _state(channel: BoughtChannel) -> str:
    if channel.stopped:
        return harmless(f"stopped: {channel.stopped}")
    return f"closing, from {_when(channel.unlock_at_s)}" if channel.unlock_at_s else "open"


def _print_closed(screen: Console, document: ChannelClosedDocument) -> None:
    if document.step == "requested":
        screen.print(f"Asked. What is left can be taken from {_when(document.unlock_at_s)}:")
        to_copy(screen, f"rowen channel close {document.provider} --unlock")
    elif document.step == "cancelled":
        screen.print("Taken back: the channel is open again.")
    else:
        screen.print(f"Took {dollars(document.refunded)} back from {document.provider}.")
    transaction(screen, document.transaction)


def _when(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
