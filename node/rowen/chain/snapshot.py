"""Takes a ``ChainSnapshot`` from a node. What it returns has passed ``verify``."""

from __future__ import annotations

from typing import Any, Final

from rowen.chain.contract import encode_words, topic_of
from rowen.chain.escrow import RpcEscrow, read_log
from rowen.chain.events import (
    Claimed,
    Event,
    Locked,
    Released,
    UnlockCancelled,
    Unlocked,
    UnlockRequested,
)
from rowen.chain.merkle_patricia import encode_list
from rowen.chain.proofs import ChainSnapshot, RawLog, SlotProof, slot_of, verify
from rowen.chain.rpc import Rpc, from_hex, quantity, to_hex
from rowen.protocol.errors import PeerError, Unavailable
from rowen.protocol.ids import keccak

LOG_BLOCKS_MAX: Final = 10_000
"""Blocks in one question for logs; public endpoints refuse more."""

SLOTS_MAX: Final = 100
"""Slots in one question for proofs."""

# Header fields in RLP order, https://eips.ethereum.org/EIPS/eip-7685 being the last to add
# one. A field that a chain has not yet is missing from the end.
_HEADER_FIELDS: Final = (
    ("parentHash", bytes), ("sha3Uncles", bytes), ("miner", bytes), ("stateRoot", bytes),
    ("transactionsRoot", bytes), ("receiptsRoot", bytes), ("logsBloom", bytes),
    ("difficulty", int), ("number", int), ("gasLimit", int), ("gasUsed", int),
    ("timestamp", int), ("extraData", bytes), ("mixHash", bytes), ("nonce", bytes),
    ("baseFeePerGas", int), ("withdrawalsRoot", bytes), ("blobGasUsed", int),
    ("excessBlobGas", int), ("parentBeaconBlockRoot", bytes), ("requestsHash", bytes),
)  # fmt: skip


async def take_snapshot(
    escrow: RpcEscrow, provider: bytes, *, confirmations: int, first_block: int = 0
) -> ChainSnapshot:
    """Evidence about a provider as of that many confirmations, from the first endpoint.

    Args:
        escrow: The contracts.
        provider: Operator address, 20 bytes.
        confirmations: Blocks on top of the snapshot's.
        first_block: One below the provider's first event, such as the escrow's deployment.

    Raises:
        Unavailable: The endpoint does not answer, keeps no state that old, or what it says
            does not prove.
    """
    rpc, address = escrow.endpoints[0], to_hex(escrow.deployment.domain.escrow)
    height = (await escrow.head()).number - confirmations
    if height < 0:
        raise Unavailable(f"the chain has no block with {confirmations} confirmations yet")
    answer = await rpc.call("eth_getBlockByNumber", hex(height), False)
    with rpc.reading("eth_getBlockByNumber"):
        header = encode_header(answer)
        if keccak(header) != from_hex(answer["hash"]):
            raise ValueError("the header's fields do not hash to the block's hash")
    code = await rpc.call("eth_getCode", address, hex(height))
    logs, ids = await _logs(rpc, address, provider, first_block, height)
    slots = [slot_of("_credits", provider), slot_of("accumulatorOf", provider)]
    slots += [slot_of("channels", channel_id) for channel_id in ids]
    account_proof, slot_proofs = await _proofs(rpc, address, slots, height)
    with rpc.reading("eth_getCode"):
        snapshot = ChainSnapshot(
            chain_id=escrow.deployment.domain.chain_id,
            escrow=escrow.deployment.domain.escrow,
            provider=provider,
            header=header,
            code=from_hex(code),
            account_proof=account_proof,
            slots=slot_proofs,
            logs=logs,
        )
    try:
        verify(snapshot)
    except PeerError as error:
        raise Unavailable(
            f"{rpc.endpoint} gives a snapshot that does not prove: {error}"
        ) from error
    return snapshot


def encode_header(block: Any) -> bytes:
    """A block header as RLP, from JSON-RPC's block.

    Raises:
        ValueError, TypeError, KeyError: It is no block.
    """
    return encode_list(
        [
            from_hex(block[name]) if kind is bytes else quantity(block[name])
            for name, kind in _HEADER_FIELDS
            if name in block
        ]
    )


async def _logs(
    rpc: Rpc, address: str, provider: bytes, first: int, last: int
) -> tuple[tuple[RawLog, ...], list[bytes]]:
    """The provider's logs, and the ids of its channels."""
    who = to_hex(encode_words(provider))
    filters = (
        [[to_hex(topic_of(Locked))], None, who],
        [[to_hex(topic_of(Claimed))], who],
        # These name a channel only.
        [[to_hex(topic_of(k)) for k in (Unlocked, Released, UnlockRequested, UnlockCancelled)]],
    )
    ranges = range(first, last + 1, LOG_BLOCKS_MAX)
    calls: list[tuple[str, tuple[object, ...]]] = [
        (
            "eth_getLogs",
            (
                {
                    "address": address,
                    "topics": topics,
                    "fromBlock": hex(start),
                    "toBlock": hex(min(start + LOG_BLOCKS_MAX - 1, last)),
                },
            ),
        )
        for start in ranges
        for topics in filters
    ]
    answers = await rpc.batch(calls)
    with rpc.reading("eth_getLogs"):
        pairs: list[tuple[Event, Any]] = []
        for entry in (entry for answer in answers for entry in answer):
            event = read_log(entry)
            if event is not None:
                pairs.append((event, entry))
        ids = {e.channel_id: None for e, _ in pairs if isinstance(e, Locked | Claimed)}
        ours = [pair for pair in pairs if getattr(pair[0], "channel_id", None) in {None, *ids}]
        ours.sort(key=lambda pair: (pair[0].block, pair[0].index))
        logs = tuple(
            RawLog(
                block=event.block,
                index=event.index,
                tx_hash=event.tx_hash,
                topics=tuple(from_hex(topic, 32) for topic in entry["topics"]),
                data=from_hex(entry["data"]),
            )
            for event, entry in ours
        )
    return logs, list(ids)


async def _proofs(
    rpc: Rpc, address: str, slots: list[bytes], height: int
) -> tuple[tuple[bytes, ...], tuple[SlotProof, ...]]:
    account_proof: tuple[bytes, ...] = ()
    proofs: list[SlotProof] = []
    for start in range(0, len(slots), SLOTS_MAX):
        part = slots[start : start + SLOTS_MAX]
        answer = await rpc.call("eth_getProof", address, [to_hex(s) for s in part], hex(height))
        with rpc.reading("eth_getProof"):
            account_proof = tuple(from_hex(node) for node in answer["accountProof"])
            for slot, entry in zip(part, answer["storageProof"], strict=True):
                nodes = tuple(from_hex(node) for node in entry["proof"])
                proofs.append(SlotProof(slot=slot, proof=nodes))
    return account_proof, tuple(proofs)
