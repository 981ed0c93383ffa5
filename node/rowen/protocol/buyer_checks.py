"""What is wrong with a receipt, for who has to pay it."""

from __future__ import annotations

from rowen.protocol.buyer_channel import BuyerChannel, Job
from rowen.protocol.buyer_events import ProviderBilled
from rowen.protocol.jobs import Finish
from rowen.protocol.metering import Reading, cost
from rowen.protocol.statements import Receipt, Status

# Only the status is signed. A finish that says something else would let a job that is charged
# look like one that failed.
_STATUS_TO_FINISHES: dict[Status, tuple[Finish | None, ...]] = {
    Status.PARTIAL: (None,),
    Status.FINAL: (Finish.STOP, Finish.LENGTH),
    Status.CANCELLED: (Finish.CANCELLED,),
    Status.PREEMPTED: (Finish.PREEMPTED,),
    Status.FAILED: (Finish.FAILED,),
}


def fault_of(state: BuyerChannel, job: Job, event: ProviderBilled) -> str:
    """What is wrong with a receipt, with expected and actual values; empty when nothing is."""
    receipt = event.receipt
    return (
        _misplaced(state, job, event) or _misread(job, receipt) or _mispriced(state, job, receipt)
    )


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
    most = job.allowance.input_units_at_most(job.output_ends, job.output_signs)
    if receipt.input_units > most:
        return f"{receipt.input_units} input units, at most {most} are possible"
    if receipt.cached_units > receipt.input_units:
        return f"{receipt.cached_units} cached of {receipt.input_units} input units"
    before = job.reading.input_units
    may_rise = job.allowance.is_by_item and receipt.input_units > before
    if job.segment and receipt.input_units != before and not may_rise:
        return f"input units changed from {before} to {receipt.input_units}"
    if receipt.output_units != job.output_units:
        return f"{receipt.output_units} output units, {job.output_units} were received"
    if receipt.output_units > job.allowance.output_units_at_most(job.output_signs):
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
