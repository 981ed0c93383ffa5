"""The provider's side of a channel: one pure function from (state, event) to (state, effects).

A job is RUNNING while its output goes out, PAUSED while the credit line is used up and a
voucher is awaited, and BILLED once its last receipt is written; a voucher that covers that
receipt takes it off the list. ``_TABLE`` decides every (state, event) pair. The shell does
the effects in order, and journals before it sends.

Recovery replays ``start``, ``restore_receipt`` and ``ClientPaid`` over the journal and then
ends the jobs that were cut off with ``EngineFailed``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from rowen.protocol.channel import Head
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.jobs import Finish
from rowen.protocol.metering import Reading, cost
from rowen.protocol.seller_events import (
    Bill,
    ClientCancelled,
    ClientDisputed,
    ClientLost,
    ClientPaid,
    DeadlinePassed,
    Deliver,
    Effect,
    EngineFailed,
    EngineFinished,
    EngineSaid,
    Event,
    JobEvent,
    KeepVoucher,
    OwnerReturned,
    Pause,
    Resume,
    Settled,
    StopEngine,
)
from rowen.protocol.statements import EnergySource, Order, Receipt, Status


class JobState(Enum):
    """Where a job stands for the provider."""

    RUNNING = "running"
    PAUSED = "paused"
    BILLED = "billed"


class Held(msgspec.Struct, frozen=True):
    """Output that waits for a voucher."""

    text: str
    units: int


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

    def reserved(self) -> int:
        """Token units the channel may still come to owe: log and caps of the open jobs."""
        return self.issued.total + sum(
            job.order.amount_max - job.billed
            for job in self.jobs.values()
            if job.state is not JobState.BILLED
        )


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


Outcome = tuple[SellerChannel, list[Effect]]

# --- the function ---------------------------------------------------------------------------


def step(state: SellerChannel, event: Event, meter: Meter) -> Outcome:
    """Applies one event.

    Raises:
        PeerError: The client broke the protocol; state is unchanged.
    """
    if isinstance(event, ClientPaid):
        return _on_paid(state, event, meter)
    if isinstance(event, ClientDisputed):
        return _on_disputed(state, event, meter)
    job = state.jobs.get(event.job)
    if job is None:
        # Settled or never accepted; messages cross on the wire.
        return state, []
    handler: Handler = _TABLE[job.state, type(event)]
    return handler(state, job, event, meter)


def start(state: SellerChannel, job: Job) -> SellerChannel:
    """The channel with an admitted job (see ``admission``) running on it."""
    assert job.order.job_id not in state.jobs
    return _with_job(state, job)


def stop(state: SellerChannel, why: str) -> SellerChannel:
    """The channel, taking no more jobs."""
    return replace(state, stopped=state.stopped or why)


def restore_receipt(
    state: SellerChannel, receipt: Receipt, text: str, *, is_last: bool
) -> SellerChannel:
    """Replays a receipt we wrote before a restart.

    Args:
        state: The channel before it.
        receipt: As journaled; its job was restored by ``start``.
        text: What its segment delivered.
        is_last: Whether it ended the job.

    Raises:
        ValueError: The journal contradicts itself.
    """
    job = next((j for j in state.jobs.values() if j.order_hash == receipt.order_hash), None)
    if job is None or receipt.sequence != state.issued.count:
        raise ValueError(f"receipt {receipt.sequence} does not fit a log of {state.issued.count}")
    if receipt.total != state.issued.total + receipt.amount or receipt.segment != job.segment:
        raise ValueError(f"receipt {receipt.sequence} does not add up")
    job = _delivered(job, text, 0)
    if job.hasher.digest() != receipt.output_hash:
        raise ValueError(f"receipt {receipt.sequence} does not match its journaled output")
    reading = Reading(receipt.input_units, receipt.cached_units, receipt.output_units)
    return _logged(
        state, replace(job, reading=reading), receipt, receipt.digest(state.domain), is_last
    )


def _on_said(state: SellerChannel, job: Job, event: EngineSaid, meter: Meter) -> Outcome:
    units = job.reading.output_units + event.units
    if units > job.output_units_max:
        # The engine ran past its limit. What is above it is neither delivered nor billed.
        return _end(state, job, Status.FINAL, Finish.LENGTH, meter)
    after = _with_job(state, _delivered(job, event.text, event.units))
    if after.exposure() > state.credit and state.exposure() > 0:
        held = replace(job, state=JobState.PAUSED, held=Held(event.text, event.units))
        state, bills = _bill_open_work(_with_job(state, held), meter)
        return state, [Pause(event.job), *bills]
    effects: list[Effect] = [Deliver(event.job, job.output_bytes, units, event.text)]
    job = after.jobs[event.job]
    # Bill at half the line, so that the voucher is back before the line is reached.
    owed = cost(job.order, job.reading) - job.billed
    if owed > 0 and 2 * owed >= state.credit:
        after, bill = _bill(after, job, Status.PARTIAL, None, meter)
        effects.append(bill)
    return after, effects


def _on_finished(state: SellerChannel, job: Job, event: EngineFinished, meter: Meter) -> Outcome:
    cached = min(event.cached_units, job.reading.input_units)
    job = replace(job, reading=job.reading._replace(cached_units=cached))
    return _end(state, job, Status.FINAL, event.finish, meter, stop=False)


def _on_failed(state: SellerChannel, job: Job, event: EngineFailed, meter: Meter) -> Outcome:
    return _end(
        state, job, Status.FAILED, Finish.FAILED, meter, stop=False, detail=event.detail[:512]
    )


def _on_cancelled(state: SellerChannel, job: Job, _event: JobEvent, meter: Meter) -> Outcome:
    return _end(state, job, Status.CANCELLED, Finish.CANCELLED, meter)


def _on_deadline(state: SellerChannel, job: Job, _event: JobEvent, meter: Meter) -> Outcome:
    detail = f"the order's deadline {job.order.deadline_ms} ms passed"
    return _end(state, job, Status.CANCELLED, Finish.CANCELLED, meter, detail=detail)


def _on_preempted(state: SellerChannel, job: Job, _event: JobEvent, meter: Meter) -> Outcome:
    return _end(state, job, Status.PREEMPTED, Finish.PREEMPTED, meter)


def _ignored(state: SellerChannel, _job: Job, _event: JobEvent, _meter: Meter) -> Outcome:
    # The job ended on our side while this was on its way.
    return state, []


def _never(_state: SellerChannel, job: Job, event: JobEvent, _meter: Meter) -> Outcome:
    raise AssertionError(f"{type(event).__name__} reached a {job.state.value} job")


Handler = Callable[[SellerChannel, Job, Any, Meter], Outcome]

_TABLE: dict[tuple[JobState, type[JobEvent]], Handler] = {
    (JobState.RUNNING, EngineSaid): _on_said,
    (JobState.RUNNING, EngineFinished): _on_finished,
    (JobState.RUNNING, EngineFailed): _on_failed,
    (JobState.RUNNING, ClientCancelled): _on_cancelled,
    (JobState.RUNNING, ClientLost): _on_cancelled,
    (JobState.RUNNING, DeadlinePassed): _on_deadline,
    (JobState.RUNNING, OwnerReturned): _on_preempted,
    # The shell takes nothing from the engine between Pause and Resume.
    (JobState.PAUSED, EngineSaid): _never,
    (JobState.PAUSED, EngineFinished): _never,
    (JobState.PAUSED, EngineFailed): _on_failed,
    (JobState.PAUSED, ClientCancelled): _on_cancelled,
    (JobState.PAUSED, ClientLost): _on_cancelled,
    (JobState.PAUSED, DeadlinePassed): _on_deadline,
    (JobState.PAUSED, OwnerReturned): _on_preempted,
    (JobState.BILLED, EngineSaid): _ignored,
    (JobState.BILLED, EngineFinished): _ignored,
    (JobState.BILLED, EngineFailed): _ignored,
    (JobState.BILLED, ClientCancelled): _ignored,
    (JobState.BILLED, ClientLost): _ignored,
    (JobState.BILLED, DeadlinePassed): _ignored,
    (JobState.BILLED, OwnerReturned): _ignored,
}


def _on_paid(state: SellerChannel, event: ClientPaid, meter: Meter) -> Outcome:
    voucher = event.voucher
    if not (
        event.signer == state.signer
        and voucher.payer == state.payer
        and voucher.provider == state.provider
    ):
        raise PeerError(
            f"voucher is for payer 0x{voucher.payer.hex()}, provider 0x{voucher.provider.hex()}, "
            f"signer 0x{event.signer.hex()}; this channel's are 0x{state.payer.hex()}, "
            f"0x{state.provider.hex()}, 0x{state.signer.hex()}"
        )
    covered = voucher.receipt_count - state.paid.count
    if covered < 0:
        raise PeerError(
            f"voucher fell back to {voucher.receipt_count} receipts, {state.paid.count} are paid"
        )
    if covered > len(state.unpaid):
        raise PeerError(
            f"voucher covers {voucher.receipt_count} receipts, "
            f"only {state.issued.count} were written"
        )
    head = state.unpaid[covered - 1] if covered else state.paid
    if voucher.total != head.total:
        side = "low" if voucher.total < head.total else "high"
        raise PeerError(
            f"voucher total is too {side}: {voucher.total} for {voucher.receipt_count} receipts "
            f"that add up to {head.total}"
        )
    if voucher.receipts_root != head.frontier.root():
        raise PeerError("voucher is for another receipt log: the roots differ")
    if not covered:
        return state, []
    effects: list[Effect] = [KeepVoucher(voucher)]
    jobs = {}
    for job_id, job in state.jobs.items():
        if job.state is JobState.BILLED and job.last_count <= voucher.receipt_count:
            effects.append(Settled(job_id))
        else:
            jobs[job_id] = job
    state = replace(state, paid=head, unpaid=state.unpaid[covered:], jobs=jobs)
    # Without an open job there is nothing that could be held.
    return _release_held(state, effects, meter) if jobs else (state, effects)


def _release_held(state: SellerChannel, effects: list[Effect], meter: Meter) -> Outcome:
    for job_id, job in state.jobs.items():
        if job.state is not JobState.PAUSED or job.held is None:
            continue
        running = replace(job, state=JobState.RUNNING, held=None)
        running = _delivered(running, job.held.text, job.held.units)
        after = _with_job(state, running)
        if after.exposure() > state.credit and state.exposure() > 0:
            continue
        state = after
        units = running.reading.output_units
        effects += [Deliver(job_id, job.output_bytes, units, job.held.text), Resume(job_id)]
    if not state.unpaid and any(job.state is JobState.PAUSED for job in state.jobs.values()):
        # What fills the line is other jobs' unbilled work: without a bill no voucher would
        # come until they speak again.
        state, bills = _bill_open_work(state, meter)
        effects += bills
    return state, effects


def _on_disputed(state: SellerChannel, event: ClientDisputed, meter: Meter) -> Outcome:
    if state.stopped:
        return state, []
    stopped = f"the client disputes receipt {event.sequence}: {event.detail}"
    state = replace(state, stopped=stopped)
    effects: list[Effect] = []
    for job_id, job in state.jobs.items():
        if job.state is not JobState.BILLED:
            handler: Handler = _TABLE[job.state, ClientLost]
            state, more = handler(state, job, ClientLost(job_id), meter)
            effects += more
    return state, effects


# --- building blocks ------------------------------------------------------------------------


def _with_job(state: SellerChannel, job: Job) -> SellerChannel:
    return replace(state, jobs={**state.jobs, job.order.job_id: job})


def _delivered(job: Job, text: str, units: int) -> Job:
    raw = text.encode()
    hasher = job.hasher.copy()
    hasher.update(raw)
    reading = job.reading._replace(output_units=job.reading.output_units + units)
    return replace(job, reading=reading, output_bytes=job.output_bytes + len(raw), hasher=hasher)


def _end(
    state: SellerChannel,
    job: Job,
    status: Status,
    finish: Finish,
    meter: Meter,
    *,
    stop: bool = True,
    detail: str = "",
) -> Outcome:
    state, bill = _bill(state, replace(job, held=None), status, finish, meter, detail)
    return state, [StopEngine(job.order.job_id), bill] if stop else [bill]


def _bill(
    state: SellerChannel,
    job: Job,
    status: Status,
    finish: Finish | None,
    meter: Meter,
    detail: str = "",
) -> tuple[SellerChannel, Bill]:
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
    state = _logged(state, job, receipt, digest, finish is not None)
    return state, Bill(job.order.job_id, receipt, digest, finish, detail)


def _bill_open_work(state: SellerChannel, meter: Meter) -> tuple[SellerChannel, list[Effect]]:
    # All of it, not only the job that ran into the line: another job's unbilled work may be
    # what fills it.
    bills: list[Effect] = []
    for job in state.jobs.values():
        if job.state is not JobState.BILLED and cost(job.order, job.reading) > job.billed:
            state, bill = _bill(state, job, Status.PARTIAL, None, meter)
            bills.append(bill)
    return state, bills


def _logged(
    state: SellerChannel, job: Job, receipt: Receipt, digest: bytes, is_last: bool
) -> SellerChannel:
    head = state.issued.append(digest, receipt.amount)
    job = replace(
        job,
        billed=job.billed + receipt.amount,
        segment=job.segment + 1,
        state=JobState.BILLED if is_last else job.state,
        last_count=head.count if is_last else 0,
    )
    state = replace(state, issued=head, unpaid=(*state.unpaid, head))
    return _with_job(state, job)
