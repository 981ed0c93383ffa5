"""Threat 42: whatever a folder holds, an audit answers with a verdict."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.auditor.market import judge, rewrite, small_market, write

from rowen.auditor.verdict import Pins, Status, lines
from rowen.protocol.errors import PeerError
from rowen.protocol.evidence import (
    CHECKSUM,
    FILES,
    MANIFEST,
    RECEIPTS,
    BadRecord,
    RecordReader,
    decode_checksum,
    decode_manifest,
    encode_checksum,
    encode_manifest,
    encode_record,
)
from rowen.protocol.messages import Signed

NAMES = (*FILES, MANIFEST, CHECKSUM)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.integers(0, 2**16),
        st.integers(0, 300),
        st.binary(max_size=300),
    ),
    min_size=1,
    max_size=4,
)
# The first bytes of maps, arrays, strings, integers and extensions, with lengths that lie.
BOMBS = st.sampled_from(
    [
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x00",
        b"\x81" * 3_000,
        b"\x91" * 3_000,
        b"\x90" * 3_000,
        b"\x82\xa5words\x82\xa5words",
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xc1",
    ]
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(small_market(), tmp_path_factory.mktemp("original") / "bundle")


def copied(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edited")
    for file in original.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


@given(edits=EDITS, is_forged=st.booleans())
def test_no_edit_is_verified_and_none_breaks_the_auditor(
    original: Path,
    tmp_path_factory: pytest.TempPathFactory,
    edits: list[tuple[str, int, int, bytes]],
    is_forged: bool,
) -> None:
    """Bytes cut out, put in and replaced, anywhere, with or without a matching manifest."""
    path = copied(original, tmp_path_factory)
    for name, at, cut, put in edits:
        raw = (path / name).read_bytes()
        start = at % (len(raw) + 1)
        (path / name).write_bytes(raw[:start] + put + raw[start + cut :])
    if is_forged:
        with suppress(PeerError):
            rewrite(path)
    is_same = all((path / name).read_bytes() == (original / name).read_bytes() for name in NAMES)
    verdict = judge(path, Pins())
    assert (verdict.status is Status.VERIFIED) == is_same
    assert verdict.to_json()
    assert list(lines(verdict))


@given(files=st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=2_000) | BOMBS))
def test_a_folder_of_garbage_is_malformed(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    """Nothing in it says that it ever was a bundle."""
    path = tmp_path_factory.mktemp("garbage")
    for name, raw in files.items():
        (path / name).write_bytes(raw)
    assert judge(path).exit_code == 2


@given(bomb=BOMBS | st.binary(max_size=2_000), at=st.integers(0, 30))
def test_a_record_that_is_none_ends_the_stream(bomb: bytes, at: int) -> None:
    """Records before it are read, and it is named; nothing else is raised."""
    stream = encode_record(Signed(b"w" * 512, bytes(64))) * at + bomb
    reader = RecordReader(Signed)
    named = -1
    try:
        for record in reader.read(stream[i : i + 777] for i in range(0, len(stream), 777)):
            assert stream.find(encode_record(record)) >= 0
    except BadRecord as error:
        named = error.index
    # No bytes at all are the only thing here that is no record and yet no fault.
    assert reader.count == at
    assert named == (at if bomb else -1)


@given(st.binary(max_size=500))
def test_a_manifest_has_one_encoding(raw: bytes) -> None:
    """What is accepted is what would be written."""
    with suppress(PeerError):
        assert encode_manifest(decode_manifest(raw)) == raw
    with suppress(PeerError):
        assert len(decode_checksum(raw)) == 32


def test_a_bomb_among_receipts_is_named(
    original: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By file and record; what came before it was still judged."""
    path = copied(original, tmp_path_factory)
    raw = (path / RECEIPTS).read_bytes()
    (path / RECEIPTS).write_bytes(raw + b"\x81" * 100_000)
    rewrite(path)
    assert (path / CHECKSUM).read_bytes() == encode_checksum((path / MANIFEST).read_bytes())
    first = judge(path).findings[0]
    assert (first.file, first.record) == (RECEIPTS, 17)
