"""Whether another program uses our key: seen by nonces that our journal did not give out.

A nonce is used once, and each of ours is in the journal before it is sent. So one that the
chain has used and the journal does not know was somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rowen.chain.escrow import RpcEscrow
from rowen.chain.rpc import quantity, to_hex
from rowen.chain.transactions import Attempt, Outcome


@dataclass(frozen=True, slots=True)
class Siblings:
    """What there is to compare.

    Attributes:
        ours: Every attempt in the journal.
        next_nonce: How many transactions of the key the chain has.
    """

    ours: Sequence[Attempt]
    next_nonce: int


def judge(seen: Siblings) -> str:
    """What shows that somebody else has the key; empty when nothing does.

    A key that was used before this journal began is no sign: it may have been taken in.
    """
    if any(attempt.outcome is Outcome.DISPLACED for attempt in seen.ours):
        return "a transaction of another program took the place of one of ours"
    nonces = {attempt.nonce for attempt in seen.ours}
    if not nonces:
        return ""
    strange = sorted(set(range(min(nonces), seen.next_nonce)) - nonces)
    if strange:
        return (
            f"the chain has its transaction number {strange[0]}, which this node did not send "
            f"({len(strange)} of {seen.next_nonce - min(nonces)} since its first)"
        )
    return ""


async def next_nonce(escrow: RpcEscrow, address: bytes) -> int:
    """Transactions of an address that are in blocks.

    Raises:
        Unavailable: The chain does not answer.
    """
    rpc = escrow.endpoints[0]
    answer = await rpc.call("eth_getTransactionCount", to_hex(address), "latest")
    with rpc.reading("eth_getTransactionCount"):
        return quantity(answer)
