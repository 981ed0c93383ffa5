"""Where proofs of fraud come from: evidence bundles, and a client's own journal.

A bundle is read as in ``verify``: under limits, following no link, opening no socket. It need
not be right or whole; what is signed in it proves as much either way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from rowen.auditor.bundle import Absent, Folder, Unreadable
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.evidence import (
    CHANNELS,
    LIMITS,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    RECEIPTS,
    BadRecord,
    ChannelRecord,
    Limits,
    RecordReader,
    decode_manifest,
)
from rowen.protocol.fraud import Proof, find_proofs
from rowen.protocol.messages import Signed
from rowen.store.base import ChannelOpened, DisputeKept, Entry, ReceiptKept, Role

T = TypeVar("T")


class ChannelSource(Protocol):
    """What is needed of a journal; see ``rowen.store.base.Journal``."""

    async def openings(self, role: Role) -> list[ChannelOpened]:
        """The first entry of every channel on that side."""
        ...

    def receipts_of(self, channel_id: bytes) -> AsyncIterator[ReceiptKept]:
        """All receipts of a channel, in sequence."""
        ...

    def to_replay(self, channel_id: bytes) -> AsyncIterator[Entry]:
        """Its newest entries, a dispute among them."""
        ...


class Conviction(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked through, and what it proves.

    Attributes:
        channels: How many.
        receipts: How many, those of others and malformed ones included.
        proofs: By channel and sequence.
        unread: For each file that could not be read to its end: which, and why.
    """

    channels: int
    receipts: int
    proofs: list[Proof]
    unread: list[str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Receipts in memory: a client's own, disputed ones among them."""

    channels: tuple[ChannelRecord, ...] = ()
    receipts: tuple[Signed, ...] = ()


async def own_evidence(journal: ChannelSource, domain: Domain) -> Evidence:
    """What a client kept of one deployment: its logs, and the receipt of each dispute.

    Raises:
        Unavailable: The journal failed.
    """
    channels: list[ChannelRecord] = []
    receipts: list[Signed] = []
    for opened in await journal.openings("buyer"):
        if Domain(opened.chain_id, opened.escrow) != domain:
            continue
        channels.append(ChannelRecord(opened.payer, opened.provider, opened.signer))
        receipts += [kept.receipt async for kept in journal.receipts_of(opened.channel_id)]
        receipts += [
            entry.receipt
            async for entry in journal.to_replay(opened.channel_id)
            # It ended the channel, so no log was settled after it.
            if isinstance(entry, DisputeKept)
        ]
    return Evidence(tuple(channels), tuple(receipts))


def convict(
    domain: Domain, bundles: Sequence[Path], own: Evidence, limits: Limits = LIMITS
) -> Conviction:
    """Finds everything that bundles and own evidence prove together.

    Args:
        domain: Of the escrow; its stake punishes nothing else.
        bundles: Folders.
        own: See ``own_evidence``.
        limits: What is read of a bundle before giving up.

    Raises:
        UserError: A folder is no bundle, or one about another deployment.
    """
    for path in bundles:
        _require_bundle(path, domain)
    known = {record.id: record for record in own.channels}
    unread: dict[str, str] = {}
    for path in bundles:
        records = _stream(path, CHANNELS, ChannelRecord, limits, unread)
        known |= {record.id: record for record in records}
    count = 0

    def receipts() -> Iterator[Signed]:
        nonlocal count
        count = 0
        for signed in chain(
            own.receipts, *(_stream(path, RECEIPTS, Signed, limits, unread) for path in bundles)
        ):
            count += 1
            yield signed

    proofs = find_proofs(domain, known, receipts)
    said = [f"{file}: {why}" for file, why in sorted(unread.items())]
    return Conviction(channels=len(known), receipts=count, proofs=proofs, unread=said)


def _require_bundle(path: Path, domain: Domain) -> None:
    try:
        with Folder(path) as folder:
            manifest = decode_manifest(folder.read(MANIFEST, MANIFEST_BYTES_MAX))
    except (Absent, Unreadable, PeerError) as error:
        raise UserError(f"{path} is no evidence bundle: {error}") from error
    if manifest.domain != domain:
        raise UserError(
            f"{path} is about escrow {manifest.escrow} on chain {manifest.chain_id}, the settings"
            f" name 0x{domain.escrow.hex()} on chain {domain.chain_id}"
        )


def _stream(
    path: Path, name: str, kind: type[T], limits: Limits, unread: dict[str, str]
) -> Iterator[T]:
    """The records of one file, up to the first that cannot be read; notes why it stopped."""
    try:
        with Folder(path) as folder, folder.open(name) as file:
            yield from RecordReader(kind, limits).read(file.chunks(limits.file_bytes_max))
    except BadRecord as error:
        unread[str(path / name)] = f"record {error.index}: {error}"
    except (Absent, Unreadable) as error:
        unread[str(path / name)] = str(error)
