"""The owner's books: each unit in one place, each receipt counted once, costs rounded up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowen.protocol.ids import ZERO_HASH
from rowen.protocol.statements import EnergySource, Receipt, Status
from rowen.provider.ledger import Bill, Channel, Line, Sale, Standing, bill, total

DOLLAR = 1_000_000
VARIANT = b"v" * 32
SALE = Sale(
    channel_id=b"c" * 32,
    variant=VARIANT,
    sequence=2,
    at_ms=0,
    total=100,
    amount=30,
    input_units=5,
    output_units=7,
    energy_mj=1_000,
    is_metered=True,
    is_last=True,
)


@pytest.mark.parametrize(
    ("receipt_count", "claimed", "expected"),
    [
        pytest.param(2, 0, (30, 0, 0), id="no voucher covers it"),
        pytest.param(3, 0, (0, 30, 0), id="a voucher does"),
        pytest.param(3, 70, (0, 30, 0), id="claimed up to the receipt before"),
        pytest.param(3, 100, (0, 0, 30), id="claimed"),
        pytest.param(9, 999, (0, 0, 30), id="claimed and more"),
        pytest.param(3, 80, (0, 20, 10), id="a claim may end inside a receipt"),
        pytest.param(0, 100, (0, 0, 30), id="on chain, though we hold no voucher"),
    ],
)
def test_each_unit_is_potential_or_earned_or_settled(
    receipt_count: int, claimed: int, expected: tuple[int, int, int]
) -> None:
    line = Line()
    line.add(SALE, Standing(receipt_count=receipt_count, claimed=claimed))
    assert (line.potential, line.earned, line.settled) == expected
    assert line.billed == SALE.amount


def reading(status: Status, units: int, energy_mj: int, **others: int) -> Receipt:
    fields = {"sequence": 0, "amount": 0, "total": 0} | others
    return Receipt(
        channel_id=SALE.channel_id,
        order_hash=ZERO_HASH,
        segment=0,
        status=status,
        input_units=10,
        cached_units=0,
        output_units=units,
        output_hash=ZERO_HASH,
        started_at_ms=0,
        finished_at_ms=1,
        gpu_ms=0,
        energy_mj=energy_mj,
        energy_source=EnergySource.NVML_COUNTER if energy_mj else EnergySource.NONE,
        **fields,
    )


def sold(*readings: tuple[bytes, Receipt]) -> list[Sale]:
    channel = Channel(SALE.channel_id)
    for job in {job for job, _ in readings}:
        channel.ordered(job, VARIANT)
    return [channel.sold(job, receipt) for job, receipt in readings]


def test_readings_become_differences_though_jobs_interleave() -> None:
    """A receipt counts from the start of its job; the books count what each one adds."""
    sales = sold(
        (b"a", reading(Status.PARTIAL, 20, 5)),
        (b"b", reading(Status.FINAL, 9, 2)),
        (b"a", reading(Status.FINAL, 50, 12)),
    )
    assert [(s.output_units, s.energy_mj, s.input_units) for s in sales] == [
        (20, 5, 10),
        (9, 2, 10),
        (30, 7, 0),
    ]
    assert [s.is_last for s in sales] == [False, True, True]


def test_a_job_that_a_crash_cut_off_takes_nothing_back() -> None:
    """The last receipt may not know how far it came; what was billed before was delivered."""
    sales = sold((b"a", reading(Status.PARTIAL, 20, 5)), (b"a", reading(Status.FAILED, 0, 0)))
    assert [s.output_units for s in sales] == [20, 0]
    assert [s.energy_mj for s in sales] == [5, 0]
    line = Line()
    for sale in sales:
        line.add(sale, Standing(receipt_count=0, claimed=0))
    assert (line.jobs, line.unmetered_jobs) == (1, 1)


LINE = Line(jobs=2, settled=5 * DOLLAR, earned=DOLLAR, energy_mj=3_600_000_000)


@pytest.mark.parametrize(
    ("line", "gas_wei", "coin_value", "kwh", "expected"),
    [
        pytest.param(
            LINE, 10**15, 2_000 * DOLLAR, 300_000,
            Bill(gas=2 * DOLLAR, power=300_000, net=3_700_000, unknown=()), id="all is known",
        ),
        pytest.param(
            LINE, 10**15, 0, 300_000,
            Bill(gas=None, power=300_000, net=5_700_000, unknown=("gas",)), id="no coin price",
        ),
        pytest.param(
            LINE, 0, 0, 300_000,
            Bill(gas=0, power=300_000, net=5_700_000, unknown=()), id="no gas was spent",
        ),
        pytest.param(
            LINE, None, 0, 300_000,
            Bill(gas=None, power=300_000, net=5_700_000, unknown=()), id="gas is told elsewhere",
        ),
        pytest.param(
            LINE, 0, 0, 0,
            Bill(gas=0, power=None, net=6 * DOLLAR, unknown=("power",)), id="no tariff",
        ),
        pytest.param(
            replace(LINE, unmetered_jobs=1), 0, 0, 300_000,
            Bill(gas=0, power=300_000, net=5_700_000, unknown=("power",)), id="not all is metered",
        ),
        pytest.param(
            Line(), 1, 1, 1, Bill(gas=1, power=0, net=-1, unknown=()), id="a wei rounds up",
        ),
    ],
)  # fmt: skip
def test_net_is_what_is_owed_less_what_is_known_of_the_costs(
    line: Line, gas_wei: int | None, coin_value: int, kwh: int, expected: Bill
) -> None:
    """What is not known is said, and is neither 0 nor guessed."""
    assert bill(line, gas_wei, coin_value, kwh) == expected


RECEIPTS = st.lists(st.tuples(st.integers(0, 10**12), st.booleans()), min_size=1, max_size=30)


@given(RECEIPTS, st.integers(0, 40), st.integers(0, 40), st.integers(1, 5))
def test_the_books_add_up_to_log_voucher_and_chain_however_they_are_cut(
    amounts: list[tuple[int, bool]], covered: int, claimed: int, lines: int
) -> None:
    """Σ billed = the log's total, settled = what the chain says, earned = the voucher's rest."""
    covered = min(covered, len(amounts))
    totals = [sum(a for a, _ in amounts[: n + 1]) for n in range(len(amounts))]
    promised = totals[covered - 1] if covered else 0
    on_chain = totals[min(claimed, covered) - 1] if min(claimed, covered) else 0
    standing = Standing(receipt_count=covered, claimed=on_chain)
    cut = [Line() for _ in range(lines)]
    for number, (amount, is_last) in enumerate(amounts):
        sale = replace(SALE, sequence=number, amount=amount, total=totals[number], is_last=is_last)
        cut[number % lines].add(sale, standing)
    whole = total(cut)
    assert whole.billed == totals[-1]
    assert whole.settled == on_chain
    assert whole.earned == promised - on_chain
    assert whole.receipts == len(amounts)
