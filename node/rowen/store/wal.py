"""Whether SQLite's write-ahead log lost something that was acknowledged.

SQLite reads the log up to the first frame whose checksum fails and takes that for its end. After
a power cut it is: the last transaction was not on disk yet, and was not acknowledged. But when a
frame rots in the middle, every transaction after it would vanish without a word. The two differ
in what follows: each commit waits for the disk, so behind a broken frame an honest log has at
most the rest of one transaction.

Rot in the very last transaction cannot be told from a power cut; it shows when the peer is asked.

Source of the format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct, unpack
from typing import BinaryIO, NamedTuple

from rowen.store.base import JournalCorrupt
from rowen.store.sealing import MEND

_HEADER = Struct(">IIIIIIII")
_FRAME = Struct(">IIIIII")
_MAGIC = 0x377F0682  # its lowest bit says in which byte order the checksums are computed
_MASK = 0xFFFFFFFF


class _Frame(NamedTuple):
    """One page in the log.

    Attributes:
        is_commit: Whether it ends a transaction.
        is_read: Whether SQLite goes on past it.
    """

    is_commit: bool
    is_read: bool


def check_wal(path: Path) -> None:
    """Checks the log beside a database file that no process has open.

    Raises:
        JournalCorrupt: Acknowledged transactions cannot be read.
    """
    wal = path.with_name(path.name + "-wal")
    if not wal.exists():
        return
    with wal.open("rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or not any(header):
            # Created, and the machine stopped before anything was in it.
            return
        magic, _, page_bytes, _, *salts_and_sums = _HEADER.unpack(header)
        salts, sums = tuple(salts_and_sums[:2]), tuple(salts_and_sums[2:])
        order = ">" if magic & 1 else "<"
        if magic & ~1 != _MAGIC or _sums(header[:24], (0, 0), order) != sums:
            raise JournalCorrupt(f"the journal's log {wal} has a broken header. {MEND}")
        frames = list(_frames(file, page_bytes, (salts, sums), order))
    end = next((n for n, frame in enumerate(frames) if not frame.is_read), len(frames))
    lost = frames[end:]
    if any(frame.is_commit for frame in lost[:-1]):
        raise JournalCorrupt(
            f"the journal's log {wal} is broken at frame {end}, with {len(lost)} frames of "
            f"acknowledged transactions from there on. {MEND}"
        )


def _frames(
    file: BinaryIO,
    page_bytes: int,
    salts_and_sums: tuple[tuple[int, ...], tuple[int, ...]],
    order: str,
) -> Iterator[_Frame]:
    """The frames of this run of the log; those of earlier runs may stand behind them.

    Salts name the run. The sums run on from frame to frame but do not cover the salts, so a
    frame whose sums are right is of this run even when its salts have rotted.
    """
    salts, sums = salts_and_sums
    is_sound = is_read = True
    while len(raw := file.read(_FRAME.size + page_bytes)) == _FRAME.size + page_bytes:
        _, size_after_commit, *salts_and_sums_found = _FRAME.unpack_from(raw)
        if is_sound:
            sums = _sums(raw[_FRAME.size :], _sums(raw[:8], sums, order), order)
            is_sound = sums == tuple(salts_and_sums_found[2:])
        is_salted = salts == tuple(salts_and_sums_found[:2])
        is_read = is_read and is_sound and is_salted
        if is_sound or is_salted:
            yield _Frame(size_after_commit != 0, is_read)


def _sums(data: bytes, sums: tuple[int, ...], order: str) -> tuple[int, int]:
    first, second = sums
    words = iter(unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
