"""``rowen withdraw`` and ``rowen payout``: credit goes to the payout address, and which that is."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import typer
from rich.console import Console

from rowen.cli.asking_daemon import answered
from rowen.cli.exits import Exit
from rowen.cli.money_documents import PayoutDocument, WithdrawDocument
from rowen.cli.output import show
from rowen.cli.people import dollars, facts, to_copy, transaction
from rowen.cli.runner import run_async
from rowen.cli.settling import transaction_of
from rowen.config import Config, load_config
from rowen.home import Home
from rowen.protocol.ids import format_address, parse_address
from rowen.provider.reports import PayoutReport, WithdrawReport
from rowen_scheduler.claiming import Gas


def withdraw_credit(
    home: Home, password_file: Path | None, *, is_sure: bool, is_dry: bool, as_json: bool
) -> int:
    """Shows what would be sent, asks a person at a terminal, and sends it."""
    config = load_config(home.config)

    async def ask(*, is_wished: bool) -> WithdrawDocument:
        report = await answered(
            home, config, password_file, WithdrawReport, "withdraw",
            lambda till: till.withdraw(is_wished=is_wished), is_wished=is_wished,
        )  # fmt: skip
        return _withdraw_document(report, config)

    async def look() -> WithdrawDocument:
        return await ask(is_wished=is_sure and not is_dry)

    found: list[WithdrawDocument] = []

    async def work() -> int:
        found.append(await look())
        return Exit.OK

    code = run_async(work)
    if code:
        return code
    document = found[0]
    can_ask = not as_json and sys.stdin.isatty() and int(document.credit) and not is_dry
    if document.transaction is None and can_ask and not document.is_own_key:
        show(document, as_json=False, for_people=lambda s: _print_credit(s, document))
        if not typer.confirm("Send it?"):
            return Exit.OK

        async def send() -> int:
            sent = await ask(is_wished=True)
            show(sent, as_json=False, for_people=lambda s: _print_sent(s, sent))
            return Exit.OK

        return run_async(send)

    def print_all(screen: Console) -> None:
        if document.transaction is None:
            _print_credit(screen, document)
            _print_hint(screen, document)
        else:
            _print_sent(screen, document)

    show(document, as_json=as_json, for_people=print_all)
    return Exit.OK


def set_payout(
    home: Home, password_file: Path | None, address: str | None, *, as_json: bool
) -> int:
    """Shows the payout address, or asks for another."""
    config = load_config(home.config)
    wanted = format_address(parse_address(address)) if address else None

    async def work() -> int:
        report = await answered(
            home, config, password_file, PayoutReport, "payout",
            lambda till: till.payout(wanted), payout=wanted,
        )  # fmt: skip
        document = PayoutDocument(
            payout=report.payout,
            is_own_key=report.is_own_key,
            pending=report.pending or None,
            apply_at_s=report.apply_at_s,
            transaction=transaction_of(report.transaction) if report.transaction else None,
        )
        show(document, as_json=as_json, for_people=lambda screen: _print_payout(screen, document))
        return Exit.OK

    return run_async(work)


def _withdraw_document(report: WithdrawReport, config: Config) -> WithdrawDocument:
    coin_value = config.costs.coin_usd.units
    # Weighed as one unit of gas at the price of all of it.
    gas = Gas(price_wei=report.gas_wei, coin_value=coin_value).cost(1) if coin_value else None
    return WithdrawDocument(
        credit=str(report.credit),
        payout=report.payout,
        is_own_key=report.is_own_key,
        gas_wei=str(report.gas_wei),
        gas=None if gas is None else str(gas),
        transaction=transaction_of(report.transaction) if report.transaction else None,
    )


def _print_credit(screen: Console, document: WithdrawDocument) -> None:
    coins = f"{int(document.gas_wei) / 10**18:.9f} coin"
    gas = coins if document.gas is None else f"{coins}, {dollars(document.gas)}"
    facts(
        screen,
        [
            ("credit", dollars(document.credit)),
            ("goes to", document.payout),
            ("gas", f"about {gas}"),
        ],
    )


def _print_hint(screen: Console, document: WithdrawDocument) -> None:
    if not int(document.credit):
        screen.print("Nothing to withdraw: `rowen settle` puts vouchers on chain first.")
    elif document.is_own_key:
        screen.print("That is this node's own key. Set a cold address before you withdraw:")
        to_copy(screen, "rowen payout 0x…")
    else:
        screen.print("Nothing was sent. To send it:")
        to_copy(screen, "rowen withdraw --yes")


def _print_sent(screen: Console, document: WithdrawDocument) -> None:
    if document.transaction is None:
        screen.print("Nothing to withdraw.")
        return
    screen.print(f"Sent {dollars(document.credit)} to {document.payout}.")
    transaction(screen, document.transaction)


def _print_payout(screen: Console, document: PayoutDocument) -> None:
    if document.transaction is not None:
        transaction(screen, document.transaction)
    screen.print(f"Earnings go to {document.payout}.")
    if document.is_own_key:
        screen.print("That is this node's own key, which a thief of this machine would have.")
        to_copy(screen, "rowen payout 0x…")
    if document.pending:
        at = datetime.fromtimestamp(document.apply_at_s).astimezone()
        screen.print(
            f"{document.pending} takes over from {at:%Y-%m-%d %H:%M %Z} on, with the next "
            "withdrawal; until then the present address may refuse it."
        )
