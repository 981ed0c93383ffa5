"""Connects to the chain that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from rowen.chain.escrow import RpcEscrow
from rowen.chain.rpc import Rpc
from rowen.chain.transactions import GWEI, FeePolicy, TransactionLog
from rowen.chain.wallet import RpcWallet
from rowen.config import ChainConfig
from rowen.protocol.errors import UserError
from rowen.protocol.ids import parse_address
from rowen.protocol.signing import Key

CLOSE_S = 5.0
POLL_S = 0.5


@asynccontextmanager
async def open_escrow(config: ChainConfig) -> AsyncIterator[RpcEscrow]:
    """The configured escrow, checked: right chain, our contract.

    Raises:
        UserError: No escrow set, another chain, or not our contract.
        Unavailable: An endpoint does not answer, or they disagree.
    """
    if not config.escrow:
        raise UserError(
            "no escrow contract is set: put its address into [chain] escrow, or set "
            "ROWEN_CHAIN_ESCROW; `rowen devnet` prints one"
        )
    endpoints = [Rpc(url) for url in config.rpc]
    try:
        yield await RpcEscrow.connect(
            endpoints, chain_id=config.chain_id, escrow=parse_address(config.escrow)
        )
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
            for endpoint in endpoints:
                await endpoint.aclose()


async def open_wallet(
    escrow: RpcEscrow, key: Key, log: TransactionLog, config: ChainConfig
) -> RpcWallet:
    """A key's hand on the escrow, with what a former life left unsettled sent again.

    Raises:
        Unavailable: The chain or the log does not answer.
    """
    wallet = RpcWallet(
        escrow,
        key,
        log,
        confirmations=config.confirmations,
        policy=FeePolicy(fee_max_wei=config.fee_max_gwei * GWEI, poll_s=POLL_S),
    )
    await wallet.recover()
    return wallet
