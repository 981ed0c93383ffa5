"""One provider of the demo: ``rowen serve`` in a process of its own, with its log at hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from rowen.cli.documents import ErrorDocument, ServingDocument
from rowen.home import Home
from rowen.protocol.errors import Unavailable

READY_S = 120.0
"""Two nodes start at once, each importing for seconds; a busy machine takes its time."""

STOP_S = 20.0
LOG_LINES = 15
_LINE_BYTES_MAX = 1 << 20


class ProviderProcess:
    """A node that can be started, killed and started again.

    Attributes:
        home: Its files.
        name: What the demo calls it.
        log: What it says, over all its lives.
    """

    def __init__(self, name: str, home: Home, log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.home = home
        self.log = log
        self._environment = environment
        self._process: trio.Process | None = None
        self._is_ready = False

    async def start(self) -> ServingDocument:
        """Starts it and waits until it serves.

        Raises:
            Unavailable: It ended, or is not ready in time; the message has the end of its log.
        """
        command = [sys.executable, "-m", "rowen.cli", "serve", "--json", "--leash"]
        command += ["--home", str(self.home.path)]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C on the terminal is the demo's to handle.
            self._process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.home.path,
                env=self._environment,
                start_new_session=True,
            )
        with trio.move_on_after(READY_S):
            serving = self._read_ready(await self._first_line())
            self._is_ready = True
            return serving
        raise Unavailable(f"{self.name} was not ready after {READY_S:g} s; {self.log_tail()}")

    async def kill(self) -> None:
        """Ends it as a power cut would: no handler runs, nothing is flushed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        await self._forget()

    async def stop(self) -> None:
        """Asks it to end, and kills it if it does not."""
        if self._process is None:
            return
        process = self._process
        assert process.stdin is not None
        # One that is still starting has nothing to finish, and hears nothing either.
        patience_s = STOP_S if self._is_ready else 0.0
        with trio.CancelScope(shield=True):
            with trio.move_on_after(patience_s):
                await process.stdin.aclose()
                await process.wait()
            if process.poll() is None:
                process.kill()
                await process.wait()
            await self._forget()

    def log_tail(self) -> str:
        """The last lines of its log, as the end of an error message."""
        try:
            with self.log.open(encoding="utf-8", errors="replace") as log:
                lines = deque(log, LOG_LINES)
        except OSError:
            lines = deque()
        if not lines:
            return f"{self.name} has logged nothing"
        return f"the end of {self.name}'s log:\n" + "".join(f"  {line}" for line in lines).rstrip()

    async def _first_line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        line = bytearray()
        while not line.endswith(b"\n") and len(line) < _LINE_BYTES_MAX:
            part = await self._process.stdout.receive_some()
            if not part:
                break
            line += part
        return bytes(line)

    def _read_ready(self, line: bytes) -> ServingDocument:
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(line, type=ServingDocument)
        why = self.log_tail()
        with suppress(msgspec.DecodeError):
            why = msgspec.json.decode(line, type=ErrorDocument).error.message
        raise Unavailable(f"{self.name} did not start: {why}")

    async def _forget(self) -> None:
        assert self._process is not None
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                await stream.aclose()
        self._process = None
        self._is_ready = False


def node_environment(models: Path, scratch: Path) -> dict[str, str]:
    """What a demo's node sees: none of the user's own settings, and one quiet engine thread.

    Args:
        models: Where the model is; shared by the nodes.
        scratch: For temporary files, which a killed node leaves behind.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROWEN_")}
    return kept | {
        "ROWEN_MODELS_DIR": str(models),
        "TMPDIR": str(scratch),
        "NO_COLOR": "1",
        # Spinning threads of two engines starve each other a hundredfold.
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
    }
