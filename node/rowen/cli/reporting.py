"""Calls one command; whatever it raises becomes one clear line and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable

from rowen.cli.exits import INTERNAL, SIGNAL_BASE, Exit, expected_error, kind_of, leaves
from rowen.cli.output import show_error
from rowen.cli.streams import NobodyReads, OutputFailed, discard_output
from rowen.protocol.errors import Refused


def run_reporting(command: Callable[[], int | None], *, as_json: bool) -> int:
    """Calls a command and turns whatever it raises into a message and an exit code."""
    try:
        code = int(command() or Exit.OK)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return SIGNAL_BASE + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - a defect, too, must end as one clear line
        return _report(error, as_json=as_json)
    return code


def _report(error: Exception, *, as_json: bool) -> int:
    causes = list(leaves(error))
    if any(isinstance(cause, NobodyReads) for cause in causes):
        discard_output()
        return SIGNAL_BASE + signal.SIGPIPE
    if any(isinstance(cause, OutputFailed) for cause in causes):
        discard_output()
        as_json = False
    known = expected_error(error)
    if known is None:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}. This is a defect in Rowen; please report it"
        show_error(INTERNAL, message, as_json=as_json)
        return Exit.FAILED
    kind, code = kind_of(known)
    reason = known.reason.value if isinstance(known, Refused) else None
    message = str(known) or "it took too long; try again"
    show_error(kind, message, as_json=as_json, reason=reason)
    return code
