"""Bundles of several providers in one folder are judged together; the worst decides."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.unit.auditor.market import DOMAIN, judge, small_market, write

from rowen.auditor.collection import verify_all
from rowen.auditor.verdict import Pins, Status, Verdict, lines
from rowen.protocol.eip712 import Domain
from rowen.protocol.evidence import CHECKSUM, MANIFEST, RECEIPTS, SNAPSHOT

ELSEWHERE = Domain(DOMAIN.chain_id + 1, DOMAIN.escrow)


def verdict_of(folder: Path) -> Verdict:
    return verify_all(folder, judge=lambda path, _pins: judge(path, Pins()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bundles").mkdir()
    for name, domain in (("alder", DOMAIN), ("birch", ELSEWHERE)):
        write(small_market(domain), tmp_path / "bundles" / name)
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


def test_money_that_stands_in_two_bundles_does_not_count_twice(folder: Path) -> None:
    """A copy of a bundle under another name is named."""
    shutil.copytree(folder / "alder", folder / "copy")
    verdict = verdict_of(folder)
    assert verdict.exit_code == 2
    assert [finding.file for finding in verdict.findings] == ["copy"]
    assert "alder" in verdict.findings[0].detail
    assert verdict.figures.receipts == 2 * judge(folder / "alder", Pins()).figures.receipts


def test_a_link_among_bundles_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "birch").rename(tmp_path / "elsewhere")
    (folder / "birch").symlink_to(tmp_path / "elsewhere")
    verdict = verdict_of(folder)
    assert (verdict.exit_code, verdict.findings[0].file) == (2, "birch")
    assert "link" in str(verdict.findings[0])


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\x1b[2J", b"a\nVERIFIED (exit code 0)"])
def test_a_name_that_a_stranger_chose_is_harmless(folder: Path, name: bytes) -> None:
    """It may be no text, or one that a terminal obeys."""
    (folder / os.fsdecode(name)).mkdir()
    verdict = verdict_of(folder)
    assert verdict.exit_code == 2
    assert verdict.to_json()
    assert all(line.isprintable() for line in lines(verdict))


def test_a_stray_file_among_bundles_is_malformed(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    assert verdict_of(folder).exit_code == 2


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"garbage")])
def test_what_holds_no_bundle_is_malformed(tmp_path: Path, make: object) -> None:
    path = tmp_path / "nothing"
    assert callable(make)
    make(path)
    assert verdict_of(path).exit_code == 2
