"""What can happen to a buyer's channel, and what its shell is then to do.

Events are named by who caused them; effects are done in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from rowen.protocol.jobs import Finish
from rowen.protocol.statements import Receipt, Voucher

# --- events


@dataclass(frozen=True, slots=True)
class ProviderAccepted:
    """The job runs; the prompt has this many tokens."""

    job: bytes
    input_units: int


@dataclass(frozen=True, slots=True)
class ProviderRefused:
    """The job does not run."""

    job: bytes


@dataclass(frozen=True, slots=True)
class ProviderSent:
    """Some of the answer; see ``messages.Chunk``."""

    job: bytes
    at: int
    units: int
    text: str


@dataclass(frozen=True, slots=True)
class ProviderBilled:
    """A receipt; ``signer`` is who signed it.

    Attributes:
        job: Id of the job it came for.
        receipt: What was signed.
        digest: Its digest, 32 bytes.
        signer: Address, 20 bytes.
        finish: Why the job ended, or None.
        detail: More about that.
    """

    job: bytes
    receipt: Receipt
    digest: bytes
    signer: bytes
    finish: Finish | None
    detail: str


@dataclass(frozen=True, slots=True)
class UserCancelled:
    """The user wants no more."""

    job: bytes


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The order's deadline is over."""

    job: bytes


@dataclass(frozen=True, slots=True)
class ProviderLost:
    """The stream to the provider ended."""

    job: bytes


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """We are attached again and have every receipt the provider wrote."""

    job: bytes


Event = (
    ProviderAccepted
    | ProviderRefused
    | ProviderSent
    | ProviderBilled
    | UserCancelled
    | DeadlinePassed
    | ProviderLost
    | CaughtUp
)
EVENTS: tuple[type[Event], ...] = (
    ProviderAccepted,
    ProviderRefused,
    ProviderSent,
    ProviderBilled,
    UserCancelled,
    DeadlinePassed,
    ProviderLost,
    CaughtUp,
)


# --- effects


@dataclass(frozen=True, slots=True)
class Deliver:
    """New output for the user."""

    job: bytes
    text: str
    units: int


@dataclass(frozen=True, slots=True)
class Pay:
    """Sign the voucher, journal it with the receipt, send it."""

    job: bytes
    receipt: Receipt
    voucher: Voucher


@dataclass(frozen=True, slots=True)
class Ended:
    """The job is over. ``receipt`` is its last one, None when it ended without one."""

    job: bytes
    finish: Finish
    receipt: Receipt | None
    detail: str


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Tell the provider to stop."""

    job: bytes


@dataclass(frozen=True, slots=True)
class Dispute:
    """Journal the receipt as evidence, tell the provider, and use the channel no more."""

    job: bytes
    receipt: Receipt
    detail: str


Effect = Deliver | Pay | Ended | SendCancel | Dispute
