"""Every reason to refuse an order, right at its boundary. Threats 1, 2, 9."""

from typing import Any

import pytest
from tests.unit.protocol import build
from tests.unit.protocol.build import (
    NOW_MS,
    order,
    seller_channel,
    seller_job,
    terms,
    variant,
    view,
)

from rowen.protocol import seller
from rowen.protocol import seller_events as on
from rowen.protocol.admission import (
    INPUT_UNIT_BYTES_MAX,
    RECEIPTS_UNPAID_MAX,
    admit,
    check_kind,
    check_order,
    check_worth_reading,
    input_hash,
)
from rowen.protocol.errors import PeerError, Reason, Refused
from rowen.protocol.jobs import Kind
from rowen.protocol.metering import Reading
from rowen.protocol.seller_billing import Meter
from rowen.protocol.seller_channel import Job, SellerChannel

METER = Meter(now_ms=NOW_MS)


def admitted(state: SellerChannel | None = None, **changes: Any) -> Job:
    arguments: dict[str, Any] = {
        "order": order(),
        "terms": terms(),
        "view": view(),
        "kind": Kind.CHAT,
        "input_units": 5,
        "now_ms": NOW_MS,
    }
    arguments |= changes
    return admit(state or seller_channel(), arguments.pop("order"), **arguments)


def refused(state: SellerChannel | None = None, **changes: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        admitted(state, **changes)
    return caught.value


def running(count: int, **changes: Any) -> SellerChannel:
    """A channel with jobs that have not said anything, and cost nothing yet."""
    state = seller_channel(**changes)
    for number in range(count):
        ordered = order(job_id=bytes((number + 1,)) * 32, price_input=0)
        state = seller.start(state, seller_job(ordered))
    return state


def test_an_order_within_all_limits_is_admitted() -> None:
    job = admitted()
    assert job.order == order()
    assert job.order_hash == order().digest(build.DOMAIN)
    assert job.reading == Reading(5, 0, 0)
    assert job.started_at_ms == NOW_MS
    assert job.output_units_max == 100


# Each: what differs, the last value that is taken, the first that is not, and the reason.
BOUNDARIES: dict[str, tuple[Any, Any, Reason]] = {
    "deadline, near": (
        {"order": order(deadline_ms=NOW_MS + 1)},
        {"order": order(deadline_ms=NOW_MS)},
        Reason.DEADLINE_PASSED,
    ),
    "deadline, far": (
        {"order": order(deadline_ms=NOW_MS + 600_000)},
        {"order": order(deadline_ms=NOW_MS + 600_001)},
        Reason.DEADLINE_PASSED,
    ),
    "input price": (
        {"order": order(price_input=build.MILLION)},
        {"order": order(price_input=build.MILLION - 1)},
        Reason.PRICE_TOO_LOW,
    ),
    "cached price": (
        {"order": order(price_cached=build.MILLION)},
        {"order": order(price_cached=build.MILLION - 1)},
        Reason.PRICE_TOO_LOW,
    ),
    "output price": (
        {"order": order(price_output=build.MILLION)},
        {"order": order(price_output=build.MILLION - 1)},
        Reason.PRICE_TOO_LOW,
    ),
    "request price": (
        {"terms": terms(variants={b"\x11" * 32: variant(price_request=0)})},
        {"terms": terms(variants={b"\x11" * 32: variant(price_request=1)})},
        Reason.PRICE_TOO_LOW,
    ),
    "variant": (
        {"order": order(variant=b"\x11" * 32)},
        {"order": order(variant=b"\x12" * 32)},
        Reason.UNKNOWN_VARIANT,
    ),
    "longest answer": (
        {"order": order(output_units_max=150)},
        {"order": order(output_units_max=151)},
        Reason.INPUT_TOO_LONG,
    ),
    "context": (
        {"input_units": 20, "terms": terms(variants={b"\x11" * 32: variant(context_units=21)})},
        {"input_units": 20, "terms": terms(variants={b"\x11" * 32: variant(context_units=20)})},
        Reason.INPUT_TOO_LONG,
    ),
    "maximum": (
        {"order": order(amount_max=6)},
        {"order": order(amount_max=5)},
        Reason.COST_ABOVE_MAX,
    ),
    "no output": (
        {"order": order(output_units_max=1)},
        {"order": order(output_units_max=0)},
        Reason.COST_ABOVE_MAX,
    ),
    "funds": ({"view": view(locked=1_000)}, {"view": view(locked=999)}, Reason.CHANNEL_EMPTY),
    "claimed": (
        {"view": view(claimed=9_000)},
        {"view": view(claimed=9_001)},
        Reason.CHANNEL_EMPTY,
    ),
    "any funds": ({"view": view()}, {"view": view(locked=0)}, Reason.CHANNEL_UNKNOWN),
    "a channel": ({"view": view()}, {"view": None}, Reason.CHANNEL_UNKNOWN),
    "unlock": (
        {"view": view(unlock_at_s=0)},
        {"view": view(unlock_at_s=1)},
        Reason.CHANNEL_UNLOCKING,
    ),
    "credit": ({"input_units": 40}, {"input_units": 41}, Reason.CREDIT_EXCEEDED),
}


@pytest.mark.parametrize("what", BOUNDARIES)
def test_the_last_good_value_is_taken_and_the_next_refused(what: str) -> None:
    taken, not_taken, reason = BOUNDARIES[what]
    admitted(**taken)
    assert refused(**not_taken).reason is reason


def test_a_job_that_is_open_is_not_taken_again() -> None:
    """Threat 1: before the engine reads its input; of those that ended the journal knows."""
    no = refused(running(1), order=order(job_id=b"\x01" * 32))
    assert no.reason is Reason.JOB_REPLAYED


def test_a_stopped_channel_takes_no_jobs() -> None:
    assert refused(seller_channel(stopped="a dispute")).reason is Reason.CHANNEL_STOPPED


@pytest.mark.parametrize(("open_jobs", "is_taken"), [(1, True), (2, False)])
def test_a_channel_has_so_many_open_jobs(open_jobs: int, is_taken: bool) -> None:
    """Threat 49: per-channel limits; a billed job no longer counts."""
    state = running(open_jobs)
    new = order(job_id=b"\xee" * 32)
    if is_taken:
        admitted(state, order=new)
        return
    no = refused(state, order=new)
    assert no.reason is Reason.CHANNEL_BUSY
    assert no.retry_ms
    state, _ = seller.step(state, on.EngineFailed(b"\x01" * 32, ""), METER)
    admitted(state, order=new)


@pytest.mark.parametrize(("locked", "is_taken"), [(3_000, True), (2_999, False)])
def test_open_jobs_reserve_their_maximum(locked: int, is_taken: bool) -> None:
    """Threat 9: "admission checks locked − claimed − owed"."""
    state = running(2)
    ask = {"order": order(job_id=b"\xee" * 32), "terms": terms(jobs_max=3)}
    if is_taken:
        admitted(state, view=view(locked=locked), **ask)
    else:
        assert refused(state, view=view(locked=locked), **ask).reason is Reason.CHANNEL_EMPTY


@pytest.mark.parametrize(("locked", "is_taken"), [(1_025, True), (1_024, False)])
def test_what_is_owed_is_not_free(locked: int, is_taken: bool) -> None:
    """Threat 9: unpaid receipts count before any voucher or claim does."""
    state = seller.start(seller_channel(credit=100), seller_job())
    state, _ = seller.step(state, on.EngineSaid(b"\x10" * 32, "x" * 20, 20), METER)
    state, _ = seller.step(state, on.ClientCancelled(b"\x10" * 32), METER)
    assert state.issued.total == 25
    new = order(job_id=b"\xee" * 32)
    if is_taken:
        admitted(state, order=new, view=view(locked=locked))
    else:
        no = refused(state, order=new, view=view(locked=locked))
        assert no.reason is Reason.CHANNEL_EMPTY


def test_a_channel_is_not_overdrawn_however_often_it_is_asked() -> None:
    """Threat 9: the maxima of all admitted jobs fit what is locked."""
    state, taken = seller_channel(credit=10**6), 0
    for number in range(40):
        try:
            job = admitted(
                state,
                order=order(job_id=bytes((number,)) * 32, amount_max=300),
                terms=terms(jobs_max=100),
                view=view(locked=1_000, claimed=50),
            )
        except Refused:
            continue
        state, taken = seller.start(state, job), taken + 1
    assert taken == 3
    assert state.reserved() == 900


def test_another_jobs_unpaid_work_uses_up_the_credit() -> None:
    state = seller.start(seller_channel(), seller_job())
    state, _ = seller.step(state, on.EngineSaid(b"\x10" * 32, "x" * 30, 30), METER)
    assert state.exposure() == 35
    new = order(job_id=b"\xee" * 32)
    admitted(state, order=new, input_units=5)
    no = refused(state, order=new, input_units=6)
    assert (no.reason, bool(no.retry_ms)) == (Reason.CREDIT_EXCEEDED, True)


def test_waiting_does_not_help_an_input_that_alone_exceeds_the_credit() -> None:
    assert refused(input_units=41).retry_ms is None


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"order": order(output_units_max=7)}, 7),
        ({"order": order(amount_max=20)}, 15),
        ({"order": order(output_units_max=150), "input_units": 40}, 150),
        ({"terms": terms(variants={b"\x11" * 32: variant(context_units=25)})}, 20),
    ],
)
def test_the_answer_ends_where_order_money_or_context_end(changes: Any, limit: int) -> None:
    assert admitted(**changes).output_units_max == limit


def test_an_order_of_another_key_is_misbehaviour() -> None:
    """A session sells to its own key only; a stranger's order on it is a replay."""
    hashed = order().input_hash
    check_order(seller_channel(), order(), build.SESSION.address, hashed)
    with pytest.raises(PeerError, match="signed by"):
        check_order(seller_channel(), order(), build.STRANGER.address, hashed)


def test_an_order_for_another_channel_is_misbehaviour() -> None:
    """Threat 2: the provider's address is inside the channel id."""
    with pytest.raises(PeerError, match="channel"):
        check_order(
            seller_channel(), order(channel_id=b"\x01" * 32), build.SESSION.address, b"\x12" * 32
        )


def test_an_input_other_than_the_ordered_one_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        check_order(seller_channel(), order(), build.SESSION.address, b"\x13" * 32)
    assert caught.value.reason is Reason.INPUT_MISMATCH


def test_salt_and_input_are_both_committed_to() -> None:
    known = input_hash(b"\x01" * 32, b"hello")
    assert known != input_hash(b"\x02" * 32, b"hello")
    assert known != input_hash(b"\x01" * 32, b"hellp")


def test_every_reason_of_the_core_is_reached_here() -> None:
    """The rest are the shell's: it alone sees chain, engine, queue and owner."""
    here = {reason for _, _, reason in BOUNDARIES.values()} | {
        Reason.UNKNOWN_KIND,
        Reason.CHANNEL_STOPPED,
        Reason.CHANNEL_BUSY,
        Reason.INPUT_MISMATCH,
        Reason.JOB_REPLAYED,
    }
    shells = {
        Reason.CHAIN_STALE,
        Reason.INPUT_INVALID,
        Reason.BUSY,
        Reason.STOPPING,
        Reason.NO_LEASE,
        Reason.ENGINE_DOWN,
    }
    assert here | shells == set(Reason)
    assert not here & shells


def test_an_input_is_read_up_to_the_bytes_its_context_can_hold() -> None:
    """One byte more, and the engine need not look: no text has so few units."""
    bytes_max = variant().context_units * INPUT_UNIT_BYTES_MAX
    for input_bytes in (0, bytes_max):
        worth_reading(input_bytes=input_bytes)
    with pytest.raises(Refused) as caught:
        worth_reading(input_bytes=bytes_max + 1)
    assert caught.value.reason is Reason.INPUT_TOO_LONG


def test_a_variant_does_the_work_it_is_sold_for_and_no_other() -> None:
    writer = variant(kinds=("completion",))
    check_kind(writer, Kind.COMPLETION)
    with pytest.raises(Refused, match="sold here for completion, not for chat") as caught:
        check_kind(writer, Kind.CHAT)
    assert caught.value.reason is Reason.UNKNOWN_KIND


def test_what_cannot_be_admitted_whatever_the_input_is_not_worth_reading() -> None:
    for changes in (
        {"order": order(price_input=build.MILLION - 1)},
        {"view": None},
        {"state": running(8)},
        {"state": running(1), "order": order(job_id=b"\x01" * 32)},
    ):
        with pytest.raises(Refused):
            worth_reading(**changes)


def worth_reading(**changes: Any) -> None:
    arguments: dict[str, Any] = {
        "state": seller_channel(),
        "order": order(),
        "terms": terms(),
        "view": view(),
        "input_bytes": 0,
        "now_ms": NOW_MS,
    }
    arguments |= changes
    check_worth_reading(arguments.pop("state"), arguments.pop("order"), **arguments)


def test_unpaid_receipts_are_bounded_by_number_too() -> None:
    """Threat 8: a job that costs nothing uses no credit, and still leaves a receipt."""
    state = seller_channel()
    for number in range(RECEIPTS_UNPAID_MAX):
        admitted(state)
        ordered = order(job_id=number.to_bytes(32, "big"), price_input=0)
        state = seller.start(state, seller_job(ordered))
        cancelled = on.ClientCancelled(ordered.job_id)
        state, _ = seller.step(state, cancelled, METER)
    assert state.exposure() == 0
    assert refused(state).reason is Reason.CREDIT_EXCEEDED
