"""What can happen to a seller's channel, and what its shell is then to do.

Events are named by who caused them; effects are done in order.
"""

from __future__ import annotations

import msgspec

from rowen.protocol.jobs import Finish
from rowen.protocol.statements import Receipt, Voucher

# --- events


class EngineSaid(msgspec.Struct, frozen=True):
    """The engine made some output.

    Attributes:
        job: Its id.
        text: The output.
        units: That it stands for.
        input_units: Of an item that is answered with it; 0 where input is read as a whole.
    """

    job: bytes
    text: str
    units: int
    input_units: int = 0


class EngineFinished(msgspec.Struct, frozen=True):
    """The engine is done.

    Attributes:
        job: Its id.
        finish: ``STOP`` or ``LENGTH``.
        cached_units: Prompt tokens that came from the engine's cache.
    """

    job: bytes
    finish: Finish
    cached_units: int


class EngineFailed(msgspec.Struct, frozen=True):
    """The engine died or broke."""

    job: bytes
    detail: str


class ClientCancelled(msgspec.Struct, frozen=True):
    """The client wants no more."""

    job: bytes


class ClientLost(msgspec.Struct, frozen=True):
    """The client's stream ended; the job cannot go on."""

    job: bytes


class DeadlinePassed(msgspec.Struct, frozen=True):
    """The order's deadline is over."""

    job: bytes


class OwnerReturned(msgspec.Struct, frozen=True):
    """The GPU's owner needs it back."""

    job: bytes


class ClientPaid(msgspec.Struct, frozen=True):
    """A voucher arrived; ``signer`` is who signed it."""

    voucher: Voucher
    signer: bytes


class ClientDisputed(msgspec.Struct, frozen=True):
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


class Deliver(msgspec.Struct, frozen=True):
    """Send output. ``units`` is the job's reading after it, ``at`` the byte offset of text."""

    job: bytes
    at: int
    units: int
    text: str


class Bill(msgspec.Struct, frozen=True):
    """Sign ``digest``, journal and send a receipt. ``finish`` is set on the job's last one."""

    job: bytes
    receipt: Receipt
    digest: bytes
    finish: Finish | None
    detail: str = ""


class Pause(msgspec.Struct, frozen=True):
    """Take no more from the engine until ``Resume``."""

    job: bytes


class Resume(msgspec.Struct, frozen=True):
    """Go on taking from the engine."""

    job: bytes


class StopEngine(msgspec.Struct, frozen=True):
    """Cancel the job in the engine."""

    job: bytes


class KeepVoucher(msgspec.Struct, frozen=True):
    """Journal the voucher before anything after it in the list."""

    voucher: Voucher


class Settled(msgspec.Struct, frozen=True):
    """Every receipt of the job is paid for."""

    job: bytes


Effect = Deliver | Bill | Pause | Resume | StopEngine | KeepVoucher | Settled
