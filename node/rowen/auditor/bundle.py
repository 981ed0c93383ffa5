"""A bundle's folder, opened as something that a stranger may have prepared.

Only names of our own are opened, no link is followed, and nothing but regular files is read:
a pipe would hang us, and a link could show the auditor's own files in a finding.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Absent(Exception):
    """The file or folder is not there."""


class Unreadable(Exception):
    """It is there, but nothing we read: a link, a device, too large, or forbidden."""


class BundleFile:
    """One file of a bundle, read once from start to end; its checksum forms on the way.

    Attributes:
        size: Bytes read so far.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hash = hashlib.sha256()
        self.size = 0

    def chunks(self, bytes_max: int) -> Iterator[bytes]:
        """The bytes, in pieces.

        Raises:
            Unreadable: More than ``bytes_max``, or the disk fails.
        """
        while True:
            try:
                chunk = os.read(self._fd, CHUNK_BYTES)
            except OSError as error:
                raise Unreadable(f"cannot be read: {error.strerror}") from error
            if not chunk:
                return
            self.size += len(chunk)
            if self.size > bytes_max:
                raise Unreadable(f"has over {bytes_max} bytes")
            self._hash.update(chunk)
            yield chunk

    def digest(self) -> str:
        """SHA-256 of what was read, 64 hexadecimal digits."""
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)


class Folder:
    """An open bundle folder.

    Raises:
        Absent: Nothing has that name.
        Unreadable: It is not a folder, or is forbidden.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise Absent(f"{path} does not exist") from error
        except OSError as error:
            raise Unreadable(f"{path} is no folder to read: {error.strerror}") from error
        except ValueError as error:
            raise Unreadable("the path holds a NUL byte") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def open(self, name: str) -> BundleFile:
        """One of its files.

        Raises:
            Absent: There is none of that name.
            Unreadable: Not a regular file, or forbidden.
        """
        try:
            fd = os.open(name, _FLAGS, dir_fd=self._fd)
        except FileNotFoundError as error:
            raise Absent(f"{name} does not exist") from error
        except OSError as error:
            reason = "is a link" if error.errno == errno.ELOOP else f"{error.strerror}"
            raise Unreadable(f"cannot be opened: {reason}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Unreadable("is not a regular file")
        return BundleFile(fd)

    def read(self, name: str, bytes_max: int) -> bytes:
        """All of a small file.

        Raises:
            Absent: There is none of that name.
            Unreadable: Not a regular file, forbidden, or over ``bytes_max``.
        """
        with self.open(name) as file:
            return b"".join(file.chunks(bytes_max))
