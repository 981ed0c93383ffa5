"""The chain in a bundle: a ``ChainSnapshot`` reduced to what it proves.

A snapshot as a node gives it holds more than a block hash can prove: transaction hashes, the
order of locks and refunds. An auditor could not notice a change of these, so a bundle has none
of it. Its snapshot is in normal form: no channel beside those of the bundle, one ``Locked`` each
with what the slot holds, ``UnlockRequested`` where the payer is about to leave, every
``Claimed`` in the order of the accumulator, and one proof for each slot. Whatever is proven
twice is derived once and compared to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
from msgspec.structs import replace

from rowen.chain.contract import encode_words, topic_of
from rowen.chain.events import Claimed, Event, Locked, UnlockRequested
from rowen.chain.proofs import ChainSnapshot, ProvenState, RawLog, slot_of
from rowen.chain.proofs import verify as prove
from rowen.protocol.audit_facts import ChainFacts, Claim, rolled
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.ids import ZERO_HASH

SnapshotReader = Callable[[bytes, Domain, bytes], ChainFacts]
"""From a snapshot, a deployment and a provider to what is proven; raises ``PeerError``."""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(ChainSnapshot)


class SnapshotEvidence:
    """A snapshot to export; see ``export.ChainEvidence``.

    Attributes:
        facts: What it proves.
    """

    def __init__(self, snapshot: ChainSnapshot, domain: Domain, provider: bytes) -> None:
        """Proves it.

        Raises:
            UserError: It does not prove, or is about something else.
        """
        try:
            self._proven = _proven(snapshot, domain, provider)
        except PeerError as error:
            raise UserError(f"this chain snapshot cannot be exported: {error}") from error
        self._snapshot = snapshot
        self.facts = _facts(self._proven)

    def encode(self, channel_ids: Collection[bytes]) -> bytes:
        """The snapshot of these channels and no others, in normal form."""
        return _encode(normal_form(self._snapshot, self._proven, channel_ids))


def read_snapshot(raw: bytes, domain: Domain, provider: bytes) -> ChainFacts:
    """Reads and proves a bundle's snapshot; all but its block hash.

    Args:
        raw: The file.
        domain: What it must be about.
        provider: Operator address, 20 bytes.

    Raises:
        PeerError: It is malformed, does not prove, is about something else, or holds anything
            that nothing proves.
    """
    try:
        snapshot = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerError(f"not a chain snapshot: {error}") from error
    proven = _proven(snapshot, domain, provider)
    if _encode(normal_form(snapshot, proven, proven.id_to_channel)) != raw:
        raise PeerError("the chain snapshot is not in normal form: it holds what nothing proves")
    return _facts(proven)


def normal_form(
    snapshot: ChainSnapshot, proven: ProvenState, channel_ids: Collection[bytes]
) -> ChainSnapshot:
    """The snapshot with these channels, and nothing that its block hash does not prove.

    Args:
        snapshot: Any that proves.
        proven: What it proves.
        channel_ids: Channels to keep, all of them proven.
    """
    claimed = {claim.channel_id for claim in proven.claims}
    ids = sorted(claimed.union(channel_ids))
    slots = [slot_of("_credits", proven.provider), slot_of("accumulatorOf", proven.provider)]
    slots += [slot_of("channels", channel_id) for channel_id in ids]
    slot_to_proof = {entry.slot: entry for entry in snapshot.slots}
    logs = [*_locks(proven, ids), *_requests(proven, ids), *map(_claim_log, proven.claims)]
    return replace(
        snapshot,
        slots=tuple(slot_to_proof[slot] for slot in slots),
        logs=tuple(replace(log, index=index) for index, log in enumerate(logs)),
    )


def _proven(snapshot: ChainSnapshot, domain: Domain, provider: bytes) -> ProvenState:
    for name, said, expected in (
        ("chain id", snapshot.chain_id, domain.chain_id),
        ("escrow", snapshot.escrow.hex(), domain.escrow.hex()),
        ("provider", snapshot.provider.hex(), provider.hex()),
    ):
        if said != expected:
            raise PeerError(f"the chain snapshot is for {name} {said}, expected {expected}")
    try:
        return prove(snapshot)
    except (ValueError, OverflowError, LookupError) as error:
        # A trie of a forger's own can hold values that no contract stores.
        raise PeerError(f"the chain snapshot holds an impossible value: {error}") from error


def _facts(proven: ProvenState) -> ChainFacts:
    claims = [
        Claim(
            payer=claim.payer,
            signer=claim.signer,
            total=claim.total,
            receipt_count=claim.receipt_count,
            receipts_root=claim.receipts_root,
        )
        for claim in proven.claims
    ]
    return ChainFacts(
        block_number=proven.block,
        block_hash=proven.block_hash,
        channels=proven.id_to_channel,
        # Proven to be this: a snapshot whose claims roll to another value does not prove.
        accumulator=rolled(proven.domain, proven.provider, claims),
        credit=proven.credit,
        claims=claims,
    )


def _locks(proven: ProvenState, ids: list[bytes]) -> list[RawLog]:
    opened = {
        event.channel_id: (event.payer, event.signer)
        for event in proven.events
        if isinstance(event, Locked | Claimed)
    }
    logs = []
    for channel_id in ids:
        payer, signer = opened[channel_id]
        locked = proven.id_to_channel[channel_id].locked
        topics = (encode_words(payer), encode_words(proven.provider))
        logs.append(_log(Locked, topics, encode_words(signer, locked)))
    return logs


def _requests(proven: ProvenState, ids: list[bytes]) -> list[RawLog]:
    # Before the claims: a provider may claim the last unit after its payer asked to leave.
    return [
        _log(UnlockRequested, (channel_id,), encode_words(unlock_at_s))
        for channel_id in ids
        if (unlock_at_s := proven.id_to_channel[channel_id].unlock_at_s)
    ]


def _claim_log(claim: Claimed) -> RawLog:
    topics = (encode_words(claim.provider), encode_words(claim.payer))
    data = encode_words(claim.signer, claim.total, claim.receipt_count, claim.receipts_root)
    return _log(Claimed, topics, data)


def _log(kind: type[Event], topics: tuple[bytes, ...], data: bytes) -> RawLog:
    return RawLog(block=0, index=0, tx_hash=ZERO_HASH, topics=(topic_of(kind), *topics), data=data)
