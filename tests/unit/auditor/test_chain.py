"""Claims against logs and against what the chain proves: threats 39 and 41."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.auditor.market import (
    FakeSnapshot,
    judge,
    put_manifest,
    rewrite,
    small_market,
    write,
)

from rowen.auditor.verdict import Verdict
from rowen.protocol.evidence import MANIFEST, SNAPSHOT, BlockEntry, decode_manifest
from rowen.protocol.ids import keccak

Change = Callable[[FakeSnapshot], FakeSnapshot]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(small_market(), tmp_path / "bundle")


def judge_with(bundle: Path, change: Change) -> Verdict:
    """The verdict when a lying node showed something else, consistently down to the block hash."""
    raw = (bundle / SNAPSHOT).read_bytes()
    lie = change(msgspec.msgpack.decode(raw, type=FakeSnapshot))
    raw = msgspec.msgpack.encode(lie)
    (bundle / SNAPSHOT).write_bytes(raw)
    manifest = decode_manifest((bundle / MANIFEST).read_bytes())
    block = BlockEntry(1_234, f"0x{keccak(raw).hex()}")
    put_manifest(bundle, replace(manifest, block=block))
    rewrite(bundle)
    return judge(bundle)


def fields(verdict: Verdict) -> set[str]:
    """What the findings are about."""
    return {finding.field for finding in verdict.findings}


def test_an_unchanged_snapshot_is_verified(bundle: Path) -> None:
    """The way back and forth changes nothing."""
    assert judge_with(bundle, lambda snapshot: snapshot).exit_code == 0


@pytest.mark.parametrize("index", range(3))
def test_an_omitted_claim_is_found(bundle: Path, index: int) -> None:
    """Threat 41: the accumulator rolls over every claim."""
    verdict = judge_with(
        bundle, lambda s: replace(s, claims=s.claims[:index] + s.claims[index + 1 :])
    )
    assert verdict.exit_code == 1
    assert "accumulator" in fields(verdict)


@pytest.mark.parametrize("index", range(2))
def test_reordered_claims_are_found(bundle: Path, index: int) -> None:
    """Also when the order within each channel stays."""

    def swap(snapshot: FakeSnapshot) -> FakeSnapshot:
        claims = [*snapshot.claims]
        claims[index : index + 2] = claims[index + 1], claims[index]
        return replace(snapshot, claims=claims)

    verdict = judge_with(bundle, swap)
    assert verdict.exit_code == 1
    assert "accumulator" in fields(verdict)


def test_an_invented_claim_is_found(bundle: Path) -> None:
    """Even one that follows from a voucher."""
    verdict = judge_with(bundle, lambda s: replace(s, claims=[*s.claims, s.claims[-1]]))
    assert {"accumulator", "total"} <= fields(verdict)


@pytest.mark.parametrize("field", range(5))
def test_a_claim_changed_in_any_field_is_found(bundle: Path, field: int) -> None:
    """The signer, too, which the accumulator does not cover: its channel's log does."""

    def change(snapshot: FakeSnapshot) -> FakeSnapshot:
        claims = [list(claim) for claim in snapshot.claims]
        other = claims[1][field] if claims[1][field] != claims[0][field] else 1
        claims[0][field] = other
        raw = msgspec.msgpack.encode({**msgspec.structs.asdict(snapshot), "claims": claims})
        return msgspec.msgpack.decode(raw, type=FakeSnapshot)

    assert judge_with(bundle, change).exit_code == 1


@pytest.mark.parametrize("delta", [-1, 1])
def test_another_proven_claimed_amount_is_found(bundle: Path, delta: int) -> None:
    """The claims of a channel lead exactly to what the chain shows."""

    def change(snapshot: FakeSnapshot) -> FakeSnapshot:
        channel_id, locked, claimed, unlock = snapshot.channels[0]
        channels = [(channel_id, locked, claimed + delta, unlock), *snapshot.channels[1:]]
        return replace(snapshot, channels=channels)

    assert fields(judge_with(bundle, change)) == {"claimed"}


def test_another_accumulator_is_found(bundle: Path) -> None:
    """One bit is enough."""
    verdict = judge_with(bundle, lambda s: replace(s, accumulator=bytes(32)))
    assert fields(verdict) == {"accumulator"}


def test_more_credit_than_was_claimed_is_found(bundle: Path) -> None:
    """Credit is claimed and not swept; what is missing of it was swept."""
    verdict = judge_with(bundle, lambda s: replace(s, credit=10**9))
    assert fields(verdict) == {"credit"}


def test_a_channel_without_proof_leaves_the_verdict_open(bundle: Path, tmp_path: Path) -> None:
    """Nothing contradicts it, nothing shows it."""
    market = small_market()
    cat = market.open("cat")
    cat.run(1)
    write(market, tmp_path / "more")
    verdict = judge_with(
        tmp_path / "more",
        lambda s: replace(s, channels=[c for c in s.channels if c[0] != cat.id]),
    )
    assert (verdict.exit_code, verdict.findings[0].channel) == (3, f"0x{cat.id.hex()}")


def test_a_proof_without_evidence_is_found(bundle: Path) -> None:
    """Every part of a snapshot is examined, or could be anything."""
    extra = (bytes(32), 1, 0, 0)
    verdict = judge_with(bundle, lambda s: replace(s, channels=[*s.channels, extra]))
    assert verdict.exit_code == 1


def test_a_snapshot_that_cannot_be_read_is_named(bundle: Path) -> None:
    """Its reader says what is wrong."""
    (bundle / SNAPSHOT).write_bytes(b"garbage")
    rewrite(bundle)
    first = judge(bundle).findings[0]
    assert (first.file, "not a snapshot" in first.detail) == (SNAPSHOT, True)


def test_a_snapshot_of_an_earlier_block_is_found(bundle: Path, tmp_path: Path) -> None:
    """Its block is not the one in the manifest."""
    market = small_market()
    market.claim(market.sellers[1])
    later = write(market, tmp_path / "later")
    (bundle / SNAPSHOT).write_bytes((later / SNAPSHOT).read_bytes())
    rewrite(bundle)
    assert "hash" in fields(judge(bundle))
