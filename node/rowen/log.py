"""Logs: a static message and fields, to standard error, for people or as JSON lines."""

from __future__ import annotations

import logging
import sys

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Peers' misbehaviour is theirs; these libraries report it as errors of ours.
_NOISY = ("libp2p", "multiaddr", "web3", "urllib3", "httpx", "httpcore", "async_service")


def set_up_logs(level: str = "info", *, as_json: bool = False) -> None:
    """Sends everything to standard error; standard output is for results.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        as_json: One JSON object a line.
    """
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
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
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
