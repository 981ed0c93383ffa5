"""Connects to the chain that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from rowen.chain.escrow import RpcEscrow
from rowen.chain.rpc import Rpc
from rowen.chain.sender import Sender
from rowen.chain.stake import RpcStake
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
    async with open_endpoints(config) as endpoints:
        yield await RpcEscrow.connect(
            endpoints, chain_id=config.chain_id, escrow=parse_address(config.escrow)
        )


@asynccontextmanager
async def open_endpoints(config: ChainConfig) -> AsyncIterator[list[Rpc]]:
    """The configured endpoints, not asked anything yet; for what needs no escrow.

    Raises:
        UserError: One of them is no URL.
    """
    endpoints = [Rpc(url) for url in config.rpc]
    try:
        yield endpoints
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
    wallet = RpcWallet(escrow, key, log, confirmations=config.confirmations, policy=_policy(config))
    await wallet.recover()
    return wallet


async def open_sender(rpc: Rpc, key: Key, log: TransactionLog, config: ChainConfig) -> Sender:
    """What a key sends transactions with where there is no escrow yet.

    Raises:
        UserError: The endpoint is on another chain.
        Unavailable: The chain or the log does not answer.
    """
    await RpcEscrow.require_chain([rpc], config.chain_id)
    sender = Sender(
        rpc,
        config.chain_id,
        key,
        log,
        confirmations=config.confirmations,
        policy=_policy(config),
    )
    await sender.recover()
    return sender


async def open_stake(escrow: RpcEscrow, config: ChainConfig) -> RpcStake:
    """The configured stake, checked: our contract, and this escrow's.

    Raises:
        UserError: No stake set, or it is something else.
        Unavailable: An endpoint does not answer, or they disagree.
    """
    if not config.stake:
        raise UserError(
            "no stake contract is set: put its address into [chain] stake, or set"
            " ROWEN_CHAIN_STAKE; `rowen devnet` prints one"
        )
    return await RpcStake.connect(escrow, parse_address(config.stake))


def _policy(config: ChainConfig) -> FeePolicy:
    return FeePolicy(fee_max_wei=config.fee_max_gwei * GWEI, poll_s=POLL_S)
