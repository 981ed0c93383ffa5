"""When a claim is worth its gas: every decision in one table, and what holds for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen_scheduler.claiming import (
    COIN_WEI,
    Choice,
    ClaimPolicy,
    Danger,
    Gas,
    Waiting,
    choose,
    fee_ceiling_wei,
    is_sweep_worth,
    worth_from,
)

DOLLAR = 1_000_000
POLICY = ClaimPolicy(gas_percent_max=5, age_s_max=1000, above=DOLLAR)
# One claim of one row is 47,400 gas; at 1 gwei and $2,000 a coin that is $0.0948.
GAS = Gas(price_wei=10**9, coin_value=2_000 * DOLLAR)
OLD_S = 1000


def waits(amount: int, name: str = "a", *, is_leaving: bool = False, age_s: int = 0) -> Waiting:
    return Waiting(channel_id=name.encode() * 32, amount=amount, is_leaving=is_leaving, age_s=age_s)


def leaves(amount: int, name: str = "a") -> Waiting:
    return waits(amount, name, is_leaving=True)


def chosen(*waiting: Waiting, gas: Gas | None = GAS) -> str:
    return "".join(chr(channel[0]) for channel in choose(waiting, gas, POLICY).channels)


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        pytest.param([], "", id="nothing waits"),
        pytest.param([waits(1_895_999)], "", id="gas would take a little more than 5 %"),
        pytest.param([waits(1_896_000)], "a", id="gas takes exactly 5 %"),
        pytest.param([waits(1_000_000), waits(600_000, "b")], "", id="together not worth it"),
        pytest.param([waits(1_500_000), waits(1_500_000, "b")], "ab", id="rows share the claim"),
        pytest.param([waits(3_000_000), waits(575_999, "b")], "a", id="a row not worth its own"),
        pytest.param([waits(3_000_000), waits(576_000, "b")], "ab", id="a row worth its own"),
        pytest.param([leaves(94_800)], "", id="leaving, and the gas is all of it"),
        pytest.param([leaves(94_801)], "a", id="leaving, and something is left"),
        pytest.param([waits(94_800, age_s=OLD_S)], "", id="old, and the gas is all of it"),
        pytest.param([waits(94_801, age_s=OLD_S)], "a", id="old, and something is left"),
        pytest.param([waits(94_801, age_s=999)], "", id="not old yet"),
        pytest.param([waits(3_000_000), leaves(28_801, "b")], "ab", id="it rides along"),
        pytest.param([waits(3_000_000), leaves(28_800, "b")], "a", id="it costs more"),
        pytest.param([waits(600_000), leaves(94_801, "b")], "ab", id="who leaves pulls"),
        pytest.param([waits(500_000), leaves(94_801, "b")], "b", id="and not the small"),
    ],
)
def test_a_claim_is_made_when_it_is_worth_its_gas(waiting: list[Waiting], expected: str) -> None:
    """Of what it brings gas takes 5 % at most; in danger, it need only bring something."""
    assert chosen(*waiting) == expected


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ([waits(DOLLAR - 1)], ""),
        ([waits(DOLLAR)], "a"),
        ([leaves(1)], "a"),
        ([waits(1, age_s=OLD_S)], ""),
        ([waits(DOLLAR), leaves(1, "b"), waits(5, "c")], "ab"),
    ],
)
def test_without_the_coins_worth_a_fixed_sum_decides(waiting: list[Waiting], expected: str) -> None:
    """Nothing is made up: an owner who did not say what a coin is worth chose a sum instead."""
    assert chosen(*waiting, gas=None) == expected


def test_what_is_given_up_is_said() -> None:
    """A payer leaves and owes less than its gas: the log tells, and nothing is claimed."""
    assert "less than the gas" in choose([leaves(5)], GAS, POLICY).why
    assert "take all of it" in choose([leaves(50_000)], GAS, POLICY).why
    assert choose([waits(5)], GAS, POLICY) == Choice()


def test_many_rows_are_many_claims() -> None:
    """Each of them costs a transaction of its own."""
    assert POLICY.gas(1_000) == 33_000 + 1_000 * 14_400
    assert POLICY.gas(1_001) == 2 * 33_000 + 1_001 * 14_400


@pytest.mark.parametrize(
    ("credit", "above", "gas", "expected"),
    [
        (10 * DOLLAR, 0, GAS, False),
        (10 * DOLLAR, 10 * DOLLAR, GAS, True),
        (10 * DOLLAR - 1, 10 * DOLLAR, GAS, False),
        (DOLLAR, DOLLAR, GAS, False),
        (DOLLAR, DOLLAR, None, True),
        # 40,000 gas at 1 gwei and $2,000 cost $0.08, which is 5 % of $1.60.
        (1_600_000, DOLLAR, GAS, True),
        (1_599_999, DOLLAR, GAS, False),
    ],
)
def test_a_sweep_waits_for_the_owners_sum_and_for_cheap_gas(
    credit: int, above: int, gas: Gas | None, expected: bool
) -> None:
    assert is_sweep_worth(credit, above, gas, 40_000, 5) is expected


GASES = st.builds(
    Gas,
    price_wei=st.integers(0, 10**13),
    coin_value=st.integers(1, 10**12),
)
WAITING = st.lists(
    st.builds(
        Waiting,
        channel_id=st.binary(min_size=32, max_size=32),
        amount=st.integers(1, 10**9),
        is_leaving=st.booleans(),
        age_s=st.integers(0, 2_000),
    ),
    max_size=12,
    unique_by=lambda w: w.channel_id,
)


@given(WAITING, GASES)
def test_no_claim_costs_more_than_it_brings_nor_does_any_of_its_rows(
    waiting: list[Waiting], gas: Gas
) -> None:
    """Exactly, whatever the numbers: the owner never pays to be paid."""
    picked = set(choose(waiting, gas, POLICY).channels)
    rows = [w for w in waiting if w.channel_id in picked]
    if not rows:
        return
    assert sum(w.amount for w in rows) * COIN_WEI > gas.weigh(POLICY.gas(len(rows)))
    assert all(w.amount * COIN_WEI > gas.weigh(POLICY.row_gas) for w in rows)


@given(WAITING, GASES, st.integers(1, 10**6))
def test_more_value_or_cheaper_gas_never_stops_a_claim(
    waiting: list[Waiting], gas: Gas, more: int
) -> None:
    picked = set(choose(waiting, gas, POLICY).channels)
    richer = [replace(w, amount=w.amount + more) for w in waiting]
    assert picked <= set(choose(richer, gas, POLICY).channels)
    cheaper = replace(gas, price_wei=gas.price_wei // 2)
    assert picked <= set(choose(waiting, cheaper, POLICY).channels)


@given(WAITING, GASES)
def test_danger_only_ever_adds(waiting: list[Waiting], gas: Gas) -> None:
    """A voucher that would be claimed is claimed when its payer leaves, too."""
    calm = [replace(w, is_leaving=False, age_s=0) for w in waiting]
    picked = set(choose(calm, gas, POLICY).channels)
    assert picked <= set(choose(waiting, gas, POLICY).channels)


@given(GASES, st.integers(1, 100))
def test_what_a_claim_must_be_worth_is_where_it_is_made(gas: Gas, percent: int) -> None:
    """The figure an owner is told is the least at which the node acts."""
    policy = replace(POLICY, gas_percent_max=percent)
    least = worth_from(1, gas, policy)
    if least > 0:
        assert choose([waits(least)], gas, policy).channels
    if least > 1:
        assert not choose([waits(least - 1)], gas, policy).channels


DELAY_S = 3_600


def ceiling(*dangers: tuple[int, int], coin_value: int = 2_000 * DOLLAR) -> int:
    """For a claim of 50,000 gas: at $2,000 a coin, $100 are 1,000 gwei."""
    found = [Danger(amount=amount, left_s=left_s) for amount, left_s in dangers]
    return fee_ceiling_wei(found, 50_000, coin_value, DELAY_S)


GWEI = 10**9


@pytest.mark.parametrize(
    ("dangers", "gwei"),
    [
        pytest.param([], 0, id="nobody leaves"),
        pytest.param([(100 * DOLLAR, 3_600)], 0, id="the request has just come"),
        pytest.param([(100 * DOLLAR, 1_800)], 0, id="half of the delay is left"),
        pytest.param([(100 * DOLLAR, 1_125)], 500, id="in the middle of the rise"),
        pytest.param([(100 * DOLLAR, 450)], 1_000, id="an eighth is left"),
        pytest.param([(100 * DOLLAR, -5)], 1_000, id="it is late, and perhaps not too late"),
        pytest.param([(100 * DOLLAR, 450), (900 * DOLLAR, 3_000)], 1_000, id="others have time"),
        pytest.param([(100 * DOLLAR, 450), (100 * DOLLAR, 400)], 2_000, id="both are in danger"),
    ],
)
def test_the_ceiling_follows_the_deadline(dangers: list[tuple[int, int]], gwei: int) -> None:
    """Threat 36: first the spike is waited out; at last it is outbid, as far as that pays."""
    assert ceiling(*dangers) == gwei * GWEI


def test_without_the_coins_worth_the_owners_ceiling_holds() -> None:
    assert ceiling((100 * DOLLAR, 0), coin_value=0) == 0


DANGERS = st.lists(
    st.builds(Danger, amount=st.integers(1, 10**12), left_s=st.integers(-100, 4_000)),
    min_size=1,
    max_size=6,
)
LIMITS = st.tuples(st.integers(21_000, 16_000_000), st.integers(1, 10**12))


@given(DANGERS, LIMITS)
def test_no_haste_costs_more_than_it_saves(dangers: list[Danger], limits: tuple[int, int]) -> None:
    gas, coin_value = limits
    fee_wei = fee_ceiling_wei(dangers, gas, coin_value, DELAY_S)
    assert fee_wei * gas * coin_value <= sum(one.amount for one in dangers) * COIN_WEI


@given(DANGERS, LIMITS, st.integers(0, 4_000))
def test_the_ceiling_never_falls_while_time_passes(
    dangers: list[Danger], limits: tuple[int, int], passed_s: int
) -> None:
    gas, coin_value = limits
    later = [replace(one, left_s=one.left_s - passed_s) for one in dangers]
    now_wei = fee_ceiling_wei(dangers, gas, coin_value, DELAY_S)
    assert fee_ceiling_wei(later, gas, coin_value, DELAY_S) >= now_wei


@given(DANGERS, LIMITS)
def test_in_the_end_the_ceiling_is_all_that_would_be_lost(
    dangers: list[Danger], limits: tuple[int, int]
) -> None:
    gas, coin_value = limits
    last = [replace(one, left_s=DELAY_S // 8) for one in dangers]
    worth_wei = sum(one.amount for one in dangers) * COIN_WEI // (coin_value * gas)
    assert fee_ceiling_wei(last, gas, coin_value, DELAY_S) == worth_wei
