"""How a command ends: exit codes and the kinds of errors, which programs may rely on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import IntEnum

from rowen.cli.documents import FaultKind
from rowen.protocol.errors import PeerError, Refused, RowenError, Unavailable, UserError


class Exit(IntEnum):
    """Exit codes. ``rowen audit verify`` has 0 to 3 of its own; see ``auditor.verdict``."""

    OK = 0
    FAILED = 1
    """The answer is no, a peer broke the protocol, or Rowen has a defect."""
    USAGE = 2
    """A person has to change the command, the configuration or the funds."""
    UNAVAILABLE = 4
    """A chain, peer, disk or engine does not answer; the same command may work later."""
    REFUSED = 5
    """Somebody said no, with a reason that a program can act on."""


SIGNAL_BASE = 128
"""A command ended by signal n exits with 128 + n, as shells expect: 130 for Ctrl-C."""

_KINDS: tuple[tuple[type[BaseException], FaultKind, Exit], ...] = (
    (UserError, "user_error", Exit.USAGE),
    (Refused, "refused", Exit.REFUSED),
    (Unavailable, "unavailable", Exit.UNAVAILABLE),
    (PeerError, "peer_error", Exit.FAILED),
)
INTERNAL: FaultKind = "internal"


def kind_of(error: BaseException) -> tuple[FaultKind, Exit]:
    """The error's kind and the exit code that belongs to it."""
    for known, kind, code in _KINDS:
        if isinstance(error, known):
            return kind, code
    if is_timeout(error):
        return "unavailable", Exit.UNAVAILABLE
    return INTERNAL, Exit.FAILED


def is_timeout(error: BaseException) -> bool:
    """Whether a time limit of ours ran out."""
    # Loaded already if one was raised; `rowen --help` does without it.
    trio = sys.modules.get("trio")
    return trio is not None and isinstance(error, trio.TooSlowError)


def expected_error(error: BaseException) -> BaseException | None:
    """The error to tell a person, out of the groups that nurseries wrap; None for a defect.

    One expected error beside others is the cause of none of them, so the first speaks for all.
    """
    found = list(leaves(error))
    if all(isinstance(each, RowenError) or is_timeout(each) for each in found):
        return found[0]
    return None


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in the groups that nurseries wrap."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
