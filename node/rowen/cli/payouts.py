"""Where earnings go: decided by whoever holds the payout address, not the operator key."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.console import Console

from rowen.chain.base import TxReceipt, fresh_intent
from rowen.chain.connect import open_escrow, open_wallet
from rowen.chain.keystore import key_address, load_key, sealing_key
from rowen.chain.transactions import Attempt, Outcome
from rowen.cli.acting import perform
from rowen.cli.exits import Exit
from rowen.cli.money_documents import PayoutDocument
from rowen.cli.output import show
from rowen.cli.people import facts, to_copy, transaction
from rowen.cli.runner import run_async
from rowen.cli.settling import transaction_of
from rowen.client.link import provider_of
from rowen.config import Config, load_config
from rowen.home import Home
from rowen.protocol.ids import format_address
from rowen.provider.questions import Acting, Action
from rowen.provider.reports import TransactionReport
from rowen.store.journal import open_journal


async def request_payout(
    home: Home, config: Config, password: str, payout: bytes, *, confirmations: int
) -> TxReceipt:
    """Asks the escrow to send this provider's earnings elsewhere; the first time at once.

    Args:
        home: Of the provider; no daemon may run there.
        config: Its settings.
        password: Of its keys.
        payout: 20 bytes.
        confirmations: To wait for.

    Raises:
        UserError: The contract refuses, there is too little gas money, or a daemon runs.
        Unavailable: The chain does not answer.
    """
    key = await load_key(home.operator_key, password)
    chain = replace(config.chain, confirmations=confirmations)
    async with (
        open_journal(home.seller_journal, sealing_key(key)) as journal,
        open_escrow(chain) as escrow,
    ):
        log = journal.transactions(chain.chain_id, Attempt, Outcome)
        wallet = await open_wallet(escrow, key, log, chain)
        return await wallet.request_payout(payout, intent=fresh_intent("payout"))


def decide_payout(
    home: Home, password_file: Path | None, provider: str, action: Action | None, *, as_json: bool
) -> int:
    """Shows a provider's payout address, after refusing or applying the one that waits.

    Args:
        home: Whose wallet decides: the address in force may refuse, anybody may apply.
        password_file: Of its keys.
        provider: Whose address; empty for this home's own.
        action: ``payout-veto``, ``payout-apply``, or None to look only.
        as_json: Whether to print a document.
    """
    config = load_config(home.config)

    async def work() -> int:
        address = await provider_or_own(home, provider)
        done: TransactionReport | None = None
        if action is not None:
            asked = Acting(action=action, provider=format_address(address))
            done = await perform(home, config, password_file, "wallet", asked)
        async with open_escrow(config.chain) as escrow:
            pending, apply_at_s = await escrow.pending_payout(address)
            payout = await escrow.payout(address)
        document = PayoutDocument(
            payout=format_address(payout),
            is_own_key=payout == address,
            pending=format_address(pending) if apply_at_s else None,
            apply_at_s=apply_at_s,
            transaction=None if done is None else transaction_of(done),
        )
        show(document, as_json=as_json, for_people=lambda s: _print_payout(s, address, document))
        return Exit.OK

    return run_async(work)


async def provider_or_own(home: Home, provider: str) -> bytes:
    """The provider that was named, or the one of this home, 20 bytes."""
    return provider_of(provider) if provider else await key_address(home.operator_key)


def _print_payout(screen: Console, provider: bytes, document: PayoutDocument) -> None:
    shown = format_address(provider)
    pairs = [("provider", shown), ("earnings go to", document.payout)]
    if document.pending is not None:
        when = datetime.fromtimestamp(document.apply_at_s).astimezone()
        pairs += [
            ("asked for", document.pending),
            ("in force from", when.strftime("%Y-%m-%d %H:%M:%S %Z")),
        ]
    facts(screen, pairs)
    if document.pending is not None:
        screen.print("Until it is in force, the wallet of the present address can refuse it:")
        to_copy(screen, f"rowen payout --veto --of {shown}")
    if document.transaction is not None:
        transaction(screen, document.transaction)
