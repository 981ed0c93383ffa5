"""The client's side of a channel: one pure function from (state, event) to (state, effects).

A job is ORDERED until the provider answers, RUNNING while output comes in, CANCELLING once
the user or the deadline ended it, and SUSPENDED while its provider is out of reach. The last
receipt takes it off the list. ``_TABLE`` decides every (state, event) pair.

The client pays for what it received, at the price it signed, and for nothing else: a signed
receipt that says otherwise is a dispute, which stops the channel with the receipt as evidence.
Recovery replays ``place``, ``ProviderLost``, ``ProviderSent`` and ``ProviderBilled`` over the
journal: whatever was open when we stopped waits, SUSPENDED, for its provider.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

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
from rowen.protocol.channel import Head
from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.jobs import ChatInput, Finish
from rowen.protocol.metering import NOTHING, Reading, cost
from rowen.protocol.statements import Order, Receipt, Status, Voucher

# Tokens a chat template may add around each message and around the whole.
TEMPLATE_UNITS_PER_MESSAGE = 16
TEMPLATE_UNITS = 64
# An end-of-turn token has no text, and a token may wait for the rest of its character.
SILENT_UNITS = 4
# No vocabulary in use has a longer token; most are below 130 bytes.
UNIT_BYTES_MAX = 512


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
        input_units_max: More prompt tokens than this are not believed.
        silent_units_max: Output tokens that may stand for no text; see ``silent_units_bound``.
        state: See ``JobState``.
        output_units: Units of the answer received.
        output_bytes: Bytes of it.
        hasher: SHA-256 of it; never updated in place.
        reading: As on its newest receipt.
        billed: Sum of the amounts on its receipts, token units.
        segment: Receipts accepted.
    """

    order: Order
    order_hash: bytes
    input_units_max: int
    silent_units_max: int = SILENT_UNITS
    state: JobState = JobState.ORDERED
    output_units: int = 0
    output_bytes: int = 0
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

    def free(self) -> int:
        """Token units a new order may still promise."""
        caps = sum(job.order.amount_max - job.billed for job in self.jobs.values())
        return self.locked - self.log.total - caps


Outcome = tuple[BuyerChannel, list[Effect]]

# --- the function ---------------------------------------------------------------------------


def input_units_bound(job_input: ChatInput) -> int:
    """More prompt tokens than any byte-level tokenizer and template make of this input.

    A token stands for at least one byte, except those of the chat template.
    """
    content = sum(len(message.content.encode()) for message in job_input.messages)
    return content + TEMPLATE_UNITS_PER_MESSAGE * len(job_input.messages) + TEMPLATE_UNITS


def silent_units_bound(job_input: ChatInput) -> int:
    """More output tokens than any engine counts without showing text for them.

    Those of the stop text that ends an answer are sampled and not shown.
    """
    return SILENT_UNITS + max((len(text.encode()) for text in job_input.stop), default=0)


def place(
    state: BuyerChannel, order: Order, input_units_max: int, silent_units_max: int = SILENT_UNITS
) -> BuyerChannel:
    """The channel with one more job ordered.

    Args:
        state: The channel.
        order: What we are about to sign.
        input_units_max: See ``input_units_bound``.
        silent_units_max: See ``silent_units_bound``.

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
        input_units_max=input_units_max,
        silent_units_max=silent_units_max,
    )
    return _with_job(state, job)


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
    if event.input_units > job.input_units_max:
        # Its receipt would be disputed. Leave before it works for nothing.
        return _cancel(state, job)
    if job.state is JobState.ORDERED:
        job = replace(job, state=JobState.RUNNING)
    return _with_job(state, job), []


def _on_refused(state: BuyerChannel, job: Job, _event: Event) -> Outcome:
    return _without_job(state, job), []


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
    job = replace(job, output_units=event.units, output_bytes=end, hasher=hasher)
    return _with_job(state, job), [Deliver(event.job, text, units)]


def _on_billed(state: BuyerChannel, job: Job, event: ProviderBilled) -> Outcome:
    if event.signer != state.provider:
        raise PeerError(
            f"receipt is signed by 0x{event.signer.hex()}, the provider is "
            f"0x{state.provider.hex()}; or it is for another chain or contract"
        )
    receipt = event.receipt
    wrong = (
        _misplaced(state, job, event) or _misread(job, receipt) or _mispriced(state, job, receipt)
    )
    if wrong:
        return _dispute(state, event, wrong)
    log = state.log.append(event.digest, receipt.amount)
    job = replace(
        job,
        billed=job.billed + receipt.amount,
        segment=job.segment + 1,
        reading=Reading(receipt.input_units, receipt.cached_units, receipt.output_units),
    )
    state = _with_job(replace(state, log=log), job)
    voucher = Voucher(
        payer=state.payer,
        provider=state.provider,
        total=log.total,
        receipt_count=log.count,
        receipts_root=log.frontier.root(),
    )
    effects: list[Effect] = [Pay(event.job, receipt, voucher)]
    if event.finish is not None:
        state = _without_job(state, job)
        effects.append(Ended(event.job, event.finish, receipt, event.detail))
    return state, effects


def _on_ended_by_us(state: BuyerChannel, job: Job, _event: Event) -> Outcome:
    return _cancel(state, job)


def _on_lost(state: BuyerChannel, job: Job, _event: Event) -> Outcome:
    return _with_job(state, replace(job, state=JobState.SUSPENDED)), []


def _on_caught_up(state: BuyerChannel, job: Job, _event: Event) -> Outcome:
    # The provider never took the order, or lost it: nobody owes anything for it.
    ended = Ended(job.order.job_id, Finish.FAILED, None, "the provider does not know this job")
    return _without_job(state, job), [ended]


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


# Only the status is signed. A finish that says something else would let a job that is charged
# look like one that failed.
_STATUS_TO_FINISHES: dict[Status, tuple[Finish | None, ...]] = {
    Status.PARTIAL: (None,),
    Status.FINAL: (Finish.STOP, Finish.LENGTH),
    Status.CANCELLED: (Finish.CANCELLED,),
    Status.PREEMPTED: (Finish.PREEMPTED,),
    Status.FAILED: (Finish.FAILED,),
}

# What is wrong with a receipt, with expected and actual values; empty when nothing is.


def _misplaced(state: BuyerChannel, job: Job, event: ProviderBilled) -> str:
    receipt = event.receipt
    if receipt.channel_id != state.channel_id:
        return "it is for another channel"
    if receipt.sequence != state.log.count:
        return f"it is number {receipt.sequence}, the log has {state.log.count}"
    if receipt.order_hash != job.order_hash or receipt.segment != job.segment:
        return f"it is for another order or segment than {job.segment} of this one"
    if event.finish not in _STATUS_TO_FINISHES[receipt.status]:
        return f"its status {receipt.status.name} does not fit finish {event.finish}"
    if receipt.finished_at_ms < receipt.started_at_ms:
        return "it ends before it starts"
    return ""


def _misread(job: Job, receipt: Receipt) -> str:
    if receipt.status is Status.FAILED:
        # It is free, and a provider that crashed may not know how far its output went.
        return ""
    if receipt.input_units > job.input_units_max:
        return f"{receipt.input_units} input units, at most {job.input_units_max} are possible"
    if receipt.cached_units > receipt.input_units:
        return f"{receipt.cached_units} cached of {receipt.input_units} input units"
    if job.segment and receipt.input_units != job.reading.input_units:
        return f"input units changed from {job.reading.input_units} to {receipt.input_units}"
    if receipt.output_units != job.output_units:
        return f"{receipt.output_units} output units, {job.output_units} were received"
    if receipt.output_units > job.output_bytes + job.silent_units_max:
        return f"{receipt.output_units} output units in {job.output_bytes} bytes of text"
    if receipt.output_units > job.order.output_units_max:
        return f"{receipt.output_units} output units, ordered {job.order.output_units_max}"
    if receipt.output_hash != job.hasher.digest():
        return "its output hash is not that of the output received"
    return ""


def _mispriced(state: BuyerChannel, job: Job, receipt: Receipt) -> str:
    expected = 0
    if receipt.status is not Status.FAILED:
        reading = Reading(receipt.input_units, receipt.cached_units, receipt.output_units)
        expected = max(0, cost(job.order, reading) - job.billed)
    if receipt.amount != expected:
        return f"amount is {receipt.amount}, units times price make {expected}"
    if receipt.status is Status.PARTIAL and not receipt.amount:
        # Without end, and each of them ours to sign and keep.
        return "it is partial and charges nothing"
    if receipt.total != state.log.total + receipt.amount:
        return f"total is {receipt.total}, expected {state.log.total + receipt.amount}"
    if job.billed + receipt.amount > job.order.amount_max:
        return f"job costs {job.billed + receipt.amount}, ordered at most {job.order.amount_max}"
    return ""


# --- building blocks ------------------------------------------------------------------------


def _with_job(state: BuyerChannel, job: Job) -> BuyerChannel:
    return replace(state, jobs={**state.jobs, job.order.job_id: job})


def _without_job(state: BuyerChannel, job: Job) -> BuyerChannel:
    jobs = {key: other for key, other in state.jobs.items() if key != job.order.job_id}
    return replace(state, jobs=jobs)


def _cancel(state: BuyerChannel, job: Job) -> Outcome:
    cancelling = replace(job, state=JobState.CANCELLING)
    return _with_job(state, cancelling), [SendCancel(job.order.job_id)]


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
