"""A bundle in the making: a hidden folder beside its place, moved there when it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from hashlib import sha256
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from rowen.protocol.errors import UserError
from rowen.protocol.evidence import (
    CHECKSUM,
    MANIFEST,
    SNAPSHOT,
    STREAMS,
    FileEntry,
    FileName,
    encode_checksum,
)

_BUFFER_BYTES = 1 << 20


class _DraftFile:
    """One file; writes reach the disk a megabyte at a time, since each is a thread's work."""

    def __init__(self, path: Path) -> None:
        # Our own buffer is the only one: what a full disk did not take is not tried again.
        self._file = FileIO(path, "xb")
        self._buffer = bytearray()
        self._hash = sha256()
        self._size = 0
        self._records = 0

    async def add(self, record: bytes) -> None:
        self._buffer += record
        self._hash.update(record)
        self._size += len(record)
        self._records += 1
        if len(self._buffer) >= _BUFFER_BYTES:
            await trio.to_thread.run_sync(self._write)

    def _write(self) -> None:
        # A file without a buffer may take less than it is given.
        while self._buffer:
            del self._buffer[: self._file.write(self._buffer)]

    def finish(self) -> None:
        self._write()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        self._file.close()

    def entry(self) -> FileEntry:
        return FileEntry(self._hash.hexdigest(), self._size, self._records)


class Draft:
    """An async context; leaving it without ``publish`` leaves nothing behind.

    Args:
        path: Where the bundle will be.

    Raises:
        UserError: On entering, when nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[FileName, _DraftFile] = {}
        self._folder = path

    async def __aenter__(self) -> Self:
        make = partial(
            tempfile.mkdtemp,
            prefix=f".{self._path.name}.",
            suffix=".draft",
            dir=self._path.parent,
        )
        try:
            self._folder = Path(await trio.to_thread.run_sync(make))
        except OSError as error:
            raise UserError(f"cannot write in {self._path.parent}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{str(self._path)!a} is no name of a folder: {error}") from error
        try:
            for name in STREAMS:
                self._files[name] = self._new_file(name)
        except UserError:
            self._clear()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Local and quick, and a cancelled export must not leave its draft either.
        self._clear()

    def _clear(self) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _new_file(self, name: FileName) -> _DraftFile:
        try:
            return _DraftFile(self._folder / name)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self._path}: {error.strerror}")

    async def add(self, name: FileName, record: bytes) -> None:
        """Appends an encoded record to a file.

        Raises:
            UserError: The disk is full, or fails.
        """
        if name not in self._files:
            assert name == SNAPSHOT
            self._files[name] = self._new_file(name)
        try:
            await self._files[name].add(record)
        except OSError as error:
            raise self._unwritable(error) from error

    def entries(self) -> dict[FileName, FileEntry]:
        """What the manifest says of the files as they are now."""
        return {name: file.entry() for name, file in self._files.items()}

    async def publish(self, manifest: bytes) -> None:
        """Puts the bundle in its place, or finds the very same one there.

        Raises:
            UserError: Something else is there, or the disk is full.
        """
        await trio.to_thread.run_sync(self._publish, manifest)

    def _publish(self, manifest: bytes) -> None:
        try:
            for file in self._files.values():
                file.finish()
            for name, raw in ((MANIFEST, manifest), (CHECKSUM, encode_checksum(manifest))):
                with (self._folder / name).open("xb") as out:
                    out.write(raw)
                    out.flush()
                    os.fsync(out.fileno())
            if self._path.exists():
                self._require_same()
                return
            # mkdtemp made it for its owner alone; a bundle is meant to be handed on.
            self._folder.chmod(0o755)
            self._folder.rename(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise self._unwritable(error) from error

    def _require_same(self) -> None:
        for ours in self._folder.iterdir():
            theirs = self._path / ours.name
            if not theirs.is_file() or _digest(theirs) != _digest(ours):
                raise UserError(
                    f"{self._path} exists and is not this bundle ({ours.name} differs):"
                    " remove it, or choose another folder"
                )


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        digest = sha256()
        while chunk := file.read(_BUFFER_BYTES):
            digest.update(chunk)
    return digest.digest()


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
