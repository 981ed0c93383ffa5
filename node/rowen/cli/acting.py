"""One transaction with one of this home's keys: by the daemon that holds the key, or here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio

from rowen.chain.base import TxReceipt, fresh_intent
from rowen.chain.connect import open_escrow, open_stake, open_wallet
from rowen.chain.escrow import RpcEscrow
from rowen.chain.keystore import load_key, sealing_key
from rowen.chain.transactions import Attempt, Outcome
from rowen.chain.wallet import RpcWallet
from rowen.cli.passwords import password_for
from rowen.config import ChainConfig, Config
from rowen.home import Home
from rowen.protocol.errors import Unavailable
from rowen.protocol.ids import parse_address
from rowen.provider.asking import ask_as
from rowen.provider.payouts import report_transaction
from rowen.provider.questions import Acting
from rowen.provider.reports import TransactionReport
from rowen.provider.till import open_till
from rowen.store.journal import open_journal

KeyName = Literal["operator", "wallet"]

TRANSACTION_S: Final = 240.0
"""Shorter than the wait for a daemon's answer."""


async def perform(
    home: Home,
    config: Config,
    password_file: Path | None,
    key: KeyName,
    asked: Acting,
) -> TransactionReport:
    """Sends one transaction with a key of the home.

    Raises:
        UserError: The contract refuses, too little gas money or tokens, no such key.
        Unavailable: The chain does not answer in time; what was sent stays pending.
    """
    if key == "operator":
        report = await ask_as(home, TransactionReport, "act", **msgspec.structs.asdict(asked))
        if report is not None:
            return report
        async with open_till(home, config, password_for(home, password_file)) as till:
            receipt = await act(till.wallet, till.escrow, config.chain, asked)
    else:
        password = password_for(home, password_file)
        async with (
            open_escrow(config.chain) as escrow,
            open_purse(home, config.chain, password, escrow) as wallet,
        ):
            receipt = await act(wallet, escrow, config.chain, asked)
    return report_transaction(receipt)


@asynccontextmanager
async def open_purse(
    home: Home, chain: ChainConfig, password: str, escrow: RpcEscrow
) -> AsyncIterator[RpcWallet]:
    """The home's wallet key, with its transactions in the buyer's journal.

    Raises:
        UserError: No such key, a wrong password, or another process holds the journal.
        Unavailable: Disk or chain does not answer.
    """
    key = await load_key(home.wallet_key, password)
    session = await load_key(home.session_key, password)
    async with open_journal(home.buyer_journal, sealing_key(session)) as journal:
        log = journal.transactions(chain.chain_id, Attempt, Outcome)
        yield await open_wallet(escrow, key, log, chain)


async def act_for(
    wallet: RpcWallet, escrow: RpcEscrow, chain: ChainConfig, asked: Acting
) -> msgspec.Struct:
    """``act``, as a daemon answers it."""
    return report_transaction(await act(wallet, escrow, chain, asked))


async def act(wallet: RpcWallet, escrow: RpcEscrow, chain: ChainConfig, asked: Acting) -> TxReceipt:
    """One transaction.

    Args:
        wallet: Of the key that sends it.
        escrow: The contracts.
        chain: Where the stake is.
        asked: What to do.
    """
    action = asked.action
    intent = fresh_intent(action)
    provider = parse_address(asked.provider)
    if action == "payout-apply":
        with patience():
            return await wallet.apply_payout(provider, intent=intent)
    if action == "payout-veto":
        with patience():
            return await wallet.veto_payout(provider, intent=intent)
    staker = wallet.on_stake(await open_stake(escrow, chain))
    with patience():
        if action == "stake-bond":
            return await staker.bond(provider, int(asked.amount), intent=intent)
        if action == "stake-unbond":
            return await staker.request_unbond(provider, int(asked.amount), intent=intent)
        if action == "stake-cancel":
            return await staker.cancel_unbond(provider, intent=intent)
        assert action == "stake-withdraw"
        return await staker.withdraw(provider, intent=intent)


@contextmanager
def patience() -> Iterator[None]:
    """Turns a transaction that is not mined in time into ``Unavailable``."""
    try:
        with trio.fail_after(TRANSACTION_S):
            yield
    except trio.TooSlowError as error:
        raise Unavailable(
            f"the transaction was sent but is not mined after {TRANSACTION_S:g} s; it may still"
            " be: look before sending another"
        ) from error
