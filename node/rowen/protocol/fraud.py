"""What a provider's own signatures prove against it: the evidence that ``RowenStake`` takes.

Three offences, and nothing else: two different receipts for one sequence, a running total that
does not add up, a charge on a failed job. Whoever reads the receipts can find them; nobody's
word is needed. A slow answer, another model or false joules cannot be shown so, and are not
looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import msgspec

from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.evidence import ChannelRecord
from rowen.protocol.messages import Opened, Signed, open_signed
from rowen.protocol.statements import Receipt, Status

VARIANTS_MAX = 4
"""Different receipts kept for one sequence: more prove no more."""


class Offence(IntEnum):
    """What a provider can be slashed for; the contract's own numbers."""

    EQUIVOCATION = 0
    """Two different receipts for one channel and sequence."""
    BROKEN_TOTAL = 1
    """A total that is not the one before plus the receipt's amount."""
    CHARGED_FAILURE = 2
    """A charge on a receipt that says the job failed."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Signed receipts that convict a provider.

    Attributes:
        offence: Of what.
        channel: Payer, provider and session key, whose id the receipts name.
        receipts: One for a charge on a failed job, else two; a broken total's in sequence.
    """

    offence: Offence
    channel: ChannelRecord
    receipts: tuple[Signed, ...]

    def sequence(self) -> int:
        """The receipt that is punished: for a broken total the second."""
        return Receipt.decode(self.receipts[-1].words).sequence


def check(proof: Proof, domain: Domain) -> None:
    """Judges a proof as the contract does; passes only what it takes.

    Raises:
        PeerError: It proves nothing; the message says why.
    """
    count = 1 if proof.offence is Offence.CHARGED_FAILURE else 2
    if len(proof.receipts) != count:
        raise PeerError(f"{proof.offence.name} takes {count} receipts, not {len(proof.receipts)}")
    opened = [open_signed(signed, Receipt, domain) for signed in proof.receipts]
    for each in opened:
        if each.statement.channel_id != proof.channel.id:
            raise PeerError("a receipt is for another channel")
        if each.signer != proof.channel.provider:
            raise PeerError("a receipt is not signed by the provider")
    wrong = _innocent(proof.offence, opened)
    if wrong:
        raise PeerError(wrong)


def _innocent(offence: Offence, opened: list[Opened[Receipt]]) -> str:
    """Why these receipts show no such offence; "" when they do."""
    first, last = opened[0].statement, opened[-1].statement
    if offence is Offence.CHARGED_FAILURE:
        if last.status is not Status.FAILED:
            return "the job did not fail"
        return "" if last.amount else "nothing is charged"
    if offence is Offence.EQUIVOCATION:
        if opened[0].digest == opened[1].digest:
            return "it is one and the same receipt"
        return "" if first.sequence == last.sequence else "the sequences differ"
    if first.sequence + 1 != last.sequence:
        return "the receipts do not follow each other"
    return "the total is right" if first.total + last.amount == last.total else ""


class _Seen(NamedTuple):
    """What is kept of a receipt on the first pass; about 250 bytes."""

    digest: bytes
    total: int
    amount: int


_Variants = dict[int, tuple[_Seen, ...]]


def find_proofs(
    domain: Domain,
    channels: Mapping[bytes, ChannelRecord],
    receipts: Callable[[], Iterable[Signed]],
) -> list[Proof]:
    """Every offence that the receipts prove, one for each (offence, channel, sequence).

    What is malformed, for another channel or signed by somebody else proves nothing against
    the provider and is passed over.

    Args:
        domain: Of the escrow.
        channels: By id; receipts of others are passed over.
        receipts: Gives them all, in any order, each time it is called; at most twice.
    """
    found: list[tuple[Offence, bytes, tuple[bytes, ...]]] = []
    seen: dict[bytes, _Variants] = {}
    for opened in _usable(domain, channels, receipts()):
        receipt = opened.statement
        variants = seen.setdefault(receipt.channel_id, {})
        known = variants.get(receipt.sequence, ())
        if len(known) >= VARIANTS_MAX or any(each.digest == opened.digest for each in known):
            continue
        added = _Seen(opened.digest, receipt.total, receipt.amount)
        variants[receipt.sequence] = (*known, added)
        if receipt.status is Status.FAILED and receipt.amount:
            found.append((Offence.CHARGED_FAILURE, receipt.channel_id, (opened.digest,)))
    for channel_id, variants in seen.items():
        found += ((offence, channel_id, digests) for offence, digests in _contradictions(variants))
    if not found:
        return []
    wanted = {digest for _, _, digests in found for digest in digests}
    digest_to_signed: dict[bytes, Signed] = {}
    for signed in receipts():
        digest = domain.digest(Receipt.TYPE_HASH, signed.words)
        # The same words may stand there with a stranger's signature, too.
        if digest in wanted - digest_to_signed.keys() and any(_usable(domain, channels, [signed])):
            digest_to_signed[digest] = signed
    proofs = [
        Proof(
            offence=offence,
            channel=channels[channel_id],
            receipts=tuple(digest_to_signed[digest] for digest in digests),
        )
        for offence, channel_id, digests in found
    ]
    return _once(sorted(proofs, key=_key))


def _usable(
    domain: Domain, channels: Mapping[bytes, ChannelRecord], receipts: Iterable[Signed]
) -> Iterator[Opened[Receipt]]:
    for signed in receipts:
        try:
            opened = open_signed(signed, Receipt, domain)
        except PeerError:
            continue
        channel = channels.get(opened.statement.channel_id)
        if channel is not None and opened.signer == channel.provider:
            yield opened


def _contradictions(variants: _Variants) -> Iterator[tuple[Offence, tuple[bytes, ...]]]:
    for same in variants.values():
        if len(same) > 1:
            yield Offence.EQUIVOCATION, (same[0].digest, same[1].digest)
    for before, sequence in pairwise(sorted(variants)):
        if before + 1 != sequence:
            continue
        for last in variants[sequence]:
            # Whoever wrote two receipts for the sequence before may have gone on from either.
            if all(first.total + last.amount != last.total for first in variants[before]):
                yield Offence.BROKEN_TOTAL, (variants[before][0].digest, last.digest)


def _key(proof: Proof) -> tuple[bytes, int, Offence]:
    return proof.channel.id, proof.sequence(), proof.offence


def _once(proofs: list[Proof]) -> list[Proof]:
    """The first of each key: the contract punishes an offence once."""
    kept = {_key(proof): proof for proof in reversed(proofs)}
    return [kept[key] for key in sorted(kept)]
