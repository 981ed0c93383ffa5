"""The energy meter: every joule of the counter is somebody's, and none is made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gpu.samples import OURS, OWNER, UUID, busy, counted

from rowen.gpu.base import GpuProcess, Load, Sample, SliceLoad
from rowen.gpu.energy import EnergyMeter, Totals
from rowen.protocol.statements import EnergySource

A, B = b"a" * 32, b"b" * 32
OWN = {OURS}


def parts(totals: Totals) -> int:
    return totals.idle_mj + totals.foreign_mj + totals.jobs_mj


def test_a_job_alone_pays_for_all_but_idling() -> None:
    """100 W while it runs, 16 W of them for being on."""
    meter = EnergyMeter()
    meter.look(counted(1_000_000), 0, OWN)
    meter.look(counted(1_016_000), 1000, OWN)
    meter.begin(A, 100)
    meter.worked(A, 50)
    meter.look(counted(1_116_000, busy(OURS, 95)), 2000, OWN)
    spent = meter.end(A)
    assert (spent.energy_mj, spent.gpu_ms) == (84_000, 950)
    assert spent.source is EnergySource.NVML_COUNTER
    assert spent.is_exclusive
    assert not spent.is_weak
    assert meter.totals == Totals(counter_mj=116_000, idle_mj=32_000, foreign_mj=0, jobs_mj=84_000)


def test_two_jobs_share_by_what_they_did() -> None:
    meter = EnergyMeter()
    meter.begin(A, 0)
    meter.begin(B, 0)
    meter.look(counted(0), 0, OWN)
    meter.worked(A, 30)
    meter.worked(B, 10)
    meter.look(counted(40_000, busy(OURS, 90)), 1000, OWN)
    assert (meter.spent(A).energy_mj, meter.spent(B).energy_mj) == (30_000, 10_000)
    assert (meter.spent(A).gpu_ms, meter.spent(B).gpu_ms) == (675, 225)
    assert not meter.spent(A).is_exclusive, "a share is reckoned, not measured"


def test_a_job_that_only_waits_beside_another_leaves_it_alone() -> None:
    """The one that works has the GPU; the one that waits does not."""
    meter = EnergyMeter()
    meter.begin(A, 0)
    meter.begin(B, 0)
    meter.look(counted(0), 0, OWN)
    meter.worked(A, 30)
    meter.look(counted(40_000, busy(OURS, 90)), 1000, OWN)
    assert (meter.spent(A).is_exclusive, meter.spent(B).is_exclusive) == (True, False)


@pytest.mark.parametrize("missed", ["lost", "the driver began anew"])
def test_a_job_that_was_not_metered_throughout_is_marked(missed: str) -> None:
    """What is known is too little, and says so."""
    meter = EnergyMeter()
    meter.begin(A, 0)
    meter.look(counted(9000), 0, OWN)
    meter.worked(A, 30)
    meter.look(counted(10_000, busy(OURS, 90)), 1000, OWN)
    assert not meter.spent(A).is_weak
    if missed == "lost":
        meter.lose()
    else:
        meter.look(counted(5, busy(OURS, 90)), 2000, OWN)
    assert meter.spent(A).is_weak
    assert meter.spent(A).energy_mj == 1000


def test_a_job_that_reads_its_input_is_at_work_until_it_speaks() -> None:
    """Its prompt weighs in every interval of the reading, and not after it."""
    meter = EnergyMeter()
    meter.begin(A, 100)
    meter.begin(B, 0)
    meter.look(counted(0), 0, OWN)
    meter.worked(B, 10)
    meter.look(counted(1000, busy(OURS, 90)), 1000, OWN)
    assert (meter.spent(A).energy_mj, meter.spent(B).energy_mj) == (500, 500)
    meter.worked(A, 10)
    meter.worked(B, 10)
    meter.look(counted(4000, busy(OURS, 90)), 2000, OWN)
    assert (meter.spent(A).energy_mj, meter.spent(B).energy_mj) == (2500, 1500)
    meter.worked(A, 10)
    meter.worked(B, 10)
    meter.look(counted(5000, busy(OURS, 90)), 3000, OWN)
    assert (meter.spent(A).energy_mj, meter.spent(B).energy_mj) == (3000, 2000)


def test_the_owners_work_is_the_owners() -> None:
    meter = EnergyMeter()
    meter.begin(A, 0)
    meter.look(counted(0), 0, OWN)
    meter.worked(A, 1)
    meter.look(counted(9000, busy(OURS, 30), busy(OWNER, 60)), 1000, OWN)
    assert meter.totals.foreign_mj == 6000
    assert meter.spent(A).energy_mj == 3000
    assert not meter.spent(A).is_exclusive


def test_without_a_counter_power_is_integrated_to_the_microjoule() -> None:
    """Three looks at 1 W, a third of a second apart: 333 and 334 mJ, not 332 twice."""
    meter = EnergyMeter()
    for now_ms in (0, 333, 667, 1000):
        meter.look(counted(None, power_mw=1000), now_ms, OWN)
    assert meter.source is EnergySource.NVML_POWER
    assert meter.totals.counter_mj == 1000


def test_without_any_source_nothing_is_made_up() -> None:
    meter = EnergyMeter()
    meter.begin(A, 100)
    meter.look(counted(None), 0, OWN)
    meter.worked(A, 100)
    meter.look(counted(None, busy(OURS, 90)), 60_000, OWN)
    spent = meter.end(A)
    assert (spent.energy_mj, spent.source) == (0, EnergySource.NONE)
    assert meter.totals == Totals()


def test_a_counter_that_fell_began_anew() -> None:
    """A driver that was loaded again counts from 0; what it had not told is not guessed."""
    meter = EnergyMeter()
    meter.look(counted(5000), 0, OWN)
    meter.look(counted(7000), 1000, OWN)
    meter.look(counted(100), 2000, OWN)
    meter.look(counted(600), 3000, OWN)
    assert meter.totals.counter_mj == 2500


def test_what_was_not_looked_at_is_nobodys() -> None:
    """After a lost GPU the counter goes on from where it is found."""
    meter = EnergyMeter()
    meter.look(counted(5000), 0, OWN)
    meter.lose()
    meter.look(counted(90_000), 60_000, OWN)
    meter.look(counted(91_000), 61_000, OWN)
    assert meter.totals.counter_mj == 1000


def test_load_without_a_name_beside_a_foreign_process_is_not_said_to_be_ours() -> None:
    meter = EnergyMeter()
    meter.begin(A, 0)

    def sample(energy_mj: int) -> Sample:
        return Sample(
            uuid=UUID,
            load=Load(sm=99),
            processes=(GpuProcess(pid=OURS), GpuProcess(pid=OWNER)),
            energy_mj=energy_mj,
            energy_source=EnergySource.NVML_COUNTER,
        )

    meter.look(sample(0), 0, OWN)
    meter.worked(A, 5)
    meter.look(sample(100_000), 1000, OWN)
    assert meter.totals.foreign_mj == 99_000
    assert (meter.spent(A).energy_mj, meter.spent(A).gpu_ms) == (1000, 0)


def test_slices_divide_the_joules_of_a_card_that_is_cut() -> None:
    """The card tells no load of processes; its slices tell ours from the owner's."""
    meter = EnergyMeter()
    meter.begin(A, 0)

    def sample(energy_mj: int) -> Sample:
        return Sample(
            uuid=UUID,
            processes=(GpuProcess(pid=OURS, instance=1), GpuProcess(pid=OWNER, instance=2)),
            slice_loads=(
                SliceLoad(instance=1, load=Load(sm=90)),
                SliceLoad(instance=2, load=Load(sm=10)),
            ),
            energy_mj=energy_mj,
            energy_source=EnergySource.NVML_COUNTER,
        )

    meter.look(sample(0), 0, OWN)
    meter.worked(A, 5)
    meter.look(sample(100_000), 1000, OWN)
    assert (meter.spent(A).energy_mj, meter.totals.foreign_mj) == (90_000, 10_000)
    assert not meter.spent(A).is_exclusive


def test_time_on_a_cpu_is_no_gpu_time() -> None:
    meter = EnergyMeter(is_gpu=False)
    meter.begin(A, 0)
    meter.look(counted(0), 0, OWN)
    meter.worked(A, 5)
    meter.look(counted(1000, busy(OURS, 90)), 1000, OWN)
    assert (meter.spent(A).gpu_ms, meter.spent(A).energy_mj) == (0, 1000)


def test_a_short_job_is_marked_as_weakly_metered() -> None:
    meter = EnergyMeter()
    meter.begin(A, 1)
    meter.look(counted(0), 0, OWN)
    meter.worked(A, 1)
    meter.look(counted(10, busy(OURS, 90)), 300, OWN)
    assert meter.end(A).is_weak


steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "work", "end", "look", "look", "look", "lose", "reset"]),
        st.sampled_from([A, B]),
        st.integers(1, 5000),
        st.integers(0, 100),
    ),
    max_size=60,
)


@given(steps, st.booleans())
def test_whatever_happens_it_adds_up(
    script: list[tuple[str, bytes, int, int]], has_counter: bool
) -> None:
    """Σ jobs + idle + foreign is the counter's difference, and jobs' own sums agree."""
    meter = EnergyMeter()
    now_ms = counter = expected = 0
    known: int | None = None
    ended = 0
    for what, job, amount, percent in script:
        if what == "begin":
            ended += meter.end(job).energy_mj
            meter.begin(job, amount)
        elif what == "work":
            meter.worked(job, amount)
        elif what == "end":
            ended += meter.end(job).energy_mj
        elif what == "lose":
            meter.lose()
            known = None
        elif what == "reset":
            counter = 0
        else:
            now_ms += amount
            counter += amount * percent
            loads = (busy(OURS, percent), busy(OWNER, 100 - percent))
            power_mw = None if has_counter else percent * 1000
            shown = counter if has_counter else None
            meter.look(counted(shown, *loads, power_mw=power_mw), now_ms, OWN)
            if known is not None:
                expected += max(0, counter - known)
            known = counter
    totals = meter.totals
    assert parts(totals) == totals.counter_mj
    assert totals.jobs_mj == ended + meter.spent(A).energy_mj + meter.spent(B).energy_mj
    if has_counter:
        assert totals.counter_mj == expected
