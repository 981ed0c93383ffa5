"""A provider's money on chain at one block, provable to somebody who trusts nobody.

Everything follows from the block's hash: header → state root → the escrow's account (its code,
so that it is this contract) → its storage → the provider's credit, accumulator and channels.
The accumulator is a hash chain over all vouchers ever paid to the provider, so the claim
events are complete or the snapshot is refused. The other events are replayed, and must lead to
what the slots hold.

Told and not proven, because no slot keeps it: an event's place in its block and its transaction,
in how many parts a sum was locked, and an unlock that was asked for and taken back, or ended,
before the block. What was swept is what was claimed and is no longer credited.

Pure: bytes in, values out, no network. Who trusts a block hash gets it from a node of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from rowen.chain.contract import artifact, decode_event, encode_words
from rowen.chain.events import Claimed, Event
from rowen.chain.merkle_patricia import lookup, number, payload, split_list
from rowen.chain.replay import replay
from rowen.protocol.channel import ChannelView
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.ids import ADDRESS_BYTES, HASH_BYTES, ZERO_HASH, keccak
from rowen.protocol.statements import Voucher

_UINT96: Final = 2**96 - 1

# Positions in a block header's RLP list; later forks only appended.
_STATE_ROOT, _NUMBER, _TIMESTAMP = 3, 8, 11


class RawLog(msgspec.Struct, frozen=True, kw_only=True):
    """One log of the escrow.

    Attributes:
        block: Height.
        index: Position among the block's logs.
        tx_hash: 32 bytes.
        topics: 32 bytes each.
        data: What is not indexed.
    """

    block: int
    index: int
    tx_hash: bytes
    topics: tuple[bytes, ...]
    data: bytes


class SlotProof(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes of the storage trie from its root to one slot.

    Attributes:
        slot: Its number, 32 bytes.
        proof: RLP nodes.
    """

    slot: bytes
    proof: tuple[bytes, ...]


class ChainSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence about one provider at one block; nothing in it is trusted before ``verify``.

    Attributes:
        chain_id: EIP-155 chain id.
        escrow: Contract, 20 bytes.
        provider: Operator address, 20 bytes.
        header: The block's header, RLP. Its keccak256 is the block hash.
        code: The escrow's code.
        account_proof: RLP nodes of the state trie from its root to the escrow.
        slots: For the provider's credit, accumulator and every channel.
        logs: All that concern the provider, from the beginning to the block, in order.
    """

    chain_id: int
    escrow: bytes
    provider: bytes
    header: bytes
    code: bytes
    account_proof: tuple[bytes, ...]
    slots: tuple[SlotProof, ...]
    logs: tuple[RawLog, ...]

    @property
    def block_hash(self) -> bytes:
        """Hash of the block it speaks of, 32 bytes: compare it with a source you trust."""
        return keccak(self.header)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenState:
    """What a snapshot proves, given its block hash.

    Attributes:
        domain: Chain and contract.
        provider: Whose money this is.
        block: Height.
        block_hash: 32 bytes.
        timestamp_s: The block's time.
        credit: Claimed and not swept, token units.
        id_to_channel: Every channel that was ever claimed from, and others of the provider.
        claims: Every claim ever paid to the provider, in order: complete.
        events: The provider's events, claims among them. Complete for channels with claims.
    """

    domain: Domain
    provider: bytes
    block: int
    block_hash: bytes
    timestamp_s: int
    credit: int
    id_to_channel: dict[bytes, ChannelView]
    claims: tuple[Claimed, ...]
    events: tuple[Event, ...]


def slot_of(variable: str, key: bytes) -> bytes:
    """Number of the slot, 32 bytes, that holds ``key`` in a mapping of the escrow.

    Source: https://docs.soliditylang.org/en/v0.8.37/internals/layout_in_storage.html
    """
    return keccak(encode_words(key, artifact("RowenEscrow").variable_to_slot[variable]))


def verify(snapshot: ChainSnapshot) -> ProvenState:
    """Checks all of a snapshot but its block hash.

    Raises:
        PeerError: Something does not prove, does not add up or is missing.
    """
    if len(snapshot.escrow) != ADDRESS_BYTES or len(snapshot.provider) != ADDRESS_BYTES:
        raise PeerError("a snapshot's escrow or provider is not an address")
    header = split_list(snapshot.header)
    if len(header) <= _TIMESTAMP:
        raise PeerError(f"a snapshot's block header has {len(header)} fields")
    block = number(header[_NUMBER])
    storage = _Storage(_storage_root(payload(header[_STATE_ROOT]), snapshot), snapshot.slots)
    events = tuple(_events(snapshot, block))
    domain = Domain(snapshot.chain_id, snapshot.escrow)
    claims = tuple(event for event in events if isinstance(event, Claimed))
    accumulator = _accumulate(domain, claims)
    proven = storage.word(slot_of("accumulatorOf", snapshot.provider)).to_bytes(32, "big")
    if accumulator != proven:
        raise PeerError(
            f"claims are missing or altered: the snapshot's {len(claims)} give accumulator"
            f" 0x{accumulator.hex()}, the chain has 0x{proven.hex()}"
        )
    id_to_channel = replay(events)
    for channel_id, replayed in id_to_channel.items():
        if storage.channel(channel_id) != replayed:
            raise PeerError(
                f"channel 0x{channel_id.hex()} is {storage.channel(channel_id)};"
                f" its events make it {replayed}: some are missing or altered"
            )
    # Above the credit stands the address it would be swept to.
    credit = storage.word(slot_of("_credits", snapshot.provider)) & _UINT96
    earned = sum(view.claimed for view in id_to_channel.values())
    if earned < credit:
        raise PeerError(f"claims of {earned} cannot leave a credit of {credit}")
    return ProvenState(
        domain=domain,
        provider=snapshot.provider,
        block=block,
        block_hash=snapshot.block_hash,
        timestamp_s=number(header[_TIMESTAMP]),
        credit=credit,
        id_to_channel=id_to_channel,
        claims=claims,
        events=events,
    )


class _Storage:
    """Slots of the escrow, read through their proofs."""

    def __init__(self, root: bytes, slots: tuple[SlotProof, ...]) -> None:
        self._root = root
        self._slot_to_proof = {entry.slot: entry.proof for entry in slots}

    def word(self, slot: bytes) -> int:
        """A slot's value; 0 where the trie is proved to hold nothing."""
        proof = self._slot_to_proof.get(slot)
        if proof is None:
            raise PeerError(f"a snapshot lacks the proof of slot 0x{slot.hex()}")
        value = lookup(self._root, keccak(slot), proof)
        return 0 if value is None else number(value)

    def channel(self, channel_id: bytes) -> ChannelView:
        """A channel; Solidity packs from the low end: locked, claimed, unlockAt."""
        word = self.word(slot_of("channels", channel_id))
        return ChannelView(
            locked=word & _UINT96, claimed=word >> 96 & _UINT96, unlock_at_s=word >> 192
        )


def _storage_root(state_root: bytes, snapshot: ChainSnapshot) -> bytes:
    account = lookup(state_root, keccak(snapshot.escrow), snapshot.account_proof)
    if account is None:
        raise PeerError(f"there is no account 0x{snapshot.escrow.hex()} at the block")
    fields = split_list(account)
    if len(fields) != 4:
        raise PeerError(f"the escrow's account has {len(fields)} fields, expected 4")
    code_hash = keccak(snapshot.code)
    if payload(fields[3]) != code_hash or not artifact("RowenEscrow").matches(snapshot.code):
        raise PeerError(f"0x{snapshot.escrow.hex()} is not a RowenEscrow of this version")
    return payload(fields[2])


def _events(snapshot: ChainSnapshot, block: int) -> Iterator[Event]:
    before = (-1, -1)
    for entry in snapshot.logs:
        position = (entry.block, entry.index)
        if position <= before or entry.block > block or len(entry.tx_hash) != HASH_BYTES:
            raise PeerError(f"log {position} is out of order, too late or malformed")
        before = position
        try:
            event = decode_event(
                entry.topics, entry.data, block=entry.block, index=entry.index,
                tx_hash=entry.tx_hash,
            )  # fmt: skip
        except ValueError as error:
            raise PeerError(f"log {position} is malformed: {error}") from error
        if event is None or getattr(event, "provider", snapshot.provider) != snapshot.provider:
            raise PeerError(f"log {position} is no event of this provider's")
        yield event


def _accumulate(domain: Domain, claims: tuple[Claimed, ...]) -> bytes:
    accumulator = ZERO_HASH
    for claim in claims:
        voucher = Voucher(
            payer=claim.payer,
            provider=claim.provider,
            total=claim.total,
            receipt_count=claim.receipt_count,
            receipts_root=claim.receipts_root,
        )
        try:
            digest = voucher.digest(domain)
        except ValueError as error:
            raise PeerError(f"a claim holds a value outside its type: {error}") from error
        accumulator = keccak(digest + accumulator)
    return accumulator
