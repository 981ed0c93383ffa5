"""Where earnings go: sets a provider's payout address, which should be a cold one."""

from __future__ import annotations

from dataclasses import replace

from rowen.chain.base import TxReceipt, fresh_intent
from rowen.chain.connect import open_escrow, open_wallet
from rowen.chain.keystore import load_key, sealing_key
from rowen.chain.transactions import Attempt, Outcome
from rowen.config import Config
from rowen.home import Home
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
