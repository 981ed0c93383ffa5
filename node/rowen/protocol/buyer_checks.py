"""What a client believes: how many units a text can be, and what is wrong with a receipt."""

from __future__ import annotations

from rowen.protocol.buyer_channel import BuyerChannel, Job
from rowen.protocol.buyer_events import ProviderBilled
from rowen.protocol.jobs import CompletionInput, Finish, JobInput
from rowen.protocol.metering import Reading, cost
from rowen.protocol.statements import Receipt, Status

# Tokens a chat template may add around each message and around the whole.
TEMPLATE_UNITS_PER_MESSAGE = 16
TEMPLATE_UNITS = 64
# An end-of-turn token has no text, and a token may wait for the rest of its character.
SILENT_UNITS = 4
# No vocabulary in use has a longer token; most are below 130 bytes.
UNIT_BYTES_MAX = 512

# Only the status is signed. A finish that says something else would let a job that is charged
# look like one that failed.
_STATUS_TO_FINISHES: dict[Status, tuple[Finish | None, ...]] = {
    Status.PARTIAL: (None,),
    Status.FINAL: (Finish.STOP, Finish.LENGTH),
    Status.CANCELLED: (Finish.CANCELLED,),
    Status.PREEMPTED: (Finish.PREEMPTED,),
    Status.FAILED: (Finish.FAILED,),
}


def input_units_bound(job_input: JobInput) -> int:
    """More prompt tokens than any byte-level tokenizer and template make of this input.

    A token stands for at least one byte, except those of the chat template and those that a
    tokenizer puts around every text.
    """
    if isinstance(job_input, CompletionInput):
        return len(job_input.prompt.encode()) + TEMPLATE_UNITS
    content = sum(len(message.content.encode()) for message in job_input.messages)
    return content + TEMPLATE_UNITS_PER_MESSAGE * len(job_input.messages) + TEMPLATE_UNITS


def input_units_least(job_input: JobInput) -> int:
    """Fewer tokens than this no engine makes of an input."""
    return 1 if isinstance(job_input, CompletionInput) else len(job_input.messages)


def silent_units_bound(job_input: JobInput) -> int:
    """More output tokens than any engine counts without showing text for them.

    Those of the stop text that ends an answer are sampled and not shown.
    """
    return SILENT_UNITS + max((len(text.encode()) for text in job_input.stop), default=0)


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
