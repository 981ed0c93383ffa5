"""An engine's process, started and supervised by the node.

It ends with the node, however the node ends. A small shell stands between the two and reads a
pipe whose other end only this process holds: closing it, on purpose or by the kernel after
``kill -9``, makes the shell end the engine and all it started, politely at first. (Linux's
PR_SET_PDEATHSIG would not do: it fires when the *thread* that forked ends, and macOS has none.)
A session of its own keeps a terminal's Ctrl-C from reaching the engine before the node has
finished with it.
"""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final

import psutil
import structlog
import trio

from rowen.protocol.errors import UserError

log = structlog.get_logger("rowen.engine")

BACKOFF_S_MIN: Final = 1.0
BACKOFF_S_MAX: Final = 60.0
# An engine that lived so long did not fail to start: its next failure is a first one.
HEALTHY_S: Final = 300.0
GRACE_S: Final = 5
LOG_BYTES_MAX: Final = 1 << 20
TAIL_LINES: Final = 20

# $1 is the time between asking and killing, the rest the engine's command line. The group is
# killed whole: engines start processes of their own.
_LEASH: Final = """
grace=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
trap '' TERM
{ cat <&3 >/dev/null; kill -TERM 0; sleep "$grace"; kill -KILL 0; } 2>/dev/null >&2 &
exec 3<&-
wait $child
status=$?
kill -TERM 0
exit $status
"""


class EngineProcess:
    """Keeps one engine running while it is wanted.

    Args:
        name: For logs.
        command: Command line.
        environment: Of the process, whole.
        log_file: Where its output goes, at most twice ``LOG_BYTES_MAX``, for this user only.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log_file: Path
    ) -> None:
        self._name = name
        self._command = command
        self._environment = dict(environment)
        self._log = _BoundedLog(log_file)
        self._process: trio.Process | None = None
        self._is_wanted = False
        self._changed = trio.Event()
        self._gone = trio.Event()
        self._backoff_s = BACKOFF_S_MIN
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.starts = 0
        self.failures = 0

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None

    @property
    def is_wanted(self) -> bool:
        """Whether it should run."""
        return self._is_wanted

    def listens_at(self) -> list[str]:
        """Addresses at which it and what it started take TCP connections."""
        process = self._process
        return [] if process is None else _listening(process.pid)

    @property
    def last_words(self) -> str:
        """The end of its output, for a person who asks why it does not run."""
        return " / ".join(self.tail)[-500:] or "nothing"

    def want(self) -> None:
        """Has it run; ``supervise`` starts it."""
        self._is_wanted = True
        self._backoff_s = BACKOFF_S_MIN
        self.failures = 0
        self._notify()

    async def unwant(self) -> None:
        """Ends it and all it started; returns when the process is gone."""
        self._is_wanted = False
        self._notify()
        if self._process is None:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * GRACE_S):
            await self._let_go(self._process)
            await self._gone.wait()

    async def supervise(self) -> None:
        """Runs the engine whenever it is wanted, until cancelled; then it is ended.

        Raises:
            UserError: The command cannot be started at all.
        """
        try:
            while True:
                while not self._is_wanted:
                    await self._changed.wait()
                began = trio.current_time()
                status = await self._run()
                if not self.is_wanted:
                    continue
                self.failures += 1
                if trio.current_time() - began > HEALTHY_S:
                    self._backoff_s, self.failures = BACKOFF_S_MIN, 1
                log.warning(
                    "engine ended", engine=self._name, status=status, again_s=self._backoff_s
                )
                with trio.move_on_after(self._backoff_s):
                    await self._changed.wait()
                self._backoff_s = min(BACKOFF_S_MAX, 2 * self._backoff_s)
        finally:
            self._is_wanted = False
            self._log.close()

    async def _run(self) -> int:
        """One life of the process."""
        try:
            process = await trio.lowlevel.open_process(
                ["/bin/sh", "-c", _LEASH, "rowen-engine", str(GRACE_S), *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"the engine {self._name} cannot be started: {error}") from error
        self.starts += 1
        self._process = process
        self._gone = trio.Event()
        log.info("engine started", engine=self._name, pid=process.pid)
        try:
            if not self._is_wanted:
                await self._let_go(process)
            await self._read(process)
            return await process.wait()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 2 * GRACE_S):
                await self._let_go(process)
                await process.wait()
            self._process = None
            self._gone.set()

    async def _read(self, process: trio.Process) -> None:
        """Keeps its output until it ends."""
        assert process.stdout is not None
        rest = b""
        async with process.stdout as output:
            with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
                async for raw in output:
                    self._log.write(bytes(raw))
                    *lines, rest = (rest + raw).split(b"\n")
                    # A line without an end is kept in part.
                    rest = rest[-4096:]
                    self.tail.extend(line.decode(errors="replace").strip()[-200:] for line in lines)

    async def _let_go(self, process: trio.Process) -> None:
        """Closes the pipe: the shell does the rest."""
        assert process.stdin is not None
        await process.stdin.aclose()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class _BoundedLog:
    """A file that is moved aside when it is full, once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._size_bytes = 0
        self._out: FileIO | None = self._open()

    def _open(self) -> FileIO:
        out = FileIO(os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a")
        self._size_bytes = os.fstat(out.fileno()).st_size
        return out

    def write(self, raw: bytes) -> None:
        """Appends; a full disk costs the log, not the engine."""
        if self._out is None:
            return
        with suppress(OSError):
            self._out.write(raw)
            self._size_bytes += len(raw)
            if self._size_bytes > LOG_BYTES_MAX:
                self._out.close()
                self._file.replace(self._file.with_suffix(".old.log"))
                self._out = self._open()

    def close(self) -> None:
        """Closes the file."""
        if self._out is not None:
            self._out.close()
            self._out = None


def _listening(pid: int) -> list[str]:
    """Addresses at which a process and its descendants take TCP connections."""
    try:
        first = psutil.Process(pid)
        family = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    found: list[str] = []
    for member in family:
        try:
            sockets = member.net_connections("tcp")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        found += [s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN]
    return found
