"""Writes an evidence bundle: a provider's journal, and what the chain proves of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rowen.auditor.export import export
from rowen.auditor.snapshots import SnapshotEvidence
from rowen.chain.snapshot import take_snapshot
from rowen.config import ChainConfig
from rowen.protocol.evidence import Manifest
from rowen.provider.till import Till


async def write_bundle(
    till: Till, path: Path, chain: ChainConfig, only: Sequence[bytes] = ()
) -> Manifest:
    """Writes the bundle; does nothing when the very same one is there.

    Args:
        till: A provider's money.
        path: The folder to make; its parent exists.
        chain: How many blocks stand on top of the one whose state is proven, and where the
            escrow's logs begin.
        only: Ids of channels, for a bundle about these, without a proof of the chain.

    Raises:
        UserError: Something else is at the path, or the chain knows claims the journal does not.
        Unavailable: Journal or chain does not answer.
    """
    domain, provider = till.escrow.deployment.domain, till.key.address
    if only:
        return await export(till.journal, domain, provider, path, None, only)
    snapshot = await take_snapshot(
        till.escrow, provider, confirmations=chain.confirmations, first_block=chain.first_block
    )
    evidence = SnapshotEvidence(snapshot, domain, provider)
    return await export(till.journal, domain, provider, path, evidence)
