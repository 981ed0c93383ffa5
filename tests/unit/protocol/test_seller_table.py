"""The seller's table: one line for each (state, event), with what it leads to.

A job costs one token unit per unit; its input has five, and the credit line is 40.
"""

from typing import Any

import pytest
from tests.unit.protocol import build
from tests.unit.protocol.build import NOW_MS, order, seller_channel, seller_job

from rowen.protocol import seller
from rowen.protocol import seller_events as on
from rowen.protocol.errors import PeerError
from rowen.protocol.jobs import Finish
from rowen.protocol.seller_billing import Meter, Spent
from rowen.protocol.seller_channel import JobState, SellerChannel
from rowen.protocol.seller_events import (
    ClientCancelled,
    ClientLost,
    DeadlinePassed,
    EngineFailed,
    EngineFinished,
    EngineSaid,
    OwnerReturned,
)
from rowen.protocol.statements import EnergySource, Status, Voucher

JOB = order().job_id
OTHER = b"\x99" * 32
SPENT = Spent(gpu_ms=400, energy_mj=9, energy_source=EnergySource.RAPL)
METER = Meter(now_ms=NOW_MS + 500, job_to_spent={JOB: SPENT})


def after(state: SellerChannel, *events: on.Event) -> SellerChannel:
    for event in events:
        state, _ = seller.step(state, event, METER)
    return state


def running() -> SellerChannel:
    """Input read and ten units delivered, none of it billed: 15 are open."""
    return after(seller.start(seller_channel(), seller_job()), EngineSaid(JOB, "x" * 10, 10))


def paused() -> SellerChannel:
    """30 units delivered and billed (35), ten more held back."""
    state = seller.start(seller_channel(), seller_job())
    return after(state, EngineSaid(JOB, "x" * 30, 30), EngineSaid(JOB, "y" * 10, 10))


def billed() -> SellerChannel:
    return after(running(), EngineFinished(JOB, Finish.STOP, 0))


STATES = {JobState.RUNNING: running, JobState.PAUSED: paused, JobState.BILLED: billed}

EVENTS: dict[type[on.JobEvent], on.JobEvent] = {
    EngineSaid: EngineSaid(JOB, "more", 2),
    EngineFinished: EngineFinished(JOB, Finish.STOP, 3),
    EngineFailed: EngineFailed(JOB, "out of memory"),
    ClientCancelled: ClientCancelled(JOB),
    ClientLost: ClientLost(JOB),
    DeadlinePassed: DeadlinePassed(JOB),
    OwnerReturned: OwnerReturned(JOB),
}

NEVER = "never"
SAME = ""
CANCEL = "StopEngine, Bill cancelled"
PREEMPT = "StopEngine, Bill preempted"
# (state, event): next state, effects, what the receipt adds.
TABLE = {
    (JobState.RUNNING, EngineSaid): (JobState.RUNNING, "Deliver", 0),
    (JobState.RUNNING, EngineFinished): (JobState.BILLED, "Bill stop", 15),
    (JobState.RUNNING, EngineFailed): (JobState.BILLED, "Bill failed", 0),
    (JobState.RUNNING, ClientCancelled): (JobState.BILLED, CANCEL, 15),
    (JobState.RUNNING, ClientLost): (JobState.BILLED, CANCEL, 15),
    (JobState.RUNNING, DeadlinePassed): (JobState.BILLED, CANCEL, 15),
    (JobState.RUNNING, OwnerReturned): (JobState.BILLED, PREEMPT, 15),
    (JobState.PAUSED, EngineSaid): NEVER,
    (JobState.PAUSED, EngineFinished): NEVER,
    (JobState.PAUSED, EngineFailed): (JobState.BILLED, "Bill failed", 0),
    (JobState.PAUSED, ClientCancelled): (JobState.BILLED, CANCEL, 0),
    (JobState.PAUSED, ClientLost): (JobState.BILLED, CANCEL, 0),
    (JobState.PAUSED, DeadlinePassed): (JobState.BILLED, CANCEL, 0),
    (JobState.PAUSED, OwnerReturned): (JobState.BILLED, PREEMPT, 0),
    (JobState.BILLED, EngineSaid): (JobState.BILLED, SAME, 0),
    (JobState.BILLED, EngineFinished): (JobState.BILLED, SAME, 0),
    (JobState.BILLED, EngineFailed): (JobState.BILLED, SAME, 0),
    (JobState.BILLED, ClientCancelled): (JobState.BILLED, SAME, 0),
    (JobState.BILLED, ClientLost): (JobState.BILLED, SAME, 0),
    (JobState.BILLED, DeadlinePassed): (JobState.BILLED, SAME, 0),
    (JobState.BILLED, OwnerReturned): (JobState.BILLED, SAME, 0),
}


def name_of(part: Any) -> str:
    """How a state or an event is called in a test's id."""
    return part.__name__ if isinstance(part, type) else str(part.name)


def described(effects: list[on.Effect]) -> str:
    """Effects in a line, with the finish of bills."""
    return ", ".join(
        f"Bill {effect.finish or 'partial'}"
        if isinstance(effect, on.Bill)
        else type(effect).__name__
        for effect in effects
    )


def test_every_pair_of_state_and_event_is_decided() -> None:
    """Threat 17: HS all (state, event)."""
    every = {(state, event) for state in JobState for event in on.JOB_EVENTS}
    assert set(seller._TABLE) == set(TABLE) == every


@pytest.mark.parametrize(
    ("state", "event"),
    TABLE,
    ids=lambda v: getattr(v, "name", v.__name__ if isinstance(v, type) else v),
)
def test_the_pair_leads_where_the_table_says(state: JobState, event: type[on.JobEvent]) -> None:
    before = STATES[state]()
    assert before.jobs[JOB].state is state
    line = TABLE[state, event]
    if line == NEVER:
        with pytest.raises(AssertionError):
            seller.step(before, EVENTS[event], METER)
        return
    expected, effects_expected, added = line
    now, effects = seller.step(before, EVENTS[event], METER)
    assert now.jobs[JOB].state is expected
    assert described(effects) == effects_expected
    assert now.issued.total - before.issued.total == added
    if effects_expected == SAME:
        assert now == before


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda e: type(e).__name__)
def test_an_event_for_a_job_that_is_gone_changes_nothing(event: on.JobEvent) -> None:
    """Messages cross on the wire."""
    state = seller_channel()
    assert seller.step(state, event, METER) == (state, [])


def last_bill(state: SellerChannel, event: on.Event) -> on.Bill:
    _, effects = seller.step(state, event, METER)
    (bill,) = [effect for effect in effects if isinstance(effect, on.Bill)]
    return bill


def test_a_receipt_says_what_was_measured() -> None:
    bill = last_bill(running(), EngineFinished(JOB, Finish.LENGTH, 3))
    receipt = bill.receipt
    assert bill.digest == receipt.digest(build.DOMAIN)
    assert (receipt.status, bill.finish) == (Status.FINAL, Finish.LENGTH)
    assert (receipt.input_units, receipt.cached_units, receipt.output_units) == (5, 3, 10)
    assert (receipt.sequence, receipt.segment) == (0, 0)
    assert (receipt.gpu_ms, receipt.energy_mj, receipt.energy_source) == (400, 9, EnergySource.RAPL)
    assert (receipt.started_at_ms, receipt.finished_at_ms) == (NOW_MS, NOW_MS + 500)


def test_jobs_billed_at_once_have_each_their_own_measurement() -> None:
    """One that runs into the credit line has the others' open work billed too."""
    state = seller.start(running(), seller_job(order(job_id=OTHER)))
    state = after(state, EngineSaid(OTHER, "x", 1))
    spent = {JOB: SPENT, OTHER: Spent(gpu_ms=1, energy_mj=2, energy_source=EnergySource.RAPL)}
    meter = Meter(now_ms=NOW_MS, job_to_spent=spent)
    _, effects = seller.step(state, EngineSaid(JOB, "y" * 30, 30), meter)
    bills = {e.job: e.receipt.energy_mj for e in effects if isinstance(e, on.Bill)}
    assert bills == {JOB: 9, OTHER: 2}


def test_a_clock_set_back_does_not_end_a_job_before_its_start() -> None:
    """Threat 32."""
    _, (bill,) = seller.step(running(), EngineFailed(JOB, ""), Meter(now_ms=NOW_MS - 10_000))
    assert isinstance(bill, on.Bill)
    assert bill.receipt.finished_at_ms == NOW_MS


def test_an_engine_that_claims_more_cached_than_input_is_not_believed() -> None:
    receipt = last_bill(running(), EngineFinished(JOB, Finish.STOP, 999)).receipt
    assert receipt.cached_units == 5


def test_a_detail_fits_the_wire() -> None:
    assert len(last_bill(running(), EngineFailed(JOB, "x" * 10_000)).detail) == 512


# --- the credit line


def test_half_the_line_is_billed_while_output_goes_on() -> None:
    """So that the voucher is back before the line is reached."""
    state = seller.start(seller_channel(), seller_job())
    state, effects = seller.step(state, EngineSaid(JOB, "x" * 14, 14), METER)
    assert described(effects) == "Deliver"
    state, effects = seller.step(state, EngineSaid(JOB, "x", 1), METER)
    assert described(effects) == "Deliver, Bill partial"
    assert state.jobs[JOB].state is JobState.RUNNING


@pytest.mark.parametrize(("units", "is_delivered"), [(5, True), (6, False)])
def test_the_line_is_reached_but_not_crossed(units: int, is_delivered: bool) -> None:
    """P2: "A provider never works more than X uncovered"."""
    state = after(seller.start(seller_channel(), seller_job()), EngineSaid(JOB, "x" * 30, 30))
    state, effects = seller.step(state, EngineSaid(JOB, "y" * units, units), METER)
    assert (described(effects) == "Deliver") == is_delivered
    assert state.exposure() <= 40


def test_a_piece_larger_than_the_line_goes_out_when_nothing_is_owed() -> None:
    """Or it would never go out: at most one piece is uncovered."""
    free = order(price_input=0)
    state = seller.start(seller_channel(), seller_job(free))
    state, effects = seller.step(state, EngineSaid(JOB, "x" * 90, 90), METER)
    assert described(effects) == "Deliver, Bill partial"
    assert state.exposure() == 90


def test_what_is_held_back_is_neither_delivered_nor_billed() -> None:
    state = paused()
    assert state.exposure() == 35
    receipt = last_bill(state, ClientCancelled(JOB)).receipt
    assert (receipt.output_units, receipt.total) == (30, 35)


def paid(state: SellerChannel, count: int | None = None) -> on.ClientPaid:
    """A true voucher for so many receipts, or for all."""
    count = state.issued.count if count is None else count
    covered = count - state.paid.count
    head = state.unpaid[covered - 1] if covered else state.paid
    voucher = Voucher(
        payer=build.PAYER,
        provider=build.OPERATOR.address,
        total=head.total,
        receipt_count=count,
        receipts_root=head.frontier.root(),
    )
    return on.ClientPaid(voucher, build.SESSION.address)


def test_a_voucher_lets_a_paused_job_go_on() -> None:
    state, effects = seller.step(paused(), paid(paused()), METER)
    assert described(effects) == "KeepVoucher, Deliver, Resume"
    assert state.jobs[JOB].state is JobState.RUNNING
    deliver = effects[1]
    assert isinstance(deliver, on.Deliver)
    assert (deliver.at, deliver.units, deliver.text) == (30, 40, "y" * 10)


def test_a_job_that_others_hold_up_is_not_left_waiting() -> None:
    """What fills the line is another job's unbilled work: it is billed, or nobody would pay."""
    other = order(job_id=OTHER, price_input=0)
    state = seller.start(seller_channel(), seller_job())
    state = seller.start(state, seller_job(other, reading=seller_job().reading))
    state = after(
        state,
        EngineSaid(JOB, "x" * 30, 30),
        EngineSaid(OTHER, "z" * 30, 30),
    )
    assert state.jobs[OTHER].state is JobState.PAUSED
    pays = paid(state)
    state = after(state, EngineSaid(JOB, "x" * 5, 5))
    held = seller.step(state, pays, METER)
    assert "Bill partial" in described(held[1]) or held[0].jobs[OTHER].state is JobState.RUNNING


def test_a_paid_job_is_off_the_list() -> None:
    state, effects = seller.step(billed(), paid(billed()), METER)
    assert described(effects) == "KeepVoucher, Settled"
    assert not state.jobs
    assert state.issued == state.paid
    assert not state.unpaid


def test_the_same_voucher_again_changes_nothing() -> None:
    """Threat 23: idempotent."""
    state, _ = seller.step(billed(), paid(billed()), METER)
    assert seller.step(state, paid(state), METER) == (state, [])


def test_an_older_voucher_is_misbehaviour() -> None:
    """Threats 5, 6: both must rise."""
    first = paid(paused())
    state = after(paused(), first, ClientCancelled(JOB))
    state = after(state, paid(state))
    with pytest.raises(PeerError, match="fell back"):
        seller.step(state, first, METER)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"payer": b"\x01" * 20}, "payer"),
        ({"provider": b"\x01" * 20}, "provider"),
        ({"total": 16}, "too high"),
        ({"total": 14}, "too low"),
        ({"total": 0}, "too low"),
        ({"receipt_count": 2}, "only 1 were written"),
        ({"receipt_count": 0}, "too high"),
        ({"receipt_count": 2**32 - 1}, "only 1"),
        ({"receipts_root": b"\x01" * 32}, "roots differ"),
    ],
)
def test_an_inexact_voucher_is_misbehaviour(changes: dict[str, Any], complaint: str) -> None:
    from msgspec.structs import replace

    state = billed()
    true = paid(state)
    with pytest.raises(PeerError, match=complaint):
        seller.step(state, on.ClientPaid(replace(true.voucher, **changes), true.signer), METER)


def test_a_voucher_of_another_key_is_misbehaviour() -> None:
    with pytest.raises(PeerError, match="signer"):
        seller.step(billed(), on.ClientPaid(paid(billed()).voucher, build.STRANGER.address), METER)


# --- endings


def test_an_answer_ends_where_it_must() -> None:
    """What is above the limit is neither delivered nor billed."""
    state = seller.start(seller_channel(), seller_job(output_units_max=10))
    state, effects = seller.step(state, EngineSaid(JOB, "x" * 11, 11), METER)
    assert described(effects) == "StopEngine, Bill length"
    assert state.issued.total == 5


def test_a_failed_job_keeps_what_was_billed_before() -> None:
    """The segment that failed is free; those before it were delivered."""
    state = after(paused(), EngineFailed(JOB, ""))
    assert state.issued.total == 35


def test_a_dispute_ends_every_open_job_and_the_channel() -> None:
    state = seller.start(running(), seller_job(order(job_id=OTHER)))
    state, effects = seller.step(state, on.ClientDisputed(3, "too dear"), METER)
    assert described(effects) == "StopEngine, Bill cancelled, StopEngine, Bill cancelled"
    assert "too dear" in state.stopped
    assert {job.state for job in state.jobs.values()} == {JobState.BILLED}
    assert seller.step(state, on.ClientDisputed(4, "again"), METER) == (state, [])


def test_a_channel_stops_for_its_first_reason() -> None:
    state = seller.stop(seller.stop(seller_channel(), "one"), "two")
    assert state.stopped == "one"


# --- recovery


def test_a_restart_restores_what_was_journaled() -> None:
    state = paused()
    receipt = last_bill(running(), ClientCancelled(JOB)).receipt
    fresh = seller.start(seller_channel(), seller_job())
    again = seller.restore_receipt(fresh, receipt, "x" * 10, is_last=True)
    assert again.issued == after(running(), ClientCancelled(JOB)).issued
    assert again.jobs[JOB].reading == running().jobs[JOB].reading
    assert again.jobs[JOB].state is JobState.BILLED
    assert state.issued != again.issued


@pytest.mark.parametrize(
    ("changes", "text", "complaint"),
    [
        ({"sequence": 1}, "x" * 10, "does not fit"),
        ({"order_hash": b"\x01" * 32}, "x" * 10, "does not fit"),
        ({"total": 16}, "x" * 10, "add up"),
        ({"segment": 1}, "x" * 10, "add up"),
        ({}, "x" * 9, "output"),
    ],
)
def test_a_journal_that_contradicts_itself_is_noticed(
    changes: dict[str, Any], text: str, complaint: str
) -> None:
    """Threat 29: "error, never a zero"."""
    from msgspec.structs import replace

    receipt = replace(last_bill(running(), ClientCancelled(JOB)).receipt, **changes)
    fresh = seller.start(seller_channel(), seller_job())
    with pytest.raises(ValueError, match=complaint):
        seller.restore_receipt(fresh, receipt, text, is_last=True)
