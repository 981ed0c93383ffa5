"""P14: any omission or edit of a bundle is found, and the item is named."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.auditor.market import (
    Market,
    judge,
    put_records,
    records,
    rewrite,
    small_market,
    write,
)

from rowen.auditor.verdict import Status
from rowen.protocol.evidence import (
    CHANNELS,
    CHECKSUM,
    FILES,
    MANIFEST,
    ORDERS,
    RECEIPTS,
    STREAMS,
    VOUCHERS,
    FileName,
)


def tiny_market() -> Market:
    """One channel, two receipts, a claim: few bytes, so that each can be flipped."""
    market = Market()
    ann = market.open("ann", credit=1_000)
    ann.run(1)
    market.claim(ann)
    ann.run(1, ending="preempted")
    return market


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write(tiny_market(), tmp_path / "bundle")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(small_market(), tmp_path / "bundle")


def flips(path: Path, *, bits: int) -> Iterator[int]:
    """Writes the file with each byte changed in turn, then as it was."""
    raw = path.read_bytes()
    for at in range(len(raw)):
        for bit in range(bits):
            changed = bytearray(raw)
            changed[at] ^= 1 << ((at + bit) % 8)
            path.write_bytes(changed)
            yield at
    path.write_bytes(raw)


def test_an_untouched_bundle_is_verified(small: Path) -> None:
    """Exit code 0, and nothing to say."""
    verdict = judge(small)
    assert (verdict.status, verdict.exit_code, verdict.findings) == (Status.VERIFIED, 0, ())


@pytest.mark.parametrize("name", [*FILES, MANIFEST, CHECKSUM])
def test_any_changed_byte_fails_the_bundle_with_its_file_named(tiny: Path, name: str) -> None:
    """Every position of every file, manifest and checksum included."""
    for at in flips(tiny / name, bits=1):
        verdict = judge(tiny)
        assert verdict.exit_code == 1, f"byte {at}"
        named = {finding.file for finding in verdict.findings}
        # Manifest and checksum disagree either way; nothing says which of the two was changed.
        assert named & ({name} if name in FILES else {MANIFEST, CHECKSUM}), f"byte {at}"
    assert judge(tiny).exit_code == 0


@pytest.mark.parametrize("name", FILES)
def test_any_changed_byte_fails_the_bundle_although_the_manifest_was_rewritten(
    tiny: Path, name: FileName
) -> None:
    """The manifest is a checksum, not a signature: signatures, roots and proofs decide."""
    for at in flips(tiny / name, bits=1):
        rewrite(tiny)
        assert judge(tiny).exit_code == 1, f"byte {at}"


@pytest.mark.slow
@pytest.mark.parametrize("is_forged", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_any_changed_byte_fails_a_larger_bundle(
    small: Path, name: FileName, is_forged: bool
) -> None:
    """Every byte, three ways, of every file of a bundle with each kind of ending."""
    for at in flips(small / name, bits=3):
        if is_forged:
            rewrite(small)
        assert judge(small).exit_code == 1, f"byte {at}"


def test_a_changed_receipt_is_named_by_record_channel_and_sequence(small: Path) -> None:
    """Whoever reads the verdict can look the item up."""
    kept = records(small, RECEIPTS)
    # The last byte of a record belongs to the signature.
    kept[3] = kept[3][:-1] + bytes((kept[3][-1] ^ 1,))
    put_records(small, RECEIPTS, kept)
    first = judge(small).findings[0]
    assert (first.file, first.record, first.field) == (RECEIPTS, 3, "signature")
    assert first.channel.startswith("0x")
    assert first.sequence == 3


@pytest.mark.parametrize("is_forged", [False, True])
@pytest.mark.parametrize("name", STREAMS)
def test_a_removed_record_fails_the_bundle(small: Path, name: FileName, is_forged: bool) -> None:
    """Each record in turn, cut out of the bytes or out of the manifest, too."""
    kept = records(small, name)
    manifest, checksum = (small / MANIFEST).read_bytes(), (small / CHECKSUM).read_bytes()
    for index in range(len(kept)):
        put_records(small, name, kept[:index] + kept[index + 1 :])
        if not is_forged:
            (small / MANIFEST).write_bytes(manifest)
            (small / CHECKSUM).write_bytes(checksum)
        verdict = judge(small)
        assert verdict.exit_code == 1, f"record {index}"
        assert verdict.findings


def test_a_removed_receipt_is_named_by_the_gap_it_leaves(small: Path) -> None:
    """The next one says which number is missing."""
    kept = records(small, RECEIPTS)
    put_records(small, RECEIPTS, kept[:2] + kept[3:])
    first = judge(small).findings[0]
    assert first.detail == "receipts 2 to 2 are missing"
    assert (first.record, first.expected, first.actual) == (2, "2", "3")


def test_a_removed_last_receipt_is_named_by_the_voucher_that_covers_it(tiny: Path) -> None:
    """Nothing follows it, but the client signed for its number."""
    put_records(tiny, RECEIPTS, records(tiny, RECEIPTS)[:-1])
    details = [finding.detail for finding in judge(tiny).findings]
    assert any("the voucher covers more than the log has" in detail for detail in details)


@pytest.mark.parametrize("name", STREAMS)
def test_a_record_that_stands_twice_fails_the_bundle(small: Path, name: FileName) -> None:
    """It might be counted twice."""
    kept = records(small, name)
    for index in range(len(kept)):
        put_records(small, name, [*kept[: index + 1], *kept[index:]])
        assert judge(small).exit_code == 1, f"record {index}"


def test_swapped_receipts_fail_the_bundle(small: Path) -> None:
    """A log has an order."""
    kept = records(small, RECEIPTS)
    for index in range(len(kept) - 1):
        swapped = kept.copy()
        swapped[index : index + 2] = kept[index + 1], kept[index]
        put_records(small, RECEIPTS, swapped)
        verdict = judge(small)
        # The last of one channel and the first of the next are in order either way.
        is_seam = verdict.exit_code == 0
        assert not is_seam or kept[index][8:60] != kept[index + 1][8:60]


@pytest.mark.parametrize("name", STREAMS)
def test_appended_bytes_fail_the_bundle(tiny: Path, name: FileName) -> None:
    """Half a record, and a whole one of another kind."""
    raw = (tiny / name).read_bytes()
    for junk in (b"\x00", b"\x81", b"\xc0", raw[:20], b"\x80"):
        (tiny / name).write_bytes(raw + junk)
        rewrite(tiny)
        verdict = judge(tiny)
        assert verdict.exit_code == 1
        assert verdict.findings[0].file == name


def test_a_whole_channel_left_out_is_found_by_its_claims(small: Path) -> None:
    """Threat 41: whoever hides a channel cannot hide that it was paid."""
    hidden = small_market().sellers[1]
    for name in STREAMS:
        named = (hidden.id, hidden.payer.address)
        kept = records(small, name)
        left = [raw for raw in kept if not any(it in raw for it in named)]
        assert 0 < len(left) < len(kept)
        put_records(small, name, left)
    verdict = judge(small)
    assert verdict.exit_code == 1
    assert {f.channel for f in verdict.findings} == {f"0x{hidden.id.hex()}"}


def test_another_markets_file_fails_the_bundle(small: Path, tmp_path: Path) -> None:
    """Well-formed, rightly signed, and of another story."""
    market = Market()
    ann, bob = market.open("ann"), market.open("bob")
    ann.run(3)
    bob.run(3)
    market.claim(ann, bob)
    other = write(market, tmp_path / "other")
    for name in (ORDERS, RECEIPTS, VOUCHERS, CHANNELS):
        if (other / name).read_bytes() == (small / name).read_bytes():
            assert name == CHANNELS
            continue
        mixed = tmp_path / f"mixed {name}"
        shutil.copytree(small, mixed)
        put_records(mixed, name, records(other, name))
        assert judge(mixed).exit_code == 1
