"""Exit codes are a contract: 0 verified, 1 failed, 2 malformed, 3 undetermined."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.unit.auditor.market import (
    DOMAIN,
    PINS,
    PROVIDER,
    Market,
    judge,
    put_manifest,
    put_records,
    read_fake_snapshot,
    records,
    rewrite,
    small_market,
    write,
)

from rowen.auditor.verdict import Pins, Status, Verdict, lines
from rowen.auditor.verify import verify
from rowen.protocol.amounts import format_usd
from rowen.protocol.audit_findings import FINDINGS_MAX, Kind
from rowen.protocol.evidence import (
    CHANNELS,
    CHECKSUM,
    FILES,
    MANIFEST,
    ORDERS,
    RECEIPTS,
    SNAPSHOT,
    STREAMS,
    FileName,
    Limits,
    decode_manifest,
    encode_checksum,
)
from rowen.protocol.ids import keccak
from rowen.protocol.jobs import Finish
from rowen.protocol.seller_events import EngineFinished, EngineSaid
from rowen.protocol.statements import Receipt
from rowen.protocol.vectors import vector_text


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(small_market(), tmp_path / "bundle")


def delist(path: Path, name: FileName) -> None:
    """Removes a file from folder and manifest alike."""
    (path / name).unlink()
    manifest = decode_manifest((path / MANIFEST).read_bytes())
    files = {key: entry for key, entry in manifest.files.items() if key != name}
    put_manifest(path, msgspec.structs.replace(manifest, files=files))


# --- 0 -------------------------------------------------------------------------------------


def test_a_verdict_counts_and_adds_up(bundle: Path) -> None:
    """Claimed is swept and credited; acknowledged is claimed and not."""
    figures = judge(bundle).figures
    assert (figures.channels, figures.orders, figures.claims) == (2, 6, 3)
    assert figures.receipts == len(records(bundle, RECEIPTS))
    assert figures.claimed_total == figures.swept_total + figures.credit
    assert figures.acknowledged_total == figures.claimed_total + figures.unclaimed_total
    assert 0 < figures.unclaimed_total < figures.claimed_total
    assert figures.unclaimable_total == 0


def test_a_list_whose_input_is_billed_as_it_is_answered_is_verified(tmp_path: Path) -> None:
    """Of which kind a job is, an auditor does not know: input may rise, and never falls."""
    market = Market()
    ann = market.open("ann")
    job = ann.order(input_units=0).job_id
    for units in (5, 1, 7):
        ann.happens(EngineSaid(job, vector_text([1.0, 2.0]), 2, units))
        ann.pay()
    ann.happens(EngineFinished(job, Finish.STOP, 0))
    ann.pay()
    market.claim(ann)
    inputs = [Receipt.decode(kept.receipt.words).input_units for kept in ann.receipts]
    assert len(inputs) > 1
    assert (inputs, inputs[-1]) == (sorted(inputs), 13)
    assert judge(write(market, tmp_path / "bundle")).status is Status.VERIFIED


def test_a_voucher_above_its_lock_is_counted_as_unclaimable(tmp_path: Path) -> None:
    """The contract pays in full or not at all."""
    market = Market()
    market.open("ann", locked=10).run(4)
    figures = judge(write(market, tmp_path / "bundle")).figures
    assert figures.unclaimable_total == figures.unclaimed_total > 10


def test_a_verdict_is_told_in_dollars_and_counts_like_a_person(bundle: Path) -> None:
    """One channel is not "1 channels", and nobody has to know what a token unit is."""
    figures = judge(bundle).figures
    text = "\n".join(lines(judge(bundle)))
    assert f"acknowledged: {format_usd(figures.acknowledged_total)}\n" in text
    assert f"not claimed yet: {format_usd(figures.unclaimed_total)}\n" in text
    one = msgspec.structs.replace(figures, channels=1, vouchers=1)
    (said,) = (line for line in lines(Verdict(status=Status.FAILED, figures=one)) if "exam" in line)
    assert said == (
        f"examined: 1 channel, {figures.orders} orders, {figures.receipts} receipts, "
        f"1 voucher, {figures.claims} claims"
    )


def test_a_verdict_says_what_was_pinned_and_what_was_not(bundle: Path) -> None:
    """The bundle's own word is no anchor."""
    pinned = {anchor.name: anchor.is_pinned for anchor in judge(bundle).checked_against}
    assert pinned == {
        "chain_id": True,
        "escrow": True,
        "provider": True,
        "block_number": False,
        "block_hash": False,
    }
    text = "\n".join(lines(judge(bundle, Pins())))
    assert text.count("not pinned") == 5
    assert "compare it with a node you trust" in text


def test_a_pinned_block_hash_is_held_against_the_snapshot(bundle: Path) -> None:
    """The right one is reported as given, a wrong one fails."""
    right = keccak((bundle / SNAPSHOT).read_bytes())
    verdict = judge(bundle, msgspec.structs.replace(PINS, block_hash=right))
    assert verdict.exit_code == 0
    assert all(anchor.is_pinned for anchor in verdict.checked_against)
    verdict = judge(bundle, msgspec.structs.replace(PINS, block_hash=bytes(32)))
    assert (verdict.exit_code, verdict.findings[0].field) == (1, "hash")


# --- 1 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("chain_id", 1), ("escrow", bytes(20)), ("provider", bytes(20))],
)
def test_a_bundle_about_something_else_fails(bundle: Path, field: str, value: object) -> None:
    """Chain, contract and provider come from outside."""
    verdict = judge(bundle, msgspec.structs.replace(PINS, **{field: value}))
    first = verdict.findings[0]
    assert (verdict.exit_code, first.file, first.field) == (1, MANIFEST, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain_id", 1),
        ("escrow", f"0x{'11' * 20}"),
        ("provider", f"0x{'11' * 20}"),
        ("block", None),
    ],
)
def test_a_manifest_that_claims_something_else_fails(
    bundle: Path, field: str, value: object
) -> None:
    """With no pins at all: the signatures are for another chain, contract or provider."""
    manifest = decode_manifest((bundle / MANIFEST).read_bytes())
    put_manifest(bundle, msgspec.structs.replace(manifest, **{field: value}))
    assert judge(bundle, Pins()).exit_code == 1


def test_findings_are_bounded(bundle: Path) -> None:
    """A bundle that is wrong everywhere does not fill the disk with findings."""
    put_records(bundle, RECEIPTS, records(bundle, RECEIPTS)[:1] * (FINDINGS_MAX + 50))
    verdict = judge(bundle)
    assert (verdict.exit_code, len(verdict.findings)) == (1, FINDINGS_MAX)
    assert "more findings" in list(lines(verdict))[-1]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(file_bytes_max=100),
        Limits(record_bytes_max=100),
        Limits(records_max=1),
        Limits(snapshot_bytes_max=100),
    ],
)
def test_a_file_over_a_limit_fails(bundle: Path, limits: Limits) -> None:
    """Each limit ends the reading, none the program."""
    assert verify(bundle, PINS, limits=limits, snapshot_reader=read_fake_snapshot).exit_code == 1


# --- 2 -------------------------------------------------------------------------------------


def is_malformed(verdict: Verdict) -> bool:
    """Exit code 2, with a reason."""
    return verdict.exit_code == 2 and verdict.findings[0].kind is Kind.MALFORMED


def test_what_is_no_folder_is_malformed(tmp_path: Path) -> None:
    """Nothing there, an empty folder, a text file, a path no system call takes."""
    text = tmp_path / "text"
    text.write_text("hello\n")
    assert is_malformed(judge(tmp_path / "nowhere"))
    assert is_malformed(judge(tmp_path))
    assert is_malformed(judge(text))
    assert is_malformed(judge(Path("a\0b")))
    assert is_malformed(judge(tmp_path / ("n" * 5_000)))


@pytest.mark.parametrize("size", [0, 1, 100, 20_000])
def test_garbage_under_the_right_names_is_malformed(tmp_path: Path, size: int) -> None:
    """Random bytes, as manifest alone and in every file."""
    (tmp_path / MANIFEST).write_bytes(os.urandom(size))
    assert is_malformed(judge(tmp_path))
    for name in (*FILES, CHECKSUM):
        (tmp_path / name).write_bytes(os.urandom(size))
    assert is_malformed(judge(tmp_path))


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"[" * 10_000,
        b'{"format": "rowen-evidence/2"}\n',
        b'{"a": 1, "a": 2}\n',
        b"\xff\xfe",
    ],
)
def test_json_that_is_no_manifest_is_malformed(tmp_path: Path, manifest: bytes) -> None:
    """Even with a checksum that agrees."""
    (tmp_path / MANIFEST).write_bytes(manifest)
    (tmp_path / CHECKSUM).write_bytes(encode_checksum(manifest))
    assert is_malformed(judge(tmp_path))


def test_a_manifest_in_another_encoding_is_malformed(bundle: Path) -> None:
    """It means the same, and could carry what nobody checks: spaces, keys twice."""
    raw = (bundle / MANIFEST).read_bytes()
    for other in (
        raw.rstrip(),
        raw.replace(b"  ", b" "),
        raw.replace(b'"chain_id"', b'"chain_id": 1,\n  "chain_id"'),
        raw.replace(b"31337", b"31337.0"),
        raw.replace(b'"number": 1234', b'"number": 1234, "more": 1'),
    ):
        assert other != raw
        (bundle / MANIFEST).write_bytes(other)
        (bundle / CHECKSUM).write_bytes(encode_checksum(other))
        assert is_malformed(judge(bundle))


def test_a_manifest_cannot_name_other_files(bundle: Path) -> None:
    """No path out of the folder, no name of its own."""
    raw = (bundle / MANIFEST).read_bytes()
    for name in (b"../../secret", b"/etc/passwd", b"orders.csv"):
        other = raw.replace(b"orders.msgpack", name)
        (bundle / MANIFEST).write_bytes(other)
        (bundle / CHECKSUM).write_bytes(encode_checksum(other))
        assert is_malformed(judge(bundle))


def test_a_manifest_that_is_no_file_of_its_own_is_malformed(bundle: Path, tmp_path: Path) -> None:
    """A link could show one of the auditor's files; a pipe would wait for ever."""
    manifest = (bundle / MANIFEST).rename(tmp_path / "elsewhere")
    (bundle / CHECKSUM).unlink()
    (bundle / MANIFEST).symlink_to(manifest)
    assert is_malformed(judge(bundle))
    (bundle / MANIFEST).unlink()
    os.mkfifo(bundle / MANIFEST)
    assert is_malformed(judge(bundle))
    (bundle / MANIFEST).unlink()
    (bundle / MANIFEST).mkdir()
    assert is_malformed(judge(bundle))


# --- 3 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_listed", [True, False])
def test_a_missing_file_leaves_the_verdict_open(
    bundle: Path, name: FileName, is_listed: bool
) -> None:
    """Also when the manifest was written without it."""
    if is_listed:
        (bundle / name).unlink()
    else:
        delist(bundle, name)
    verdict = judge(bundle)
    assert (verdict.status, verdict.exit_code) == (Status.UNDETERMINED, 3)
    assert {(finding.kind, finding.file) for finding in verdict.findings} == {(Kind.MISSING, name)}


@pytest.mark.parametrize("name", [MANIFEST, CHECKSUM])
def test_a_missing_manifest_or_checksum_leaves_the_verdict_open(bundle: Path, name: str) -> None:
    """The other one says that there was a bundle."""
    (bundle / name).unlink()
    verdict = judge(bundle)
    assert (verdict.exit_code, verdict.findings[0].file) == (3, name)


def test_a_bundle_exported_without_snapshot_leaves_the_verdict_open(tmp_path: Path) -> None:
    """Signatures and sums hold, but nothing shows what was paid."""
    verdict = judge(write(small_market(), tmp_path / "bundle", snapshot=b""))
    assert (verdict.exit_code, verdict.findings[0].file) == (3, SNAPSHOT)
    assert verdict.figures.receipts > 0
    assert verdict.figures.claimed_total == 0


def test_a_contradiction_outweighs_what_is_missing(bundle: Path) -> None:
    """Evidence against somebody does not vanish with another file."""
    delist(bundle, SNAPSHOT)
    put_records(bundle, ORDERS, records(bundle, ORDERS)[1:])
    assert judge(bundle).exit_code == 1


@pytest.mark.parametrize("name", STREAMS)
def test_a_changed_file_fails_although_another_is_missing(bundle: Path, name: FileName) -> None:
    """What is left is still held against the manifest."""
    other = ORDERS if name != ORDERS else CHANNELS
    (bundle / other).unlink()
    raw = (bundle / name).read_bytes()
    (bundle / name).write_bytes(raw[:-1])
    assert judge(bundle).exit_code == 1


def test_a_provider_without_channels_leaves_the_verdict_open(tmp_path: Path) -> None:
    """Nothing was signed, so nothing ties the bundle to its chain."""
    assert judge(write(Market(), tmp_path / "bundle")).exit_code == 3


def test_a_file_that_is_a_link_or_a_pipe_is_not_read(bundle: Path, tmp_path: Path) -> None:
    """The audit does not hang and shows nothing of what the link leads to."""
    target = (bundle / ORDERS).rename(tmp_path / "elsewhere")
    (bundle / ORDERS).symlink_to(target)
    assert judge(bundle).exit_code == 3
    (bundle / ORDERS).unlink()
    os.mkfifo(bundle / ORDERS)
    assert judge(bundle).exit_code == 3


# --- telling -------------------------------------------------------------------------------


def test_a_verdict_is_one_json_object_with_amounts_as_text(bundle: Path) -> None:
    """Amounts pass 2^53, which many readers of JSON round."""
    told = json.loads(judge(bundle).to_json())
    assert (told["status"], told["exit_code"], told["findings"]) == ("verified", 0, [])
    assert told["figures"]["claimed_total"] == str(judge(bundle).figures.claimed_total)
    assert told["checked_against"][0] == {
        "name": "chain_id",
        "value": str(DOMAIN.chain_id),
        "is_pinned": True,
    }
    (bundle / ORDERS).write_bytes(b"")
    rewrite(bundle)
    assert json.loads(judge(bundle).to_json())["findings"][0]["file"] == ORDERS


def test_a_finding_is_told_with_what_was_expected_and_what_was_found(bundle: Path) -> None:
    """One line a finding."""
    verdict = judge(bundle, Pins(provider=bytes(20)))
    text = [line for line in lines(verdict) if line.startswith("failed:")]
    assert f"expected 0x{bytes(20).hex()}, found 0x{PROVIDER.address.hex()}" in text[0]


def test_a_finding_carries_no_control_characters(bundle: Path) -> None:
    """Threat 57: a terminal obeys them, and whoever made the bundle chose them."""
    for key in (b"\\u001b[2J", b"\\n" * 8_000, "\u202e".encode()):
        raw = (bundle / MANIFEST).read_bytes().replace(b"chain_id", key)
        (bundle / MANIFEST).write_bytes(raw)
        (bundle / CHECKSUM).write_bytes(encode_checksum(raw))
        (line,) = [line for line in lines(judge(bundle)) if line.startswith("malformed")]
        assert line.isprintable()
        assert len(line) < 1_000


# --- what it does not do -------------------------------------------------------------------


def test_an_audit_opens_no_socket_and_starts_no_program(bundle: Path) -> None:
    """Threat 42: whatever the bundle says, from the first import on."""
    program = f"""
import sys
banned = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork")
def refuse(event, arguments):
    assert not event.startswith(banned), event
sys.addaudithook(refuse)
from pathlib import Path
from rowen.auditor.verify import verify
verdict = verify(Path({str(bundle)!r}))
assert not {{"web3", "libp2p", "httpx", "sqlalchemy"}} & set(sys.modules)
print(verdict.exit_code)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    # The fake snapshot is none for the real reader, which is reached and refuses it.
    assert (ran.stdout, ran.stderr) == ("1\n", "")
