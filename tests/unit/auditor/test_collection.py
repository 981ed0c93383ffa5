"""Bundles of several providers in one folder are judged together; the worst decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.auditor.market import judge, small_market, write

from rowen.auditor.collection import verify_all
from rowen.auditor.verdict import Pins, Status, Verdict
from rowen.protocol.evidence import CHECKSUM, MANIFEST, RECEIPTS, SNAPSHOT


def verdict_of(folder: Path) -> Verdict:
    return verify_all(folder, judge=lambda path, _pins: judge(path, Pins()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundles").mkdir()
    for name in ("alder", "birch"):
        write(small_market(), tmp_path / "bundles" / name)
    return tmp_path / "bundles"


def test_all_verified_is_verified_and_figures_add_up(folder: Path) -> None:
    one, both = judge(folder / "alder", Pins()), verdict_of(folder)
    assert both.status is Status.VERIFIED
    assert both.figures.receipts == 2 * one.figures.receipts > 0
    assert {a.name.split("/")[0] for a in both.checked_against} == {"alder", "birch"}


def test_a_bundle_by_itself_is_judged_as_before(folder: Path) -> None:
    assert verdict_of(folder / "birch") == judge(folder / "birch", Pins())


def test_a_flipped_byte_in_one_fails_the_whole_and_is_named(folder: Path) -> None:
    file = folder / "birch" / RECEIPTS
    raw = bytearray(file.read_bytes())
    raw[100] ^= 1
    file.write_bytes(raw)
    verdict = verdict_of(folder)
    assert verdict.exit_code == 1
    assert verdict.findings[0].file == f"birch/{RECEIPTS}"


def test_a_snapshot_left_out_of_one_leaves_the_whole_undetermined(folder: Path) -> None:
    (folder / "alder" / SNAPSHOT).unlink()
    assert verdict_of(folder).exit_code == 3


def test_a_bundle_without_its_manifest_does_not_pass_unnoticed(folder: Path) -> None:
    (folder / "alder" / MANIFEST).unlink()
    (folder / "alder" / CHECKSUM).unlink()
    assert verdict_of(folder).exit_code == 2


def test_a_stray_file_among_bundles_is_malformed(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    assert verdict_of(folder).exit_code == 2


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"garbage")])
def test_what_holds_no_bundle_is_malformed(tmp_path: Path, make: object) -> None:
    path = tmp_path / "nothing"
    assert callable(make)
    make(path)
    assert verdict_of(path).exit_code == 2
