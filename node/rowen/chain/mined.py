"""What the chain says of transactions that were sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rowen.chain.base import BlockRef, TxReceipt
from rowen.chain.contract import decode_revert, decode_stake_event
from rowen.chain.escrow import read_block, read_log
from rowen.chain.events import Event
from rowen.chain.refusals import Reverted
from rowen.chain.rpc import Rpc, RpcError, from_hex, quantity, to_hex
from rowen.chain.transactions import Attempt, Transaction


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that succeeded, with the events of the contract that was called."""

    receipt: TxReceipt
    events: list[Event]


async def find_mined(rpc: Rpc, attempts: Sequence[Attempt]) -> tuple[Any, BlockRef] | None:
    """The receipt of the attempt that was mined, and its block, if that is canonical."""
    receipts = await rpc.batch(
        [("eth_getTransactionReceipt", (to_hex(attempt.hash),)) for attempt in attempts]
    )
    for receipt in receipts:
        if receipt is not None:
            with rpc.reading("eth_getTransactionReceipt"):
                height, block_hash = receipt["blockNumber"], receipt["blockHash"]
            answer = await rpc.call("eth_getBlockByNumber", height, False)
            with rpc.reading("eth_getBlockByNumber"):
                if answer is not None and answer["hash"] == block_hash:
                    return receipt, read_block(answer)
    return None


def read_mined(receipt: Any, block: BlockRef) -> Mined:
    """A receipt as JSON-RPC gives it.

    Raises:
        ValueError, TypeError, KeyError: It is none.
    """
    gas_used = quantity(receipt["gasUsed"])
    events = [
        read_log(entry) or read_log(entry, decode_stake_event)
        for entry in receipt["logs"]
        if entry["address"] == receipt["to"]
    ]
    return Mined(
        TxReceipt(
            hash=from_hex(receipt["transactionHash"], 32),
            block=block,
            gas_used=gas_used,
            fee_wei=gas_used * quantity(receipt["effectiveGasPrice"]),
        ),
        [event for event in events if event is not None],
    )


async def why_reverted(rpc: Rpc, call: str, attempt: Attempt, block: BlockRef) -> Reverted:
    """Runs the call again on the state below its block, which is nearly what it met."""
    tx = Transaction.read(attempt.raw)
    fields = {"from": to_hex(attempt.sender), "to": to_hex(tx.to), "data": to_hex(tx.data)}
    try:
        await rpc.call("eth_call", fields, hex(block.number - 1))
    except RpcError as error:
        return decode_revert(call, error.data)
    return Reverted(call, "")
