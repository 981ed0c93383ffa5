"""Cancel scopes and exception groups, used the same way all over this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


def shielded(seconds: float) -> trio.CancelScope:
    """Return a scope for clean-up: outer cancellation waits, but only so long."""
    return trio.CancelScope(shield=True, deadline=trio.current_time() + seconds)


@contextmanager
def single_error() -> Iterator[None]:
    """Raise what a nursery wrapped in a group as itself, if it was a single error.

    The background tasks inside never raise on their own account, so a group of one can only
    hold what the body of the `async with` raised.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        raise error from error.__cause__
