"""Runs a command under trio: Ctrl-C and SIGTERM cancel it, so that every clean-up happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

import trio

from rowen.cli.exits import SIGNAL_BASE, Exit

Body = Callable[[], Awaitable[int | None]]


def run_async(body: Body) -> int:
    """Runs the body under trio until it ends or a signal arrives.

    Ctrl-C and SIGTERM cancel it, so every ``finally`` runs; a second one does not wait for them.

    Returns:
        Its exit code, or 128 + the signal's number.
    """
    caught: list[int] = []
    try:
        code = trio.run(_until_signalled, body, caught)
    except BaseException:
        # What fails because it was interrupted is no news.
        if not caught:
            raise
        code = None
    return SIGNAL_BASE + caught[0] if caught else int(code or Exit.OK)


async def _until_signalled(body: Body, caught: list[int]) -> int | None:
    code: int | None = None
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as working:
            await nursery.start(_watch_signals, working, caught)
            code = await body()
        nursery.cancel_scope.cancel()
    return code


async def _watch_signals(
    working: trio.CancelScope,
    caught: list[int],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if caught:
                os._exit(SIGNAL_BASE + number)
            caught.append(number)
            working.cancel()
