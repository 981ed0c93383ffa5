"""What a provider writes on a receipt: the reading, its price, and what was spent on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from rowen.protocol.jobs import Finish
from rowen.protocol.metering import cost
from rowen.protocol.seller_channel import Job, JobState, SellerChannel, with_job
from rowen.protocol.seller_events import Bill, Effect
from rowen.protocol.statements import EnergySource, Receipt, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a job used since it began; see ``Receipt``."""

    gpu_ms: int = 0
    energy_mj: int = 0
    energy_source: EnergySource = EnergySource.NONE


NOT_METERED = Spent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What the shell measured up to now.

    Attributes:
        now_ms: Unix time.
        job_to_spent: What each job used; one that is not here is not metered.
    """

    now_ms: int
    job_to_spent: Mapping[bytes, Spent] = field(default_factory=dict)


def write_receipt(
    state: SellerChannel,
    job: Job,
    status: Status,
    finish: Finish | None,
    meter: Meter,
    detail: str = "",
) -> tuple[SellerChannel, Bill]:
    """The channel with one more receipt for a job; ``finish`` says that it is the job's last."""
    # A reading may cost less than what was billed, when the cache turns out to have served
    # input already charged; nothing is added then. A failed segment is free.
    owed = 0 if status is Status.FAILED else cost(job.order, job.reading) - job.billed
    amount = max(0, owed)
    spent = meter.job_to_spent.get(job.order.job_id, NOT_METERED)
    receipt = Receipt(
        channel_id=state.channel_id,
        sequence=state.issued.count,
        order_hash=job.order_hash,
        segment=job.segment,
        status=status,
        input_units=job.reading.input_units,
        cached_units=job.reading.cached_units,
        output_units=job.reading.output_units,
        amount=amount,
        total=state.issued.total + amount,
        output_hash=job.hasher.digest(),
        started_at_ms=job.started_at_ms,
        finished_at_ms=max(meter.now_ms, job.started_at_ms),
        gpu_ms=spent.gpu_ms,
        energy_mj=spent.energy_mj,
        energy_source=spent.energy_source,
    )
    digest = receipt.digest(state.domain)
    state = logged(state, job, receipt, digest, finish is not None)
    return state, Bill(job.order.job_id, receipt, digest, finish, detail)


def bill_open_work(state: SellerChannel, meter: Meter) -> tuple[SellerChannel, list[Effect]]:
    """A partial receipt for every job that delivered more than was billed."""
    # All of it, not only the job that ran into the line: another job's unbilled work may be
    # what fills it.
    bills: list[Effect] = []
    for job in state.jobs.values():
        if job.state is not JobState.BILLED and cost(job.order, job.reading) > job.billed:
            state, bill = write_receipt(state, job, Status.PARTIAL, None, meter)
            bills.append(bill)
    return state, bills


def logged(
    state: SellerChannel, job: Job, receipt: Receipt, digest: bytes, is_last: bool
) -> SellerChannel:
    """The channel with a receipt in its log, given the receipt's digest."""
    head = state.issued.append(digest, receipt.amount)
    job = replace(
        job,
        billed=job.billed + receipt.amount,
        segment=job.segment + 1,
        state=JobState.BILLED if is_last else job.state,
        last_count=head.count if is_last else 0,
    )
    state = replace(state, issued=head, unpaid=(*state.unpaid, head))
    return with_job(state, job)
