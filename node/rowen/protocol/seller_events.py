"""What can happen to a seller's channel, and what its shell is then to do.

Events are named by who caused them; effects are done in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from rowen.protocol.jobs import Finish
from rowen.protocol.statements import Receipt, Voucher

# --- events


@dataclass(frozen=True, slots=True)
class EngineSaid:
    """The engine made some output."""

    job: bytes
    text: str
    units: int


@dataclass(frozen=True, slots=True)
class EngineFinished:
    """The engine is done.

    Attributes:
        job: Its id.
        finish: ``STOP`` or ``LENGTH``.
        cached_units: Prompt tokens that came from the engine's cache.
    """

    job: bytes
    finish: Finish
    cached_units: int


@dataclass(frozen=True, slots=True)
class EngineFailed:
    """The engine died or broke."""

    job: bytes
    detail: str


@dataclass(frozen=True, slots=True)
class ClientCancelled:
    """The client wants no more."""

    job: bytes


@dataclass(frozen=True, slots=True)
class ClientLost:
    """The client's stream ended; the job cannot go on."""

    job: bytes


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The order's deadline is over."""

    job: bytes


@dataclass(frozen=True, slots=True)
class OwnerReturned:
    """The GPU's owner needs it back."""

    job: bytes


@dataclass(frozen=True, slots=True)
class ClientPaid:
    """A voucher arrived; ``signer`` is who signed it."""

    voucher: Voucher
    signer: bytes


@dataclass(frozen=True, slots=True)
class ClientDisputed:
    """The client will not pay for a receipt."""

    sequence: int
    detail: str


JobEvent = (
    EngineSaid
    | EngineFinished
    | EngineFailed
    | ClientCancelled
    | ClientLost
    | DeadlinePassed
    | OwnerReturned
)
Event = JobEvent | ClientPaid | ClientDisputed
JOB_EVENTS: tuple[type[JobEvent], ...] = (
    EngineSaid,
    EngineFinished,
    EngineFailed,
    ClientCancelled,
    ClientLost,
    DeadlinePassed,
    OwnerReturned,
)


# --- effects


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send output. ``units`` is the job's reading after it, ``at`` the byte offset of text."""

    job: bytes
    at: int
    units: int
    text: str


@dataclass(frozen=True, slots=True)
class Bill:
    """Sign ``digest``, journal and send a receipt. ``finish`` is set on the job's last one."""

    job: bytes
    receipt: Receipt
    digest: bytes
    finish: Finish | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Take no more from the engine until ``Resume``."""

    job: bytes


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on taking from the engine."""

    job: bytes


@dataclass(frozen=True, slots=True)
class StopEngine:
    """Cancel the job in the engine."""

    job: bytes


@dataclass(frozen=True, slots=True)
class KeepVoucher:
    """Journal the voucher before anything after it in the list."""

    voucher: Voucher


@dataclass(frozen=True, slots=True)
class Settled:
    """Every receipt of the job is paid for."""

    job: bytes


Effect = Deliver | Bill | Pause | Resume | StopEngine | KeepVoucher | Settled
