"""Two programs with one key, seen by the nonces that one of them did not give out."""

import pytest

from rowen.chain.siblings import Siblings, judge
from rowen.chain.transactions import Attempt, Outcome


def attempt(nonce: int, outcome: Outcome | None = Outcome.SUCCEEDED) -> Attempt:
    return Attempt(
        sender=b"s" * 20, intent=f"i{nonce}", nonce=nonce, hash=b"h", raw=b"", outcome=outcome
    )


@pytest.mark.parametrize(
    ("nonces", "next_nonce", "is_shared"),
    [
        ([], 0, False),
        ([], 7, False),
        ([0, 1, 2], 3, False),
        ([5, 6], 7, False),
        ([0, 1, 2], 2, False),
        ([0, 1], 3, True),
        ([0, 2], 3, True),
        ([5, 6], 8, True),
        ([0], 50, True),
    ],
    ids=str,
)
def test_a_nonce_that_is_not_in_the_journal_was_somebody_elses(
    nonces: list[int], next_nonce: int, is_shared: bool
) -> None:
    """What came before the journal's first is the history of a key that was taken in."""
    assert bool(judge(Siblings([attempt(n) for n in nonces], next_nonce))) == is_shared


def test_a_transaction_that_was_displaced_tells_it_too() -> None:
    assert judge(Siblings([attempt(0, Outcome.DISPLACED)], 1))


def test_a_pending_transaction_and_its_dearer_copies_are_ours() -> None:
    ours = [attempt(0), attempt(1, None), attempt(1, None), attempt(2, None)]
    assert not judge(Siblings(ours, 1))
    assert not judge(Siblings(ours, 3))
