"""Errors, named by who must act.

``PeerError``: the peer broke the protocol; drop it and keep the evidence.
``Unavailable``: a network, chain, GPU or engine does not answer; retry.
``Refused``: a polite no, with a reason a program can act on.
``UserError``: configuration or funds; tell the person what to do.
"""

from __future__ import annotations

from enum import StrEnum


class RowenError(Exception):
    """Base of every error this library raises on purpose."""


class PeerError(RowenError):
    """The peer sent something the protocol forbids. Not retried; the peer is dropped."""


class Unavailable(RowenError):
    """Something outside this process does not answer now. Retrying may help."""


class UserError(RowenError):
    """A person has to change something. The message says what."""


class Reason(StrEnum):
    """Why a provider says no. Stable: programs branch on these words."""

    UNKNOWN_VARIANT = "unknown_variant"
    UNKNOWN_KIND = "unknown_kind"
    PRICE_TOO_LOW = "price_too_low"
    COST_ABOVE_MAX = "cost_above_max"
    CHANNEL_UNKNOWN = "channel_unknown"
    CHANNEL_EMPTY = "channel_empty"
    CHANNEL_UNLOCKING = "channel_unlocking"
    CHANNEL_BUSY = "channel_busy"
    CHANNEL_STOPPED = "channel_stopped"
    CREDIT_EXCEEDED = "credit_exceeded"
    CHAIN_STALE = "chain_stale"
    JOB_REPLAYED = "job_replayed"
    DEADLINE_PASSED = "deadline_passed"
    INPUT_MISMATCH = "input_mismatch"
    INPUT_TOO_LONG = "input_too_long"
    INPUT_INVALID = "input_invalid"
    BUSY = "busy"
    STOPPING = "stopping"
    NO_LEASE = "no_lease"
    ENGINE_DOWN = "engine_down"


class Refused(RowenError):
    """A no with a reason.

    Attributes:
        reason: What stands in the way.
        detail: A sentence with expected and actual values.
        retry_ms: When asking again may help, in milliseconds; None when it will not.
    """

    def __init__(self, reason: Reason, detail: str, retry_ms: int | None = None) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_ms = retry_ms

    def again(self) -> Refused:
        """The same no, for one more who asks.

        An object that is raised time and again gathers all the tracebacks, and what they hold.
        """
        return Refused(self.reason, self.detail, self.retry_ms)
