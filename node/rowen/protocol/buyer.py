"""The client's side of a channel: one pure function from (state, event) to (state, effects).

A job is ORDERED until the provider answers, RUNNING while output comes in, CANCELLING once
the user or the deadline ended it, and SUSPENDED while its provider is out of reach. The last
receipt takes it off the list. ``_TABLE`` decides every (state, event) pair. What a channel is
stands in ``buyer_channel``, what can happen to it in ``buyer_events``, what is wrong with a
receipt in ``buyer_checks``.

The client pays for what it received, at the price it signed, and for nothing else: a signed
receipt that says otherwise is a dispute, which stops the channel with the receipt as evidence.
Recovery replays ``place``, ``ProviderLost``, ``ProviderSent`` and ``ProviderBilled`` over the
journal: whatever was open when we stopped waits, SUSPENDED, for its provider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from rowen.protocol.buyer_channel import BuyerChannel, Job, JobState, with_job, without_job
from rowen.protocol.buyer_checks import fault_of
from rowen.protocol.buyer_events import (
    CaughtUp,
    DeadlinePassed,
    Deliver,
    Dispute,
    Effect,
    Ended,
    Event,
    Pay,
    ProviderAccepted,
    ProviderBilled,
    ProviderLost,
    ProviderRefused,
    ProviderSent,
    SendCancel,
    UserCancelled,
)
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.jobs import Finish
from rowen.protocol.metering import Reading
from rowen.protocol.statements import Order, Voucher
from rowen.protocol.units import UNIT_BYTES_MAX, Allowance

Outcome = tuple[BuyerChannel, list[Effect]]


def place(state: BuyerChannel, order: Order, allowance: Allowance) -> BuyerChannel:
    """The channel with one more job ordered.

    Args:
        state: The channel.
        order: What we are about to sign.
        allowance: See ``units.allowance_of``.

    Raises:
        UserError: The channel is stopped or has not enough left.
    """
    if state.stopped:
        raise UserError(f"this channel is stopped: {state.stopped}. Open one elsewhere")
    if order.amount_max > state.free():
        raise UserError(
            f"the job may cost {order.amount_max}, the channel has {max(0, state.free())} left: "
            "lock more with `rowen channel open`, or ask for less"
        )
    assert order.job_id not in state.jobs
    job = Job(
        order=order,
        order_hash=order.digest(state.domain),
        allowance=allowance,
    )
    return with_job(state, job)


def step(state: BuyerChannel, event: Event) -> Outcome:
    """Applies one event.

    Raises:
        PeerError: The provider broke the protocol; state is unchanged.
    """
    job = state.jobs.get(event.job)
    if job is None:
        if isinstance(event, ProviderBilled):
            return _dispute(state, event, "it is for a job that is not open")
        # Ended; messages cross on the wire.
        return state, []
    handler: Handler = _TABLE[job.state, type(event)]
    return handler(state, job, event)


def _on_accepted(state: BuyerChannel, job: Job, event: ProviderAccepted) -> Outcome:
    if event.input_units > job.allowance.input_units_max[-1]:
        # Its receipt would be disputed. Leave before it works for nothing.
        return _cancel(state, job)
    if job.state is JobState.ORDERED:
        job = replace(job, state=JobState.RUNNING)
    return with_job(state, job), []


def _on_refused(state: BuyerChannel, job: Job, _event: Event) -> Outcome:
    return without_job(state, job), []


def _on_sent(state: BuyerChannel, job: Job, event: ProviderSent) -> Outcome:
    raw = event.text.encode()
    end = event.at + len(raw)
    if event.at > job.output_bytes:
        raise PeerError(f"output at byte {event.at} leaves a gap after {job.output_bytes}")
    if end <= job.output_bytes and event.units <= job.output_units:
        # Sent again after a reconnect; we have it.
        return state, []
    if event.units < job.output_units:
        raise PeerError(f"output units fell from {job.output_units} to {event.units}")
    if end < job.output_bytes:
        raise PeerError(f"output ends at byte {end} with more units than {job.output_bytes} had")
    # Whoever reads the answer may lag, so what waits for him must have an end.
    if event.units > job.order.output_units_max:
        raise PeerError(f"{event.units} output units, ordered {job.order.output_units_max}")
    if end > job.order.output_units_max * UNIT_BYTES_MAX:
        raise PeerError(f"{end} bytes of output, ordered {job.order.output_units_max} units")
    try:
        text = raw[job.output_bytes - event.at :].decode()
    except UnicodeDecodeError as error:
        raise PeerError("output sent again is cut inside a character") from error
    hasher = job.hasher.copy()
    hasher.update(text.encode())
    units = event.units - job.output_units
    ending = job.allowance.item_end
    job = replace(
        job,
        output_units=event.units,
        output_bytes=end,
        output_signs=job.output_signs + job.allowance.signs_in(text),
        output_ends=job.output_ends + (text.count(ending) if ending else 0),
        hasher=hasher,
    )
    return with_job(state, job), [Deliver(event.job, text, units)]


def _on_billed(state: BuyerChannel, job: Job, event: ProviderBilled) -> Outcome:
    if event.signer != state.provider:
        raise PeerError(
            f"receipt is signed by 0x{event.signer.hex()}, the provider is "
            f"0x{state.provider.hex()}; or it is for another chain or contract"
        )
    receipt = event.receipt
    wrong = fault_of(state, job, event)
    if wrong:
        return _dispute(state, event, wrong)
    log = state.log.append(event.digest, receipt.amount)
    job = replace(
        job,
        billed=job.billed + receipt.amount,
        segment=job.segment + 1,
        reading=Reading(receipt.input_units, receipt.cached_units, receipt.output_units),
    )
    state = with_job(replace(state, log=log), job)
    voucher = Voucher(
        payer=state.payer,
        provider=state.provider,
        total=log.total,
        receipt_count=log.count,
        receipts_root=log.frontier.root(),
    )
    effects: list[Effect] = [Pay(event.job, receipt, voucher)]
    if event.finish is not None:
        state = without_job(state, job)
        effects.append(Ended(event.job, event.finish, receipt, event.detail))
    return state, effects


def _on_ended_by_us(state: BuyerChannel, job: Job, _event: Event) -> Outcome:
    return _cancel(state, job)


def _on_lost(state: BuyerChannel, job: Job, _event: Event) -> Outcome:
    return with_job(state, replace(job, state=JobState.SUSPENDED)), []


def _on_caught_up(state: BuyerChannel, job: Job, _event: Event) -> Outcome:
    # The provider never took the order, or lost it: nobody owes anything for it.
    ended = Ended(job.order.job_id, Finish.FAILED, None, "the provider does not know this job")
    return without_job(state, job), [ended]


def _ignored(state: BuyerChannel, _job: Job, _event: Event) -> Outcome:
    return state, []


def _out_of_turn(_state: BuyerChannel, job: Job, event: Event) -> Outcome:
    raise PeerError(f"{type(event).__name__} for a job that is {job.state.value}")


def _never(_state: BuyerChannel, job: Job, event: Event) -> Outcome:
    raise AssertionError(f"{type(event).__name__} reached a job that is {job.state.value}")


Handler = Callable[[BuyerChannel, Job, Any], Outcome]

_TABLE: dict[tuple[JobState, type[Event]], Handler] = {
    (JobState.ORDERED, ProviderAccepted): _on_accepted,
    (JobState.ORDERED, ProviderRefused): _on_refused,
    (JobState.ORDERED, ProviderSent): _out_of_turn,
    (JobState.ORDERED, ProviderBilled): _out_of_turn,
    (JobState.ORDERED, UserCancelled): _on_ended_by_us,
    (JobState.ORDERED, DeadlinePassed): _on_ended_by_us,
    (JobState.ORDERED, ProviderLost): _on_lost,
    (JobState.ORDERED, CaughtUp): _ignored,
    (JobState.RUNNING, ProviderAccepted): _out_of_turn,
    (JobState.RUNNING, ProviderRefused): _out_of_turn,
    (JobState.RUNNING, ProviderSent): _on_sent,
    (JobState.RUNNING, ProviderBilled): _on_billed,
    (JobState.RUNNING, UserCancelled): _on_ended_by_us,
    (JobState.RUNNING, DeadlinePassed): _on_ended_by_us,
    (JobState.RUNNING, ProviderLost): _on_lost,
    (JobState.RUNNING, CaughtUp): _ignored,
    # The answer to the order may still be on its way when we cancel. A provider that had not
    # decided yet knew no job to cancel, so it hears it again.
    (JobState.CANCELLING, ProviderAccepted): _on_ended_by_us,
    (JobState.CANCELLING, ProviderRefused): _on_refused,
    (JobState.CANCELLING, ProviderSent): _on_sent,
    (JobState.CANCELLING, ProviderBilled): _on_billed,
    (JobState.CANCELLING, UserCancelled): _ignored,
    (JobState.CANCELLING, DeadlinePassed): _ignored,
    (JobState.CANCELLING, ProviderLost): _on_lost,
    (JobState.CANCELLING, CaughtUp): _ignored,
    # After a reconnect the provider sends again what we have not paid for.
    (JobState.SUSPENDED, ProviderAccepted): _out_of_turn,
    (JobState.SUSPENDED, ProviderRefused): _out_of_turn,
    (JobState.SUSPENDED, ProviderSent): _on_sent,
    (JobState.SUSPENDED, ProviderBilled): _on_billed,
    (JobState.SUSPENDED, UserCancelled): _ignored,
    (JobState.SUSPENDED, DeadlinePassed): _ignored,
    (JobState.SUSPENDED, ProviderLost): _ignored,
    (JobState.SUSPENDED, CaughtUp): _on_caught_up,
}


def _cancel(state: BuyerChannel, job: Job) -> Outcome:
    cancelling = replace(job, state=JobState.CANCELLING)
    return with_job(state, cancelling), [SendCancel(job.order.job_id)]


def _dispute(state: BuyerChannel, event: ProviderBilled, detail: str) -> Outcome:
    if event.signer != state.provider:
        raise PeerError(f"receipt is signed by 0x{event.signer.hex()}, not by the provider")
    if state.stopped:
        # One disputed receipt is enough; those after it build on it.
        return state, []
    why = f"receipt {event.receipt.sequence} is disputed: {detail}"
    # The log ends here, so no open job can ever be billed: a corrected receipt would be the
    # second one for its sequence, and paying it would hide the first.
    ended = [Ended(job_id, Finish.FAILED, None, why) for job_id in state.jobs]
    stopped = replace(state, stopped=why, jobs={})
    return stopped, [Dispute(event.job, event.receipt, detail), *ended]
