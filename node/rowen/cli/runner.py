"""Runs a command under trio: Ctrl-C and SIGTERM cancel it, so that every clean-up happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from rowen.cli.exits import SIGNAL_BASE, Exit

Body = Callable[[], Awaitable[int | None]]


class Interrupt:
    """What Ctrl-C and SIGTERM cancel: the whole command, or the part that says so."""

    def __init__(self) -> None:
        self._scopes: list[trio.CancelScope] = []
        self.signal: int | None = None

    @contextmanager
    def ends_this(self) -> Iterator[None]:
        """A signal ends only the block; what comes after it still happens."""
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                yield
            finally:
                self._scopes.remove(scope)

    def arrive(self, number: int) -> None:
        """The first signal cancels; a second one does not wait for clean-up."""
        if self.signal is not None:
            os._exit(SIGNAL_BASE + number)
        self.signal = number
        self._scopes[-1].cancel()


def run_async(body: Body, interrupt: Interrupt | None = None) -> int:
    """Runs the body under trio until it ends or a signal arrives.

    Args:
        body: The command.
        interrupt: For a body that has to go on after a signal.

    Returns:
        Its exit code, or 128 + the signal's number.
    """
    interrupt = interrupt or Interrupt()
    try:
        code = trio.run(_until_interrupted, body, interrupt)
    except BaseException:
        # What fails because it was interrupted is no news.
        if interrupt.signal is None:
            raise
        code = None
    return int(code or Exit.OK) if interrupt.signal is None else SIGNAL_BASE + interrupt.signal


async def _until_interrupted(body: Body, interrupt: Interrupt) -> int | None:
    code: int | None = None
    async with trio.open_nursery() as nursery:
        with interrupt.ends_this():
            await nursery.start(_watch_signals, interrupt)
            code = await body()
        nursery.cancel_scope.cancel()
    return code


async def _watch_signals(
    interrupt: Interrupt, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            interrupt.arrive(number)
