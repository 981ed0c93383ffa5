"""What our own transactions cost, as the chain tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rowen.chain.base import Spent
from rowen.chain.rpc import Rpc, quantity, to_hex
from rowen.chain.transactions import Attempt


async def read_spent(rpc: Rpc, attempts: Sequence[Attempt]) -> list[Spent]:
    """The cost of each attempt that was mined; of the attempts of one nonce, that is one at most.

    Args:
        rpc: The endpoint to ask.
        attempts: Settled ones.

    Raises:
        Unavailable: The endpoint does not answer, or not with sense.
    """
    answers = await rpc.batch(
        [("eth_getTransactionReceipt", (to_hex(attempt.hash),)) for attempt in attempts]
    )
    mined = [(a, receipt) for a, receipt in zip(attempts, answers, strict=True) if receipt]
    with rpc.reading("eth_getTransactionReceipt"):
        heights = sorted({receipt["blockNumber"] for _, receipt in mined})
    blocks = await rpc.batch([("eth_getBlockByNumber", (height, False)) for height in heights])
    with rpc.reading("eth_getBlockByNumber"):
        height_to_time_s = {
            height: quantity(block["timestamp"])
            for height, block in zip(heights, blocks, strict=True)
        }
        return [
            Spent(
                kind=attempt.intent.partition("-")[0],
                hash=attempt.hash,
                time_s=height_to_time_s[receipt["blockNumber"]],
                fee_wei=_fee_wei(receipt),
                has_succeeded=quantity(receipt["status"]) == 1,
            )
            for attempt, receipt in mined
        ]


def _fee_wei(receipt: Any) -> int:
    fee_wei = quantity(receipt["gasUsed"]) * quantity(receipt["effectiveGasPrice"])
    # OP Stack rollups charge for the space on L1 beside the gas.
    # https://docs.optimism.io/stack/transactions/fees#l1-data-fee
    l1_fee = receipt.get("l1Fee")
    return fee_wei + (quantity(l1_fee) if l1_fee is not None else 0)
