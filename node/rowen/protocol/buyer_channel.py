"""A channel as its client knows it: values, and how jobs are added to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from rowen.protocol.channel import Head
from rowen.protocol.eip712 import Domain
from rowen.protocol.metering import NOTHING, Reading
from rowen.protocol.statements import Order
from rowen.protocol.units import Allowance


class JobState(Enum):
    """Where a job stands for the client."""

    ORDERED = "ordered"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUSPENDED = "suspended"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job on a channel.

    Attributes:
        order: What we signed.
        order_hash: Its digest, 32 bytes.
        allowance: How many units are believed.
        state: See ``JobState``.
        output_units: Units of the answer received.
        output_bytes: Bytes of it.
        output_signs: What its units are made of; see ``units``.
        output_ends: Of its items, where it has some.
        hasher: SHA-256 of it; never updated in place.
        reading: As on its newest receipt.
        billed: Sum of the amounts on its receipts, token units.
        segment: Receipts accepted.
    """

    order: Order
    order_hash: bytes
    allowance: Allowance
    state: JobState = JobState.ORDERED
    output_units: int = 0
    output_bytes: int = 0
    output_signs: int = 0
    output_ends: int = 0
    hasher: Any = msgspec.field(default_factory=hashlib.sha256)
    reading: Reading = NOTHING
    billed: int = 0
    segment: int = 0


class BuyerChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as its client knows it.

    Attributes:
        domain: The deployment it lives on.
        channel_id: 32 bytes.
        payer: Wallet, 20 bytes.
        provider: 20 bytes.
        locked: Token units locked on chain.
        log: Every receipt accepted, and what they add up to.
        jobs: Open jobs by id. Never changed in place.
        stopped: Why the channel is at an end, or empty.
    """

    domain: Domain
    channel_id: bytes
    payer: bytes
    provider: bytes
    locked: int
    log: Head = Head()
    jobs: Mapping[bytes, Job] = msgspec.field(default_factory=dict)
    stopped: str = ""

    def is_settled(self) -> bool:
        """Whether no job is open and it goes on; what was billed is paid for in the same step."""
        return not (self.jobs or self.stopped)

    def free(self) -> int:
        """Token units a new order may still promise."""
        caps = sum(job.order.amount_max - job.billed for job in self.jobs.values())
        return self.locked - self.log.total - caps


def with_job(state: BuyerChannel, job: Job) -> BuyerChannel:
    """The channel with a job added or replaced."""
    return replace(state, jobs={**state.jobs, job.order.job_id: job})


def without_job(state: BuyerChannel, job: Job) -> BuyerChannel:
    """The channel without a job, which is over."""
    jobs = {key: other for key, other in state.jobs.items() if key != job.order.job_id}
    return replace(state, jobs=jobs)
