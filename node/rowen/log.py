"""Logs: a static message and fields, to standard error, for people or as JSON lines.

The newest lines stay in memory too, for `rowen support-bundle`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import deque
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Peers' misbehaviour is theirs; these libraries report it as errors of ours.
_NOISY = ("libp2p", "multiaddr", "web3", "urllib3", "httpx", "httpcore", "async_service")
_PLAIN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

VALUE_CHARS_MAX: Final = 500
RECENT_MAX: Final = 500

_recent: deque[str] = deque(maxlen=RECENT_MAX)
# A control character in a value would let whoever chose it write lines of their own.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}

Fields = MutableMapping[str, Any]


def set_up_logs(level: str = "info", *, as_json: bool = False) -> None:
    """Sends everything to standard error; standard output is for results.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        as_json: One JSON object a line.
    """
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ours = logging.getLogger("rowen")
    ours.setLevel(_LEVELS[level])
    ours.handlers = [_Bridge()]
    ours.propagate = False
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            harmless_values,
            _remember,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def recent_lines() -> list[str]:
    """The newest lines, oldest first, each a JSON object."""
    return list(_recent)


def harmless_values(_logger: object, _method: str, fields: Fields) -> Fields:
    """Cuts long values, and shows control characters instead of obeying them."""
    for name, value in fields.items():
        # A traceback is ours, has lines, and names no peer's text that was not cut before.
        if isinstance(value, str) and name != "exception":
            fields[name] = value[:VALUE_CHARS_MAX].translate(_ESCAPES)
    return fields


def _remember(_logger: object, _method: str, fields: Fields) -> Fields:
    _recent.append(json.dumps(fields, default=str, ensure_ascii=False)[: 3 * VALUE_CHARS_MAX])
    return fields


class _Bridge(logging.Handler):
    """Brings what adapters say through the standard library into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        extra = {k: v for k, v in vars(record).items() if k not in _PLAIN_FIELDS}
        structlog.get_logger(record.name).log(
            record.levelno, record.getMessage(), exc_info=record.exc_info, **extra
        )
