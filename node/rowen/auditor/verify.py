"""Reads a bundle and judges it: no network, no code from it, bounded time and memory.

Whatever a folder holds, the answer is a verdict, never an exception. A manifest that agrees
with its checksum makes it a bundle, whose faults are then failures; two that disagree mean one
of them was altered, as long as one can still be read; anything else is no bundle.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from rowen.auditor.bundle import Absent, BundleFile, Folder, Unreadable
from rowen.auditor.snapshots import SnapshotReader, read_snapshot
from rowen.auditor.verdict import Pins, Status, Verdict, anchors, status_of
from rowen.protocol.audit import Audit
from rowen.protocol.audit_channel import Figures
from rowen.protocol.audit_facts import ChainFacts
from rowen.protocol.audit_findings import Enough, Findings, Kind
from rowen.protocol.errors import PeerError
from rowen.protocol.evidence import (
    CHANNELS,
    CHECKSUM,
    CHECKSUM_BYTES_MAX,
    FILES,
    LIMITS,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    ORDERS,
    RECEIPTS,
    SNAPSHOT,
    STREAMS,
    VOUCHERS,
    BadRecord,
    ChannelRecord,
    FileName,
    Limits,
    Manifest,
    RecordReader,
    decode_checksum,
    decode_manifest,
)
from rowen.protocol.messages import Signed

T = TypeVar("T")


def verify(
    path: Path,
    pins: Pins | None = None,
    *,
    limits: Limits = LIMITS,
    snapshot_reader: SnapshotReader = read_snapshot,
) -> Verdict:
    """Judges the bundle in a folder.

    Args:
        path: The folder.
        pins: What the auditor knows from elsewhere.
        limits: What is read before giving up.
        snapshot_reader: How to read the chain snapshot.
    """
    work = _Verification(snapshot_reader, pins or Pins(), limits)
    try:
        with Folder(path) as folder:
            work.run(folder)
    except (Absent, Unreadable) as error:
        work.refuse(str(error))
    except Enough:
        pass
    return work.verdict()


class _Verification:
    """One run; its methods follow the files of a bundle."""

    def __init__(self, snapshot_reader: SnapshotReader, pins: Pins, limits: Limits) -> None:
        self._snapshot_reader = snapshot_reader
        self._pins = pins
        self._limits = limits
        self._findings = Findings()
        self._manifest: Manifest | None = None
        self._audit: Audit | None = None
        self._facts: ChainFacts | None = None
        self._is_finished = False

    def run(self, folder: Folder) -> None:
        manifest = self._read_manifest(folder)
        if manifest is None:
            return
        self._manifest = manifest
        self._check_pins(manifest)
        missing = {name for name in FILES if not self._is_there(folder, manifest, name)}
        audit = Audit(manifest.domain, manifest.provider_address, self._findings)
        self._audit = audit
        if missing & set(STREAMS):
            # Without one of them the others contradict each other everywhere: only read them.
            for name in (name for name in STREAMS if name not in missing):
                kind = ChannelRecord if name == CHANNELS else Signed
                self._stream(folder, name, kind, lambda _record, _value: None)
            return
        self._stream(folder, CHANNELS, ChannelRecord, audit.channel)
        self._stream(folder, VOUCHERS, Signed, audit.voucher)
        if SNAPSHOT not in missing:
            self._snapshot(folder, audit)
        self._stream(folder, ORDERS, Signed, audit.order)
        self._stream(folder, RECEIPTS, Signed, audit.receipt)
        audit.finish()
        if not audit.figures().channels:
            self._findings.add(Kind.MISSING, CHANNELS, "there is no channel to verify")
        self._is_finished = True

    def refuse(self, detail: str) -> None:
        """Says that this is no bundle."""
        self._findings.add(Kind.MALFORMED, "", detail)

    def verdict(self) -> Verdict:
        findings = self._findings.items
        status = status_of(findings)
        assert status is not Status.VERIFIED or (self._is_finished and self._facts is not None)
        manifest, facts = self._manifest, self._facts
        own = Pins()
        if manifest is not None:
            own = Pins(
                chain_id=manifest.chain_id,
                escrow=manifest.domain.escrow,
                provider=manifest.provider_address,
                block_hash=facts.block_hash if facts else None,
            )
        return Verdict(
            status=status,
            figures=self._audit.figures() if self._audit else Figures(),
            checked_against=anchors(self._pins, own, facts.block_number if facts else None),
            findings=tuple(findings),
        )

    # --- the manifest

    def _read_manifest(self, folder: Folder) -> Manifest | None:
        raw, manifest, manifest_wrong = _read(folder, MANIFEST, MANIFEST_BYTES_MAX, decode_manifest)
        line, digest, checksum_wrong = _read(folder, CHECKSUM, CHECKSUM_BYTES_MAX, decode_checksum)
        found = sha256(raw).digest() if raw else b""
        if manifest is not None and digest is not None and digest != found:
            detail = "manifest and checksum disagree: one of the two was altered"
            self._fail(MANIFEST, detail, field="sha256", expected=digest, actual=found)
        elif manifest is not None and digest is None:
            if line is None:
                # Good for the rest, but nothing shows that the manifest is what was handed over.
                self._findings.add(Kind.MISSING, CHECKSUM, checksum_wrong)
                return manifest
            self._fail(CHECKSUM, checksum_wrong, field="sha256", expected=found)
        elif manifest is None and digest is not None and digest != found:
            if raw is None:
                self._findings.add(Kind.MISSING, MANIFEST, manifest_wrong)
            else:
                self._fail(MANIFEST, manifest_wrong, field="sha256", expected=digest, actual=found)
        elif manifest is None:
            self._findings.add(
                Kind.MALFORMED, MANIFEST, f"not an evidence bundle: {manifest_wrong}"
            )
        else:
            return manifest
        return None

    def _check_pins(self, manifest: Manifest) -> None:
        for name, pinned, said in (
            ("chain_id", self._pins.chain_id, manifest.chain_id),
            ("escrow", self._pins.escrow, manifest.domain.escrow),
            ("provider", self._pins.provider, manifest.provider_address),
        ):
            if pinned is not None and pinned != said:
                detail = "the bundle is not about what was asked for"
                self._fail(MANIFEST, detail, field=name, expected=pinned, actual=said)

    # --- the files

    def _is_there(self, folder: Folder, manifest: Manifest, name: FileName) -> bool:
        if name not in manifest.files:
            self._findings.add(Kind.MISSING, name, "the manifest lists no such file")
            return False
        try:
            with folder.open(name):
                return True
        except Absent:
            self._findings.add(Kind.MISSING, name, "the file is missing")
        except Unreadable as error:
            self._findings.add(Kind.MISSING, name, f"the file {error}")
        return False

    def _stream(
        self,
        folder: Folder,
        name: FileName,
        kind: type[T],
        feed: Callable[[int, T], None],
    ) -> None:
        reader = RecordReader(kind, self._limits)
        limit = self._limits.file_bytes_max
        try:
            with folder.open(name) as file:
                try:
                    for index, record in enumerate(reader.read(file.chunks(limit))):
                        feed(index, record)
                    self._check_records(name, reader.count)
                except BadRecord as error:
                    self._fail(name, str(error), record=error.index)
                for _ in file.chunks(limit):
                    pass
                self._check_file(name, file)
        except (Absent, Unreadable) as error:
            self._fail(name, str(error))

    def _snapshot(self, folder: Folder, audit: Audit) -> None:
        manifest = self._manifest
        assert manifest is not None
        try:
            with folder.open(SNAPSHOT) as file:
                raw = b"".join(file.chunks(self._limits.snapshot_bytes_max))
                self._check_file(SNAPSHOT, file)
        except (Absent, Unreadable) as error:
            self._fail(SNAPSHOT, str(error))
            return
        self._check_records(SNAPSHOT, 1)
        try:
            facts = self._snapshot_reader(raw, manifest.domain, manifest.provider_address)
        except PeerError as error:
            self._fail(SNAPSHOT, str(error))
            return
        self._facts = facts
        block = manifest.block
        detail = "the manifest names another block"
        for field, said, actual in (
            ("number", block.number if block else None, facts.block_number),
            ("hash", manifest.block_hash, facts.block_hash),
        ):
            if said != actual:
                self._fail(SNAPSHOT, detail, field=field, expected=said, actual=actual)
        pinned = self._pins.block_hash
        if pinned is not None and pinned != facts.block_hash:
            detail = "the block is not the one asked for"
            self._fail(SNAPSHOT, detail, field="hash", expected=pinned, actual=facts.block_hash)
        audit.chain(facts)

    def _check_file(self, name: FileName, file: BundleFile) -> None:
        assert self._manifest is not None
        entry = self._manifest.files[name]
        for field, expected, actual in (
            ("bytes", entry.bytes, file.size),
            ("sha256", entry.sha256, file.digest()),
        ):
            if expected != actual:
                detail = "the file is not the one in the manifest"
                self._fail(name, detail, field=field, expected=expected, actual=actual)

    def _check_records(self, name: FileName, count: int) -> None:
        assert self._manifest is not None
        listed = self._manifest.files[name].records
        if listed != count:
            detail = "the manifest lists another number of records"
            self._fail(name, detail, field="records", expected=listed, actual=count)

    def _fail(
        self,
        file: str,
        detail: str,
        *,
        record: int | None = None,
        field: str = "",
        expected: object = "",
        actual: object = "",
    ) -> None:
        self._findings.add(
            Kind.FAILED,
            file,
            detail,
            record=record,
            field=field,
            expected=expected,
            actual=actual,
        )


def _read(
    folder: Folder, name: str, bytes_max: int, decode: Callable[[bytes], T]
) -> tuple[bytes | None, T | None, str]:
    """The bytes, what they mean, and what is wrong; each None or "" when it is not so."""
    try:
        raw = folder.read(name, bytes_max)
    except Absent:
        return None, None, "the file is missing"
    except Unreadable as error:
        return b"", None, f"the file {error}"
    try:
        return raw, decode(raw), ""
    except PeerError as error:
        return raw, None, str(error)
