"""Puts the contracts on a chain, at the addresses that their code and constants give."""

from __future__ import annotations

import msgspec

from rowen.chain.base import TxReceipt
from rowen.chain.calls import token as token_calls
from rowen.chain.deployments import (
    CREATE2_FACTORY,
    SALT,
    DeploymentRecord,
    escrow_code,
    stake_code,
)
from rowen.chain.rpc import Rpc, RpcError, from_hex, quantity, to_hex
from rowen.chain.sender import Sender
from rowen.protocol.amounts import TOKEN_DECIMALS
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.ids import format_address, parse_address


async def deploy(
    rpc: Rpc, sender: Sender, planned: DeploymentRecord
) -> tuple[DeploymentRecord, list[TxReceipt]]:
    """Deploys what is not there yet; run again, it finds what is, and sends nothing.

    Args:
        rpc: The endpoint to read from.
        sender: Pays.
        planned: See ``deployments.plan``.

    Returns:
        The record with its block, and the transactions, if any were needed.

    Raises:
        UserError: The chain has no CREATE2 deployer, no such token or one that counts
            otherwise, or the sender has too little gas.
        Unavailable: The chain does not answer.
    """
    if not await code_at(rpc, CREATE2_FACTORY):
        raise UserError(
            f"chain {planned.chain_id} has no CREATE2 deployer at"
            f" {format_address(CREATE2_FACTORY)}: deploy that first, see"
            " https://github.com/Arachnid/deterministic-deployment-proxy"
        )
    token = parse_address(planned.token)
    await _require_token(rpc, token, planned.chain_id)
    deployment, bonds = planned.deployment, planned.stake_deployment
    codes = {
        deployment.domain.escrow: escrow_code(
            token, deployment.unlock_delay_s, deployment.payout_delay_s, deployment.min_lock
        ),
        bonds.address: stake_code(deployment.domain.escrow, bonds.unbond_delay_s, bonds.penalty),
    }
    receipts = []
    for address, code in codes.items():
        if await code_at(rpc, address):
            continue
        # Named after the address, so that a second try finds the transaction of the first.
        intent = f"deploy-{address.hex()}"
        mined = await sender.submit("deploy", intent, CREATE2_FACTORY, SALT + code)
        receipts.append(mined.receipt)
        if not await code_at(rpc, address):
            raise Unavailable(f"{format_address(address)} has no code after its deployment")
    block = await first_block(rpc, deployment.domain.escrow)
    return msgspec.structs.replace(planned, block=block), receipts


async def _require_token(rpc: Rpc, token: bytes, chain_id: int) -> None:
    """Contracts over what is no token, or over other units, could never be mended."""
    where = f"{format_address(token)} on chain {chain_id}"
    if not await code_at(rpc, token):
        raise UserError(f"there is no token at {where}: name the ERC-20's own address")
    answers = []
    for call in (token_calls.decimals(), token_calls.balance_of(token)):
        fields = {"to": to_hex(token), "data": to_hex(call.data)}
        try:
            answers.append(call.read(from_hex(await rpc.call("eth_call", fields, "latest"))))
        except RpcError as error:
            if not error.data and "revert" not in error.reason:
                raise
            raise UserError(f"what stands at {where} is no ERC-20 token") from error
        except ValueError as error:
            raise UserError(f"what stands at {where} is no ERC-20 token") from error
    if answers[0] != TOKEN_DECIMALS:
        raise UserError(
            f"the token at {where} has {answers[0]} decimals: Rowen counts in millionths of a"
            f" dollar, so it needs a dollar with {TOKEN_DECIMALS}"
        )


async def code_at(rpc: Rpc, address: bytes, height: int | None = None) -> bytes:
    """The code at an address; b"" when there is none."""
    tag = "latest" if height is None else hex(height)
    answer = await rpc.call("eth_getCode", to_hex(address), tag)
    with rpc.reading("eth_getCode"):
        return from_hex(answer)


async def first_block(rpc: Rpc, address: bytes) -> int:
    """Height at which a contract first had code, by halves.

    Raises:
        Unavailable: The endpoint does not answer, or keeps no state that old.
    """
    answer = await rpc.call("eth_blockNumber")
    with rpc.reading("eth_blockNumber"):
        low, high = 0, quantity(answer)
    try:
        while low < high:
            middle = (low + high) // 2
            if await code_at(rpc, address, middle):
                high = middle
            else:
                low = middle + 1
    except RpcError as error:
        raise Unavailable(
            f"{rpc.endpoint} does not tell when {format_address(address)} was deployed: ask one"
            f" that keeps old state ({error.reason})"
        ) from error
    return high
