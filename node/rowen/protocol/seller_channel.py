"""A channel as its provider knows it: values, and how output and jobs are added to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from rowen.protocol.channel import Head
from rowen.protocol.eip712 import Domain
from rowen.protocol.metering import Reading, cost
from rowen.protocol.statements import Order


class JobState(Enum):
    """Where a job stands for the provider."""

    RUNNING = "running"
    PAUSED = "paused"
    BILLED = "billed"


class Held(msgspec.Struct, frozen=True):
    """Output that waits for a voucher."""

    text: str
    units: int
    input_units: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job on a channel.

    Attributes:
        order: What the client signed.
        order_hash: Its digest, 32 bytes.
        state: See ``JobState``.
        output_units_max: What engine, order and money allow together.
        started_at_ms: Unix time.
        reading: Units delivered.
        output_bytes: Bytes of answer delivered.
        hasher: SHA-256 of the answer delivered; never updated in place.
        billed: Sum of the amounts on its receipts, token units.
        segment: Receipts written for it.
        last_count: Length of the channel's log with its last receipt, when BILLED.
        held: Output not delivered because credit is used up.
    """

    order: Order
    order_hash: bytes
    state: JobState = JobState.RUNNING
    output_units_max: int
    started_at_ms: int
    reading: Reading
    output_bytes: int = 0
    hasher: Any = msgspec.field(default_factory=hashlib.sha256)
    billed: int = 0
    segment: int = 0
    last_count: int = 0
    held: Held | None = None


class SellerChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as its provider knows it.

    Attributes:
        domain: The deployment it lives on.
        channel_id: 32 bytes.
        payer: Wallet, 20 bytes.
        provider: Ourselves, 20 bytes.
        signer: The client's session key, 20 bytes.
        credit: Token units we work ahead of payment.
        issued: The log with every receipt we wrote.
        paid: The log as far as the newest voucher covers it.
        unpaid: The log's head after each receipt no voucher covers yet, oldest first.
        jobs: Open jobs by id. Never changed in place.
        stopped: Why no more jobs are taken, or empty.
    """

    domain: Domain
    channel_id: bytes
    payer: bytes
    provider: bytes
    signer: bytes
    credit: int
    issued: Head = Head()
    paid: Head = Head()
    unpaid: tuple[Head, ...] = ()
    jobs: Mapping[bytes, Job] = msgspec.field(default_factory=dict)
    stopped: str = ""

    def exposure(self) -> int:
        """Token units delivered and not covered by a voucher."""
        open_work = sum(
            max(0, cost(job.order, job.reading) - job.billed)
            for job in self.jobs.values()
            if job.state is not JobState.BILLED
        )
        return self.issued.total - self.paid.total + open_work

    def is_settled(self) -> bool:
        """Whether all of it is paid for, nothing is open and it goes on."""
        return not (self.jobs or self.unpaid or self.stopped)

    def reserved(self) -> int:
        """Token units the channel may still come to owe: log and caps of the open jobs."""
        return self.issued.total + sum(
            job.order.amount_max - job.billed
            for job in self.jobs.values()
            if job.state is not JobState.BILLED
        )


def with_job(state: SellerChannel, job: Job) -> SellerChannel:
    """The channel with a job added or replaced."""
    return replace(state, jobs={**state.jobs, job.order.job_id: job})


def delivered(job: Job, text: str, units: int, input_units: int = 0) -> Job:
    """The job with so much more of its answer sent, and of its input answered."""
    raw = text.encode()
    hasher = job.hasher.copy()
    hasher.update(raw)
    reading = job.reading._replace(
        input_units=job.reading.input_units + input_units,
        output_units=job.reading.output_units + units,
    )
    return replace(job, reading=reading, output_bytes=job.output_bytes + len(raw), hasher=hasher)
