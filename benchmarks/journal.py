"""Vouchers made durable, beside a thread that appends as many bytes and waits for the disk."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from benchmarks import trade
from benchmarks.compare import Pair, Row, row_of
from rowen.protocol.ids import channel_id_of
from rowen.protocol.messages import Signed, seal
from rowen.protocol.signing import Key
from rowen.protocol.statements import Voucher
from rowen.store.base import ChannelOpened, Entry, OrderKept, ReceiptKept, VoucherKept
from rowen.store.journal import SqliteJournal, open_journal

TASKS = 64
SCRATCH = Path(__file__).resolve().parent.parent / "build" / "benchmarks"
"""On the disk of the clone: the system's own temporary directory may be memory."""

_ROUND = 8
"""Vouchers a task appends in one batch, one after the other."""

_ROW_BYTES = 32 + 8 + 8 + 12 + 160 + 64 + 16
"""Columns of a row of table ``vouchers``."""


def durable_vouchers(seconds: float) -> list[Row]:
    """64 clients pay at once; every voucher is on disk before its append returns."""
    return trio.run(_measure, seconds)


async def _measure(seconds: float) -> list[Row]:
    appended: list[Pair] = []
    overwritten: list[Pair] = []
    with (
        scratch() as directory,
        _Appender(directory / "longer", fresh=True) as appending,
        _Appender(directory / "same", fresh=False) as overwriting,
    ):
        async with open_journal(directory / "journal", bytes(32)) as journal:
            payers = [_Payer(number, journal) for number in range(TASKS)]
            async with trio.open_nursery() as nursery:
                for payer in payers:
                    nursery.start_soon(payer.open)
            until = time.monotonic() + seconds
            while len(appended) < 3 or time.monotonic() < until:
                await _add_pairs(payers, appending, overwriting, appended, overwritten)
    return [
        row_of(
            appended,
            bench="journal",
            name="durable vouchers, 64 tasks",
            unit="/s",
            against="write + fdatasync, appending",
            sense="at least",
            target=0.7,
        ),
        row_of(
            overwritten,
            bench="journal",
            name="durable vouchers, 64 tasks",
            unit="/s",
            against="write + fdatasync, in place",
        ),
    ]


async def _add_pairs(
    payers: list[_Payer],
    appending: _Appender,
    overwriting: _Appender,
    appended: list[Pair],
    overwritten: list[Pair],
) -> None:
    async with trio.open_nursery() as nursery:
        for payer in payers:
            nursery.start_soon(payer.prepare, _ROUND)
    is_odd = len(appended) % 2 == 1
    raw = [_rate(side) for side in (appending, overwriting)] if is_odd else []
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for payer in payers:
            nursery.start_soon(payer.pay)
    ours = TASKS * _ROUND / (time.perf_counter() - began)
    raw = raw or [_rate(side) for side in (appending, overwriting)]
    appended.append(Pair(ours, raw[0]))
    overwritten.append(Pair(ours, raw[1]))


def _rate(side: _Appender) -> float:
    began = time.perf_counter()
    side.run(TASKS * _ROUND // 2)
    return TASKS * _ROUND // 2 / (time.perf_counter() - began)


class _Payer:
    """One channel at its provider, and the task that keeps its vouchers."""

    def __init__(self, number: int, journal: SqliteJournal) -> None:
        self._journal = journal
        self._key = Key(sha256(f"payer {number}".encode()).digest())
        signer = self._key.address
        self._opened = ChannelOpened(
            channel_id=channel_id_of(trade.PAYER, trade.PROVIDER.address, signer),
            role="seller",
            chain_id=trade.DOMAIN.chain_id,
            escrow=trade.DOMAIN.escrow,
            payer=trade.PAYER,
            provider=trade.PROVIDER.address,
            signer=signer,
        )
        self._job_id = trade.named(f"job of {number}")
        self._count = 0
        self._due: list[VoucherKept] = []

    async def open(self) -> None:
        """Opens the channel with one job on it."""
        kept = OrderKept(
            channel_id=self._opened.channel_id,
            job_id=self._job_id,
            order=seal(trade.order(0), trade.DOMAIN, self._key),
            salt=trade.SALT,
            input=trade.INPUT,
            started_at_ms=trade.NOW_MS,
        )
        await self._journal.append(self._opened, kept)

    async def prepare(self, count: int) -> None:
        """Keeps the receipts and signs the vouchers of one batch; this is not measured."""
        receipts: list[Entry] = []
        for _ in range(count):
            receipt = ReceiptKept(
                channel_id=self._opened.channel_id,
                sequence=self._count,
                job_id=self._job_id,
                receipt=Signed(bytes(512), bytes(64)),
                text=" hay" * 100,
            )
            receipts.append(receipt)
            self._count += 1
            owed = Voucher(
                payer=trade.PAYER,
                provider=trade.PROVIDER.address,
                total=435 * self._count,
                receipt_count=self._count,
                receipts_root=trade.named(self._count),
            )
            kept = VoucherKept(
                channel_id=self._opened.channel_id,
                receipt_count=owed.receipt_count,
                total=owed.total,
                voucher=seal(owed, trade.DOMAIN, self._key),
            )
            self._due.append(kept)
        await self._journal.append(*receipts)

    async def pay(self) -> None:
        """Appends the vouchers one by one, each when the one before is durable."""
        for kept in self._due:
            await self._journal.append(kept)
        self._due.clear()


class _Appender:
    """Writes rows of the same size and waits for the disk after each.

    Args:
        path: File to create.
        fresh: Whether the file grows; else it is written once and then again from its start.
    """

    _ROWS = TASKS * _ROUND

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._fresh = fresh
        if not fresh:
            os.write(self._descriptor, bytes(_ROW_BYTES * self._ROWS))
            os.fsync(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def run(self, count: int) -> None:
        """Makes that many rows durable, one by one."""
        row = os.urandom(_ROW_BYTES)
        if not self._fresh:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        for _ in range(count):
            os.write(self._descriptor, row)
            _datasync(self._descriptor)


_datasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        yield Path(name)
