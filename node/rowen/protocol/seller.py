"""The provider's side of a channel: one pure function from (state, event) to (state, effects).

A job is RUNNING while its output goes out, PAUSED while the credit line is used up and a
voucher is awaited, and BILLED once its last receipt is written; a voucher that covers that
receipt takes it off the list. ``_TABLE`` decides every (state, event) pair. The shell does
the effects in order, and journals before it sends. What a channel is stands in
``seller_channel``, what can happen to it in ``seller_events``, what a receipt says in
``seller_billing``.

Recovery replays ``start``, ``restore_receipt`` and ``ClientPaid`` over the journal and then
ends the jobs that were cut off with ``EngineFailed``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from rowen.protocol.errors import PeerError
from rowen.protocol.jobs import Finish
from rowen.protocol.metering import Reading, cost
from rowen.protocol.seller_billing import Meter, bill_open_work, logged, write_receipt
from rowen.protocol.seller_channel import Held, Job, JobState, SellerChannel, delivered, with_job
from rowen.protocol.seller_events import (
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
from rowen.protocol.statements import Receipt, Status

Outcome = tuple[SellerChannel, list[Effect]]


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
    return with_job(state, job)


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
    job = delivered(job, text, 0)
    if job.hasher.digest() != receipt.output_hash:
        raise ValueError(f"receipt {receipt.sequence} does not match its journaled output")
    reading = Reading(receipt.input_units, receipt.cached_units, receipt.output_units)
    return logged(
        state, replace(job, reading=reading), receipt, receipt.digest(state.domain), is_last
    )


def _on_said(state: SellerChannel, job: Job, event: EngineSaid, meter: Meter) -> Outcome:
    said = delivered(job, event.text, event.units, event.input_units)
    units = said.reading.output_units
    if units > job.output_units_max:
        # The engine ran past its limit. What is above it is neither delivered nor billed.
        return _end(state, job, Status.FINAL, Finish.LENGTH, meter)
    if event.input_units and cost(job.order, said.reading) > job.order.amount_max:
        # How much input an item has is known with its output; the money ends before this one.
        return _end(state, job, Status.FINAL, Finish.LENGTH, meter)
    after = with_job(state, said)
    if after.exposure() > state.credit and state.exposure() > 0:
        held = Held(event.text, event.units, event.input_units)
        paused = replace(job, state=JobState.PAUSED, held=held)
        state, bills = bill_open_work(with_job(state, paused), meter)
        return state, [Pause(event.job), *bills]
    effects: list[Effect] = [Deliver(event.job, job.output_bytes, units, event.text)]
    job = after.jobs[event.job]
    # Bill at half the line, so that the voucher is back before the line is reached.
    owed = cost(job.order, job.reading) - job.billed
    if owed > 0 and 2 * owed >= state.credit:
        after, bill = write_receipt(after, job, Status.PARTIAL, None, meter)
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
        running = delivered(running, job.held.text, job.held.units, job.held.input_units)
        after = with_job(state, running)
        if after.exposure() > state.credit and state.exposure() > 0:
            continue
        state = after
        units = running.reading.output_units
        effects += [Deliver(job_id, job.output_bytes, units, job.held.text), Resume(job_id)]
    if not state.unpaid and any(job.state is JobState.PAUSED for job in state.jobs.values()):
        # What fills the line is other jobs' unbilled work: without a bill no voucher would
        # come until they speak again.
        state, bills = bill_open_work(state, meter)
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
    state, bill = write_receipt(state, replace(job, held=None), status, finish, meter, detail)
    return state, [StopEngine(job.order.job_id), bill] if stop else [bill]
