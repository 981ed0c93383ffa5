"""What an owner decides about selling, as one frozen object."""

from __future__ import annotations

from dataclasses import dataclass

from rowen_scheduler.pricing import Prices

__all__ = ["Caps", "Prices", "ProviderSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How much work a node takes on at once. Whoever is beyond it is told when to ask again.

    Attributes:
        jobs_total_max: Jobs running or waiting, all variants and clients together.
        input_bytes_total_max: Their inputs together.
        waiting_max: Jobs that wait for one variant.
        waiting_per_client_max: Of these, one channel's.
        wait_s_max: Longest wait for a place; another provider may have one at once.
        engine_retry_ms: When to ask again while an engine is down.
        messages_per_s: Sustained rate at which the messages of one session are taken; one of over
            16 KiB counts for more.
        messages_burst: How many may come at once.
    """

    jobs_total_max: int = 256
    input_bytes_total_max: int = 64 * 1024 * 1024
    waiting_max: int = 32
    waiting_per_client_max: int = 4
    wait_s_max: float = 5.0
    engine_retry_ms: int = 5_000
    messages_per_s: float = 500.0
    messages_burst: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """How this provider sells.

    Attributes:
        credit: Token units it works ahead of payment, per channel: its worst-case loss there.
        credit_total: The same for all channels together, within an hour.
        sessions_max: Clients connected at the same time.
        sessions_per_peer_max: Sessions of one client at the same time; one works, and each of
            its questions may open another to ask for an offer.
        jobs_max: Open jobs on one channel.
        deadline_s_max: Furthest deadline it accepts.
        confirmations: Blocks on top of a deposit before it counts.
        offer_lifetime_s: How long an offer stands.
        voucher_wait_s: How long a paused job waits for a voucher before it is ended.
        attach_wait_s: How long a new session may be silent before it says who it is.
        deposit_wait_s: How long its deposit may take to be confirmed; longer than clients wait.
        coalesce_s: Least time between two chunks of a job; tokens gather in between.
        view_age_s_max: Oldest view of a channel on chain that new work is taken on.
        caps: How much work it takes on at once.
    """

    credit: int = 20_000
    credit_total: int = 1_000_000
    sessions_max: int = 256
    sessions_per_peer_max: int = 32
    jobs_max: int = 8
    deadline_s_max: int = 3600
    confirmations: int = 2
    offer_lifetime_s: int = 600
    voucher_wait_s: float = 30.0
    attach_wait_s: float = 15.0
    deposit_wait_s: float = 90.0
    coalesce_s: float = 0.015
    view_age_s_max: float = 15.0
    caps: Caps = Caps()
