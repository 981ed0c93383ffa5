"""Whether a provider takes an order: every reason to say no, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from rowen.protocol.channel import ChannelView
from rowen.protocol.errors import PeerError, Reason, Refused
from rowen.protocol.ids import channel_id_of
from rowen.protocol.jobs import ITEMS_MAX, Kind
from rowen.protocol.metering import Reading, cost, output_units_affordable
from rowen.protocol.seller_channel import Job, JobState, SellerChannel
from rowen.protocol.statements import Order
from rowen.protocol.units import ITEM_ENDS
from rowen_scheduler.market import Variant

RETRY_MS = 1_000
# Text averages 3 to 5 bytes a unit, indented code not twice as much.
INPUT_UNIT_BYTES_MAX = 32
# All of them are kept in memory, and sent again whenever the client attaches.
RECEIPTS_UNPAID_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a provider works under.

    Attributes:
        variants: What it sells, by id.
        jobs_max: Open jobs on one channel.
        deadline_ms_max: Furthest deadline it accepts, from now.
    """

    variants: Mapping[bytes, Variant]
    jobs_max: int
    deadline_ms_max: int


def input_hash(salt: bytes, encoded_input: bytes) -> bytes:
    """The commitment to the input in an order: SHA-256 over salt and input, 32 bytes."""
    return sha256(salt + encoded_input).digest()


def check_order(state: SellerChannel, order: Order, signer: bytes, hashed: bytes) -> None:
    """Checks that need neither chain nor engine.

    Args:
        state: The channel.
        order: What arrived.
        signer: Who signed it.
        hashed: ``input_hash`` of the input that came with it.

    Raises:
        PeerError: Not signed by the channel's session key, or for another channel.
        Refused: The input is not the one the order was signed for.
    """
    if signer != state.signer:
        raise PeerError(
            f"order is signed by 0x{signer.hex()}, this session's key is 0x{state.signer.hex()}; "
            "or it was signed for another chain or contract"
        )
    if order.channel_id != channel_id_of(state.payer, state.provider, state.signer):
        raise PeerError(f"order is for channel 0x{order.channel_id.hex()}, not for this one")
    if order.input_hash != hashed:
        raise Refused(Reason.INPUT_MISMATCH, "the input is not the one the order was signed for")


def check_worth_reading(
    state: SellerChannel,
    order: Order,
    *,
    terms: Terms,
    view: ChannelView | None,
    input_bytes: int,
    now_ms: int,
) -> None:
    """Checks all that can be known before the engine has read the input; reading it is work.

    Args:
        state: The channel.
        order: As for ``admit``.
        terms: As for ``admit``.
        view: As for ``admit``.
        input_bytes: Size of the encoded input.
        now_ms: Unix time.

    Raises:
        Refused: As ``admit`` would, or the input is far larger than any context.
    """
    admit(
        state,
        order,
        terms=terms,
        view=view,
        kind=None,
        input_units=0,
        now_ms=now_ms,
    )
    if not _reads_into_context(terms.variants[order.variant]):
        return
    bytes_max = terms.variants[order.variant].context_units * INPUT_UNIT_BYTES_MAX
    if input_bytes > bytes_max:
        raise Refused(
            Reason.INPUT_TOO_LONG, f"input has {input_bytes} bytes, at most {bytes_max} are read"
        )


def check_kind(variant: Variant, kind: Kind) -> None:
    """Whether a variant does what an input asks for.

    Raises:
        Refused: It does other work.
    """
    if kind not in variant.kinds:
        raise Refused(
            Reason.UNKNOWN_KIND,
            f"{variant.model} is sold here for {', '.join(variant.kinds)}, not for {kind}",
        )


def admit(
    state: SellerChannel,
    order: Order,
    *,
    terms: Terms,
    view: ChannelView | None,
    kind: Kind | None,
    input_units: int,
    now_ms: int,
) -> Job:
    """The job to start, if every condition holds that can be told from this channel.

    One cannot: only the journal knows every job id ever taken, and refuses to keep one twice.

    Args:
        state: The channel.
        order: Signed by the channel's session key, see ``check_order``.
        terms: The provider's.
        view: The channel on chain, confirmed; None when there is none.
        kind: Of the input; None while nobody has read it.
        input_units: As the engine counts them before it answers; where input is read item by
            item, these are fewer or as many.
        now_ms: Unix time.

    Raises:
        Refused: With the reason and, where waiting helps, a time.
    """
    if state.stopped:
        raise Refused(Reason.CHANNEL_STOPPED, state.stopped)
    if order.job_id in state.jobs:
        raise Refused(Reason.JOB_REPLAYED, f"job 0x{order.job_id.hex()} was ordered before")
    if order.deadline_ms <= now_ms:
        raise Refused(Reason.DEADLINE_PASSED, f"deadline {order.deadline_ms} is not after {now_ms}")
    if order.deadline_ms > now_ms + terms.deadline_ms_max:
        raise Refused(
            Reason.DEADLINE_PASSED,
            f"deadline is {order.deadline_ms - now_ms} ms away, at most {terms.deadline_ms_max}",
        )
    variant = _check_product(order, terms, input_units)
    open_jobs = sum(job.state is not JobState.BILLED for job in state.jobs.values())
    if open_jobs >= terms.jobs_max:
        raise Refused(
            Reason.CHANNEL_BUSY, f"{open_jobs} jobs are open, at most {terms.jobs_max}", RETRY_MS
        )
    if len(state.unpaid) >= RECEIPTS_UNPAID_MAX:
        # The credit line does not end this: jobs may cost next to nothing, or nothing.
        raise Refused(
            Reason.CREDIT_EXCEEDED,
            f"{len(state.unpaid)} receipts are unpaid, at most {RECEIPTS_UNPAID_MAX}",
            RETRY_MS,
        )
    _check_funds(state, order, view)
    is_by_item = kind in ITEM_ENDS
    output_units_max = output_units_affordable(order, input_units)
    if _reads_into_context(variant):
        output_units_max = min(output_units_max, variant.context_units - input_units)
    job = Job(
        order=order,
        order_hash=order.digest(state.domain),
        output_units_max=output_units_max,
        started_at_ms=now_ms,
        reading=Reading(0 if is_by_item else input_units, 0, 0),
    )
    _check_credit(state, job)
    return job


def _reads_into_context(variant: Variant) -> bool:
    """Whether input and output of a job share one context."""
    return not ITEM_ENDS.keys() & set(variant.kinds)


def _check_product(order: Order, terms: Terms, input_units: int) -> Variant:
    variant = terms.variants.get(order.variant)
    if variant is None:
        names = ", ".join(f"{v.model}:{v.precision}" for v in terms.variants.values())
        raise Refused(
            Reason.UNKNOWN_VARIANT, f"variant 0x{order.variant.hex()} is not sold here: {names}"
        )
    for what, offered, asked in (
        ("input", order.price_input, variant.price_input),
        ("cached input", order.price_cached, variant.price_cached),
        ("output", order.price_output, variant.price_output),
        ("request", order.price_request, variant.price_request),
    ):
        if offered < asked:
            raise Refused(
                Reason.PRICE_TOO_LOW, f"{what} price is {asked}, the order offers {offered}"
            )
    most = variant.output_units_max * (1 if _reads_into_context(variant) else ITEMS_MAX)
    if order.output_units_max > most:
        raise Refused(
            Reason.INPUT_TOO_LONG, f"{order.output_units_max} output units asked, at most {most}"
        )
    if input_units >= variant.context_units and _reads_into_context(variant):
        raise Refused(
            Reason.INPUT_TOO_LONG,
            f"input has {input_units} units, the context holds {variant.context_units}",
        )
    if output_units_affordable(order, input_units) < 1:
        least = cost(order, Reading(input_units, 0, 1))
        raise Refused(
            Reason.COST_ABOVE_MAX,
            f"{input_units} input units and one of output cost {least}, "
            f"the order allows {order.amount_max}",
        )
    return variant


def _check_funds(state: SellerChannel, order: Order, view: ChannelView | None) -> None:
    if view is None or view.locked == 0:
        raise Refused(
            Reason.CHANNEL_UNKNOWN,
            "no confirmed funds for this payer, provider and session key",
            RETRY_MS,
        )
    if view.unlock_at_s:
        raise Refused(
            Reason.CHANNEL_UNLOCKING, f"the payer asked for the funds back at {view.unlock_at_s}"
        )
    free = view.locked - max(view.claimed, state.reserved())
    if order.amount_max > free:
        raise Refused(
            Reason.CHANNEL_EMPTY,
            f"the order may cost {order.amount_max}, the channel has {max(0, free)} left",
        )


def _check_credit(state: SellerChannel, job: Job) -> None:
    first = cost(job.order, job.reading)
    if first + state.exposure() > state.credit:
        raise Refused(
            Reason.CREDIT_EXCEEDED,
            f"reading the input costs {first}, {state.exposure()} is unpaid, "
            f"credit is {state.credit}",
            RETRY_MS if first <= state.credit else None,
        )
