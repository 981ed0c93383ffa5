"""What receipts prove, and above all what they do not. Whoever is punished must be guilty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen.protocol.eip712 import Domain
from rowen.protocol.errors import PeerError
from rowen.protocol.evidence import ChannelRecord
from rowen.protocol.fraud import VARIANTS_MAX, Offence, Proof, check, find_proofs
from rowen.protocol.ids import keccak
from rowen.protocol.messages import Signed, seal
from rowen.protocol.signing import Key
from rowen.protocol.statements import Receipt, Status

DOMAIN = Domain(31337, keccak(b"escrow")[12:])
PROVIDER, STRANGER = Key(keccak(b"provider")), Key(keccak(b"stranger"))
CHANNEL = ChannelRecord(b"p" * 20, PROVIDER.address, b"s" * 20)
OTHER = ChannelRecord(b"q" * 20, PROVIDER.address, b"s" * 20)


def receipt(sequence: int, key: Key = PROVIDER, domain: Domain = DOMAIN, **changes: Any) -> Signed:
    fields: dict[str, Any] = {
        "channel_id": CHANNEL.id,
        "sequence": sequence,
        "order_hash": b"o" * 32,
        "segment": 0,
        "status": Status.FINAL,
        "input_units": 1,
        "cached_units": 0,
        "output_units": 1,
        "amount": 10,
        "total": 10 * (sequence + 1),
        "output_hash": b"h" * 32,
        "started_at_ms": 1,
        "finished_at_ms": 2,
    }
    return seal(Receipt(**{**fields, **changes}), domain, key)


def found(receipts: Iterable[Signed]) -> list[tuple[Offence, int]]:
    kept = list(receipts)
    channels = {each.id: each for each in (CHANNEL, OTHER)}
    proofs = find_proofs(DOMAIN, channels, lambda: iter(kept))
    for proof in proofs:
        check(proof, DOMAIN)
    return [(proof.offence, proof.sequence()) for proof in proofs]


def test_an_honest_log_proves_nothing_however_often_it_is_shown() -> None:
    log = [receipt(i) for i in range(20)]
    assert found(log) == []
    assert found([*log, *reversed(log)]) == []


@pytest.mark.parametrize(
    ("crime", "offence"),
    [
        (receipt(3, amount=11, total=41), Offence.EQUIVOCATION),
        (receipt(5, total=61), Offence.BROKEN_TOTAL),
        (receipt(5, total=10), Offence.BROKEN_TOTAL),
        (receipt(5, status=Status.FAILED), Offence.CHARGED_FAILURE),
    ],
)
@given(data=st.data())
def test_each_offence_is_found_in_any_order(
    crime: Signed, offence: Offence, data: st.DataObject
) -> None:
    log = [receipt(i) for i in range(5)]
    shuffled = data.draw(st.permutations([*log, crime]))
    assert found(shuffled) == [(offence, Receipt.decode(crime.words).sequence)]


def test_a_gap_is_no_broken_total() -> None:
    """Receipts may be missing from what one has; nobody is guilty of that."""
    assert found([receipt(0), receipt(2, total=999)]) == []


def test_a_log_that_goes_on_from_either_of_two_receipts_breaks_no_total() -> None:
    fork = [receipt(0), receipt(1), receipt(1, amount=15, total=25), receipt(2, total=35)]
    assert found(fork) == [(Offence.EQUIVOCATION, 1)]
    neither = [*fork[:3], receipt(2, total=36)]
    assert found(neither) == [(Offence.EQUIVOCATION, 1), (Offence.BROKEN_TOTAL, 2)]


def test_a_total_that_passes_its_type_is_no_wrap_around() -> None:
    """The contract adds in 256 bits, and so do we."""
    most = 2**96 - 1
    assert found([receipt(0, amount=most, total=most), receipt(1, amount=1, total=0)]) == [
        (Offence.BROKEN_TOTAL, 1)
    ]


def test_one_offence_is_reported_once_however_many_receipts_show_it() -> None:
    many = [receipt(1, amount=100 + i, total=110 + i) for i in range(3 * VARIANTS_MAX)]
    assert found([receipt(0), *many]).count((Offence.EQUIVOCATION, 1)) == 1


def test_what_others_signed_or_for_elsewhere_proves_nothing() -> None:
    log = [receipt(0), receipt(1)]
    for innocent in (
        receipt(1, STRANGER, amount=11, total=21),
        receipt(1, domain=Domain(1, DOMAIN.escrow), amount=11, total=21),
        receipt(1, channel_id=b"c" * 32, amount=11, total=21),
        receipt(1, channel_id=OTHER.id, amount=11, total=21),
        receipt(2, status=Status.FAILED, amount=0, total=20),
        Signed(b"\xff" * len(log[0].words), log[0].signature),
        Signed(log[0].words, b"\x00" * 64),
    ):
        assert found([*log, innocent]) == []


@given(
    receipts=st.lists(
        st.builds(
            lambda sequence, amount, total, status, key: receipt(
                sequence, key, amount=amount, total=total, status=status
            ),
            st.integers(0, 3), st.integers(0, 3), st.integers(0, 6),
            st.sampled_from(Status), st.sampled_from([PROVIDER, STRANGER]),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_whatever_is_found_is_a_proof_and_every_offence_is_found(receipts: list[Signed]) -> None:
    """Against every pair tried one by one; forks, which may go on from either, apart."""
    mine = [
        Receipt.decode(each.words) for each in receipts if each.signature == receipt_signature(each)
    ]
    shown = found(receipts)
    assert len(set(shown)) == len(shown)
    expected = {
        (Offence.CHARGED_FAILURE, each.sequence)
        for each in mine
        if each.status is Status.FAILED and each.amount
    }
    sequences: dict[int, set[Receipt]] = {}
    for each in mine:
        sequences.setdefault(each.sequence, set()).add(each)
    expected |= {(Offence.EQUIVOCATION, s) for s, some in sequences.items() if len(some) > 1}
    if all(len(some) <= VARIANTS_MAX for some in sequences.values()):
        expected |= {
            (Offence.BROKEN_TOTAL, s)
            for s, some in sequences.items()
            for last in some
            if s - 1 in sequences
            and all(first.total + last.amount != last.total for first in sequences[s - 1])
        }
        assert set(shown) == expected


def receipt_signature(signed: Signed) -> bytes:
    """What the provider would have signed over the same words."""
    return PROVIDER.sign(Receipt.decode(signed.words).digest(DOMAIN))


@pytest.mark.parametrize(
    ("proof", "why"),
    [
        (Proof(offence=Offence.CHARGED_FAILURE, channel=CHANNEL, receipts=(receipt(0),)), "fail"),
        (
            Proof(
                offence=Offence.CHARGED_FAILURE,
                channel=OTHER,
                receipts=(receipt(0, status=Status.FAILED),),
            ),
            "another channel",
        ),
        (
            Proof(
                offence=Offence.BROKEN_TOTAL,
                channel=CHANNEL,
                receipts=(receipt(0), receipt(1), receipt(2)),
            ),
            "takes 2 receipts",
        ),
    ],
)
def test_a_proof_that_proves_nothing_is_refused_with_the_reason(proof: Proof, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        check(proof, DOMAIN)
