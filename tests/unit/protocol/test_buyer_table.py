"""The buyer's table: one line for each (state, event), with what it leads to.

A job costs one token unit per unit; its input has five, and the answer begins with ten.
"""

from hashlib import sha256
from typing import Any

import pytest
from msgspec.structs import replace
from tests.property import lies
from tests.property.lies import but
from tests.unit.protocol import build
from tests.unit.protocol.build import DOMAIN, OPERATOR, buyer_channel, order

from rowen.protocol import buyer
from rowen.protocol import buyer_events as on
from rowen.protocol.buyer_channel import BuyerChannel, JobState
from rowen.protocol.buyer_events import (
    CaughtUp,
    DeadlinePassed,
    ProviderAccepted,
    ProviderBilled,
    ProviderLost,
    ProviderRefused,
    ProviderSent,
    UserCancelled,
)
from rowen.protocol.errors import PeerError, UserError
from rowen.protocol.jobs import ChatInput, CompletionInput, Finish, Message
from rowen.protocol.statements import Receipt, Status
from rowen.protocol.units import Allowance, allowance_of, input_units_least

JOB = order().job_id
OTHER = b"\x99" * 32
BOUND = 60
ALLOWANCE = Allowance(input_units_max=(BOUND,))
TEXT = "x" * 10


def after(state: BuyerChannel, *events: on.Event) -> BuyerChannel:
    for event in events:
        state, _ = buyer.step(state, event)
    return state


def sent(text: str = TEXT, at: int = 0, units: int = 10) -> ProviderSent:
    return ProviderSent(JOB, at, units, text)


def bill(finish: Finish | None = Finish.STOP, **changes: Any) -> ProviderBilled:
    """An honest receipt for input and ten units."""
    statuses = {
        None: Status.PARTIAL,
        Finish.STOP: Status.FINAL,
        Finish.LENGTH: Status.FINAL,
        Finish.CANCELLED: Status.CANCELLED,
        Finish.PREEMPTED: Status.PREEMPTED,
        Finish.FAILED: Status.FAILED,
    }
    fields = {
        "status": statuses[finish],
        "input_units": 5,
        "cached_units": 0,
        "output_units": 10,
        "amount": 0 if finish is Finish.FAILED else 15,
        "total": 0 if finish is Finish.FAILED else 15,
        "output_hash": sha256(TEXT.encode()).digest(),
    }
    receipt = build.receipt(**fields | changes)
    return ProviderBilled(JOB, receipt, receipt.digest(DOMAIN), OPERATOR.address, finish, "")


def ordered() -> BuyerChannel:
    return buyer.place(buyer_channel(), order(), ALLOWANCE)


def running() -> BuyerChannel:
    return after(ordered(), ProviderAccepted(JOB, 5), sent())


def cancelling() -> BuyerChannel:
    return after(running(), UserCancelled(JOB))


def suspended() -> BuyerChannel:
    return after(running(), ProviderLost(JOB))


STATES = {
    JobState.ORDERED: ordered,
    JobState.RUNNING: running,
    JobState.CANCELLING: cancelling,
    JobState.SUSPENDED: suspended,
}
EVENTS: dict[type[on.Event], on.Event] = {
    ProviderAccepted: ProviderAccepted(JOB, 5),
    ProviderRefused: ProviderRefused(JOB),
    ProviderSent: sent("more", 10, 12),
    ProviderBilled: bill(),
    UserCancelled: UserCancelled(JOB),
    DeadlinePassed: DeadlinePassed(JOB),
    ProviderLost: ProviderLost(JOB),
    CaughtUp: CaughtUp(JOB),
}
GONE, PEER = "gone", "peer error"
O, R, C, S = JobState.ORDERED, JobState.RUNNING, JobState.CANCELLING, JobState.SUSPENDED  # noqa: E741 - a table's columns
# (state, event): next state and effects; GONE is off the list, PEER the provider's fault.
TABLE: dict[tuple[JobState, type[on.Event]], tuple[Any, str]] = {
    (O, ProviderAccepted): (R, ""),
    (O, ProviderRefused): (GONE, ""),
    (O, ProviderSent): (PEER, ""),
    (O, ProviderBilled): (PEER, ""),
    (O, UserCancelled): (C, "SendCancel"),
    (O, DeadlinePassed): (C, "SendCancel"),
    (O, ProviderLost): (S, ""),
    (O, CaughtUp): (O, ""),
    (R, ProviderAccepted): (PEER, ""),
    (R, ProviderRefused): (PEER, ""),
    (R, ProviderSent): (R, "Deliver"),
    (R, ProviderBilled): (GONE, "Pay, Ended"),
    (R, UserCancelled): (C, "SendCancel"),
    (R, DeadlinePassed): (C, "SendCancel"),
    (R, ProviderLost): (S, ""),
    (R, CaughtUp): (R, ""),
    (C, ProviderAccepted): (C, "SendCancel"),
    (C, ProviderRefused): (GONE, ""),
    (C, ProviderSent): (C, "Deliver"),
    (C, ProviderBilled): (GONE, "Pay, Ended"),
    (C, UserCancelled): (C, ""),
    (C, DeadlinePassed): (C, ""),
    (C, ProviderLost): (S, ""),
    (C, CaughtUp): (C, ""),
    (S, ProviderAccepted): (PEER, ""),
    (S, ProviderRefused): (PEER, ""),
    (S, ProviderSent): (S, "Deliver"),
    (S, ProviderBilled): (GONE, "Pay, Ended"),
    (S, UserCancelled): (S, ""),
    (S, DeadlinePassed): (S, ""),
    (S, ProviderLost): (S, ""),
    (S, CaughtUp): (GONE, "Ended"),
}


def name_of(part: Any) -> str:
    """How a state or an event is called in a test's id."""
    return part.__name__ if isinstance(part, type) else str(part.name)


def named(effects: list[on.Effect]) -> str:
    return ", ".join(type(effect).__name__ for effect in effects)


def test_every_pair_of_state_and_event_is_decided() -> None:
    every = {(state, event) for state in JobState for event in on.EVENTS}
    assert set(buyer._TABLE) == set(TABLE) == every


@pytest.mark.parametrize(
    ("state", "event"),
    TABLE,
    ids=lambda v: getattr(v, "name", v.__name__ if isinstance(v, type) else v),
)
def test_the_pair_leads_where_the_table_says(state: JobState, event: type[on.Event]) -> None:
    before = STATES[state]()
    assert before.jobs[JOB].state is state
    expected, effects_expected = TABLE[state, event]
    if expected == PEER:
        with pytest.raises(PeerError):
            buyer.step(before, EVENTS[event])
        return
    now, effects = buyer.step(before, EVENTS[event])
    assert named(effects) == effects_expected
    if expected == GONE:
        assert JOB not in now.jobs
    else:
        assert now.jobs[JOB].state is expected


@pytest.mark.parametrize(
    "event",
    [event for kind, event in EVENTS.items() if kind is not ProviderBilled],
    ids=lambda e: type(e).__name__,
)
def test_an_event_for_a_job_that_is_gone_changes_nothing(event: on.Event) -> None:
    """Messages cross on the wire."""
    assert buyer.step(buyer_channel(), event) == (buyer_channel(), [])


# --- paying


def test_a_voucher_promises_exactly_the_log() -> None:
    state, (pay, _) = buyer.step(running(), bill())
    assert isinstance(pay, on.Pay)
    assert (pay.voucher.total, pay.voucher.receipt_count) == (15, 1)
    assert pay.voucher.receipts_root == state.log.frontier.root()
    assert (pay.voucher.payer, pay.voucher.provider) == (build.PAYER, OPERATOR.address)


@pytest.mark.parametrize("name", [name for name, _ in lies.about_receipt(bill())])
def test_the_client_does_not_pay_for(name: str) -> None:
    """P3, threats 16 and 22: what was received, at the price that was signed."""
    lie = dict(lies.about_receipt(bill()))[name]
    state = running()
    try:
        now, effects = buyer.step(state, lie)
    except PeerError:
        assert name == "another's signature"
        return
    assert named(effects) == "Dispute, Ended"
    assert now.log == state.log
    assert now.stopped


@pytest.mark.parametrize(
    ("finish", "amount"),
    [
        (None, 15),
        (Finish.STOP, 15),
        (Finish.LENGTH, 15),
        (Finish.CANCELLED, 15),
        (Finish.PREEMPTED, 15),
        (Finish.FAILED, 0),
    ],
)
def test_an_ending_costs_what_the_status_table_says(finish: Finish | None, amount: int) -> None:
    """Threat 17: what each ending costs."""
    state, effects = buyer.step(running(), bill(finish))
    assert isinstance(effects[0], on.Pay)
    assert state.log.total == amount
    if amount:
        _, effects = buyer.step(running(), bill(finish, amount=0, total=0))
    else:
        _, effects = buyer.step(running(), bill(finish, amount=15, total=15))
    assert isinstance(effects[0], on.Dispute)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("finish", [None, *Finish])
def test_a_finish_says_what_the_signed_status_says(status: Status, finish: Finish | None) -> None:
    """Or a job that is charged could be shown to the user as one that failed."""
    fitting: dict[Status, list[Finish | None]] = {
        Status.PARTIAL: [None],
        Status.FINAL: [Finish.STOP, Finish.LENGTH],
        Status.CANCELLED: [Finish.CANCELLED],
        Status.PREEMPTED: [Finish.PREEMPTED],
        Status.FAILED: [Finish.FAILED],
    }
    amount = 0 if status is Status.FAILED else 15
    event = bill(finish, status=status, amount=amount, total=amount)
    _, effects = buyer.step(running(), event)
    assert isinstance(effects[0], on.Pay) == (finish in fitting[status])


@pytest.mark.parametrize("units", [0, 3, 10])
def test_a_failed_receipt_may_forget_what_it_delivered(units: int) -> None:
    """It is free, and a provider that crashed may not know how far its output went."""
    event = bill(Finish.FAILED, output_units=units, output_hash=b"\x01" * 32)
    state, effects = buyer.step(running(), event)
    assert named(effects) == "Pay, Ended"
    assert state.log.total == 0


def test_a_failed_receipt_with_an_impossible_reading_is_still_free() -> None:
    state, effects = buyer.step(running(), bill(Finish.FAILED, cached_units=99))
    assert named(effects) == "Pay, Ended"
    assert state.log.total == 0


@pytest.mark.parametrize(
    ("text", "units", "is_paid"), [("", 4, True), ("", 5, False), ("ab", 6, True), ("ab", 7, False)]
)
def test_a_unit_has_at_least_a_byte_but_for_a_few(text: str, units: int, is_paid: bool) -> None:
    """Threat 16, as far as no tokenizer is needed."""
    state = after(ordered(), ProviderAccepted(JOB, 5), sent(text, 0, units))
    hashed = sha256(text.encode()).digest()
    event = bill(output_units=units, output_hash=hashed, amount=5 + units, total=5 + units)
    _, effects = buyer.step(state, event)
    assert isinstance(effects[0], on.Pay) == is_paid


@pytest.mark.parametrize(("units", "is_paid"), [(BOUND, True), (BOUND + 1, False)])
def test_more_input_than_the_text_can_hold_is_not_paid(units: int, is_paid: bool) -> None:
    _, effects = buyer.step(running(), bill(input_units=units, amount=units + 10, total=units + 10))
    assert isinstance(effects[0], on.Pay) == is_paid


@pytest.mark.parametrize(("amount_max", "is_paid"), [(15, True), (14, False)])
def test_a_job_never_costs_more_than_its_maximum(amount_max: int, is_paid: bool) -> None:
    """P3: "never pays above the maximum it signed"."""
    ask = order(amount_max=amount_max)
    state = after(buyer.place(buyer_channel(), ask, ALLOWANCE), ProviderAccepted(JOB, 5), sent())
    _, effects = buyer.step(state, bill(order_hash=ask.digest(DOMAIN)))
    assert isinstance(effects[0], on.Pay) == is_paid


def test_input_may_not_grow_between_receipts() -> None:
    state = after(running(), bill(None))
    more = bill(sequence=1, segment=1, input_units=6, amount=1, total=16)
    _, effects = buyer.step(state, more)
    assert isinstance(effects[0], on.Dispute)


def test_a_cheaper_reading_gives_nothing_back_and_takes_nothing() -> None:
    """The cache served input that was billed before."""
    cheap = order(price_cached=0)
    state = after(buyer.place(buyer_channel(), cheap, ALLOWANCE), ProviderAccepted(JOB, 5), sent())
    state = after(state, bill(None, order_hash=cheap.digest(DOMAIN)))
    last = bill(
        order_hash=cheap.digest(DOMAIN), sequence=1, segment=1, cached_units=5, amount=0, total=15
    )
    state, effects = buyer.step(state, last)
    assert named(effects) == "Pay, Ended"
    assert state.log.total == 15


# --- disputes


def test_a_dispute_ends_the_channel_and_every_job_on_it() -> None:
    state = buyer.place(running(), order(job_id=OTHER), ALLOWANCE)
    state, effects = buyer.step(state, lies_about_the_amount())
    assert named(effects) == "Dispute, Ended, Ended"
    assert {effect.job for effect in effects[1:]} == {JOB, OTHER}
    assert not state.jobs
    with pytest.raises(UserError, match="stopped"):
        buyer.place(state, order(job_id=b"\x77" * 32), ALLOWANCE)


def lies_about_the_amount() -> ProviderBilled:
    true = bill()
    return but(true, receipt=lies.overcharged(true.receipt))


def test_a_corrected_receipt_is_not_paid() -> None:
    """It would be the second one for its sequence, and paying it would hide the first."""
    state = after(running(), lies_about_the_amount())
    assert buyer.step(state, bill()) == (state, [])


def test_a_receipt_for_an_unknown_job_is_disputed() -> None:
    _, effects = buyer.step(running(), but(bill(), job=OTHER))
    assert named(effects) == "Dispute, Ended"


def test_a_strangers_receipt_is_no_evidence_against_the_provider() -> None:
    for state in (running(), buyer_channel()):
        with pytest.raises(PeerError, match="signed by"):
            buyer.step(state, but(bill(), signer=build.STRANGER.address))


# --- output


def test_output_sent_again_is_delivered_once() -> None:
    state = after(running(), ProviderLost(JOB))
    assert buyer.step(state, sent()) == (state, [])
    state, (deliver,) = buyer.step(state, sent(TEXT + "more", 0, 12))
    assert deliver == on.Deliver(JOB, "more", 2)
    assert state.jobs[JOB].hasher.digest() == sha256((TEXT + "more").encode()).digest()


def test_a_unit_without_text_is_counted() -> None:
    _, effects = buyer.step(running(), sent("", 10, 11))
    assert effects == [on.Deliver(JOB, "", 1)]


@pytest.mark.parametrize(
    "chunk",
    [
        sent("y", 11, 11),
        sent("y", 10, 9),
        sent("y" * 5, 0, 11),
        sent("", 0, 11),
    ],
    ids=["a gap", "fewer units", "older text with more units", "no text with more units"],
)
def test_output_out_of_order_is_misbehaviour(chunk: ProviderSent) -> None:
    with pytest.raises(PeerError):
        buyer.step(running(), chunk)


def test_output_cut_inside_a_character_is_misbehaviour() -> None:
    state = after(ordered(), ProviderAccepted(JOB, 5), sent("né", 0, 2))
    with pytest.raises(PeerError, match="character"):
        buyer.step(state, sent("n日", 0, 4))


# --- orders


@pytest.mark.parametrize(("locked", "is_placed"), [(1_000, True), (999, False)])
def test_a_client_promises_no_more_than_it_locked(locked: int, is_placed: bool) -> None:
    state = buyer_channel(locked=locked)
    if is_placed:
        assert buyer.place(state, order(), ALLOWANCE).free() == 0
    else:
        with pytest.raises(UserError, match="lock more"):
            buyer.place(state, order(), ALLOWANCE)


def test_open_jobs_and_paid_ones_are_promises_too() -> None:
    state = buyer.place(running(), order(job_id=OTHER, amount_max=400), ALLOWANCE)
    assert state.free() == 10_000 - 1_000 - 400
    state = after(state, bill(None))
    assert state.free() == 10_000 - 1_000 - 400
    state = after(state, bill(sequence=1, segment=1, amount=0))
    assert state.free() == 10_000 - 15 - 400


def test_a_provider_that_counts_impossible_input_is_left_before_it_works() -> None:
    state, effects = buyer.step(ordered(), ProviderAccepted(JOB, BOUND + 1))
    assert named(effects) == "SendCancel"
    assert state.jobs[JOB].state is JobState.CANCELLING


def test_the_bound_on_input_counts_bytes_and_templates() -> None:
    asked = ChatInput((Message("user", "é" * 100), Message("assistant", "")))
    assert allowance_of(asked).input_units_max == (200 + 2 * 16 + 64,)
    assert allowance_of(CompletionInput("é" * 100)).input_units_max == (200 + 64,)
    assert [input_units_least(said) for said in (asked, CompletionInput("x"))] == [2, 1]


# --- recovery


def test_replaying_the_journal_gives_the_same_channel() -> None:
    """P7: place, ProviderLost, then what was paid."""
    live = after(running(), bill(None), sent("lost", 10, 12))
    again = after(ordered(), ProviderLost(JOB), sent(), bill(None))
    assert again.log == live.log
    mine, theirs = live.jobs[JOB], again.jobs[JOB]
    assert (theirs.billed, theirs.segment, theirs.reading) == (
        mine.billed,
        mine.segment,
        mine.reading,
    )
    assert theirs.state is JobState.SUSPENDED
    # What was not journaled comes again.
    assert named(buyer.step(again, sent("lost", 10, 12))[1]) == "Deliver"


def test_a_receipt_is_bound_to_its_order() -> None:
    receipt: Receipt = bill().receipt
    other = replace(receipt, order_hash=order(price_output=1).digest(DOMAIN))
    _, effects = buyer.step(running(), but(bill(), receipt=other))
    assert isinstance(effects[0], on.Dispute)
