"""Who is passed over, who is asked again, and what a person is told when nobody is left."""

import math

import pytest

from rowen.client.refusals import AGAIN_S_MIN, Refusals
from rowen.protocol.errors import PeerError, Reason, Refused, RowenError, Unavailable, UserError
from rowen_scheduler.selection import Rejection

ANNA, BERT, CARL = (bytes([n]) * 20 for n in (1, 2, 3))
NO_MONEY = UserError("the channel is empty")


def told(*refused: tuple[bytes, RowenError]) -> Refusals:
    refusals = Refusals()
    for provider, error in refused:
        refusals.add(provider, error, 100.0)
    return refusals


def test_who_named_a_time_is_asked_again_then() -> None:
    refusals = told(
        (ANNA, Refused(Reason.BUSY, "full", 2_000)),
        (BERT, Refused(Reason.BUSY, "full", 0)),
        (CARL, Refused(Reason.BUSY, "full")),
    )
    assert refusals.again_s == 100.0 + AGAIN_S_MIN
    assert refusals.forget_due(101.0) == {BERT}
    assert refusals.providers == {ANNA, CARL}
    assert refusals.forget_due(102.0) == {ANNA}
    assert refusals.again_s == math.inf
    assert refusals.forget_due(1e9) == frozenset()


def test_who_broke_its_word_is_never_asked_again() -> None:
    refusals = told((ANNA, PeerError("it lied")), (BERT, Unavailable("gone")))
    assert refusals.again_s == math.inf
    assert refusals.providers == {ANNA, BERT}


def test_what_a_provider_said_is_told_once() -> None:
    refusals = told((ANNA, Unavailable("gone")))
    error = refusals.nobody(
        "hay", [Rejection(ANNA, "ignored"), Rejection(BERT, "too dear")], None, is_begun=False
    )
    assert isinstance(error, Unavailable)
    assert [line.split(": ")[-1] for line in str(error).splitlines()[1:]] == ["gone", "too dear"]


def test_a_person_who_knows_no_provider_is_told_what_to_do() -> None:
    assert "--provider" in str(Refusals().nobody("hay", [], None, is_begun=False))


@pytest.mark.parametrize("refused", [(), ((ANNA, Unavailable("gone")),)])
def test_without_money_that_is_what_is_said(refused: tuple[tuple[bytes, RowenError], ...]) -> None:
    error = told(*refused).nobody("hay", [], NO_MONEY, is_begun=False)
    assert isinstance(error, UserError)
    assert str(error).startswith(str(NO_MONEY))
    assert len(str(error).splitlines()) == 1 + 2 * len(refused)


def test_a_refusal_that_a_person_can_end_comes_with_advice() -> None:
    refusals = told(
        (ANNA, Unavailable("gone")), (BERT, Refused(Reason.COST_ABOVE_MAX, "it costs 7"))
    )
    error = refusals.nobody("hay", [], None, is_begun=False)
    assert isinstance(error, UserError)
    assert str(error).startswith("raise max_cost: it costs 7\n")


def test_in_the_middle_of_an_answer_it_is_the_providers_that_failed() -> None:
    refusals = told((BERT, Refused(Reason.COST_ABOVE_MAX, "it costs 7")))
    assert isinstance(refusals.nobody("hay", [], NO_MONEY, is_begun=True), Unavailable)
