"""One process a journal: two nodes with one key would sign two truths."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rowen.protocol.errors import UserError


@contextmanager
def only_process(path: Path) -> Iterator[None]:
    """Holds ``<path>.lock``. The kernel lets go of it however this process ends.

    The file stays: removing it would let two processes hold locks on two files of one name.

    Raises:
        UserError: Another process holds it, which the message names; or the file cannot be made.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(f"cannot write {lock}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise UserError(
                f"{path} is in use by process {holder}: stop that node first, or give this one "
                "a home and keys of its own"
            ) from error
        # It says who holds the lock; on a full disk the lock holds all the same.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
