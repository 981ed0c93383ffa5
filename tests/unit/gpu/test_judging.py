"""Whose work a sample shows."""

from dataclasses import replace

import pytest
from tests.unit.gpu.samples import GIB, OURS, OWNER, UUID, busy, process

from rowen.gpu.base import GpuProcess, Load, MediaSession, ProcessLoad, Sample, SliceLoad
from rowen.gpu.judging import Judgement, Limits, judge
from rowen_scheduler.placement import Clear, OwnerWorks, Why, Withheld

QUIET = Sample(
    uuid=UUID,
    load=Load(sm=0, memory=0, encoder=0, decoder=0),
    processes=(),
    process_loads=(),
    encoder_sessions=(),
    capture_sessions=(),
    memory_used_bytes=2 * GIB,
    memory_total_bytes=24 * GIB,
)
LIMITS = Limits(need_bytes=8 * GIB, reserve_bytes=2 * GIB)


def judged(sample: Sample, *, ignored: frozenset[int] = frozenset()) -> Judgement:
    return judge(sample, {OURS}, ignored, LIMITS)


def why(judgement: Judgement) -> Why | None:
    return None if isinstance(judgement, Clear) else judgement.why


def session(pid: int) -> MediaSession:
    return MediaSession(pid=pid, width=1920, height=1080, fps=60)


def with_processes(*pids: int) -> Sample:
    return replace(QUIET, processes=tuple(process(pid) for pid in pids))


def test_a_quiet_card_is_clear() -> None:
    assert judged(QUIET) == Clear()


def test_a_transcoder_that_is_loaded_and_quiet_does_not_block() -> None:
    assert judged(with_processes(OWNER)) == Clear()


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (busy(OWNER, sm=4), None),
        (busy(OWNER, sm=5), Why.COMPUTE),
        (busy(OWNER, sm=1, encoder=1), Why.TRANSCODE),
        (busy(OWNER, decoder=1), Why.TRANSCODE),
        (ProcessLoad(pid=OWNER, load=Load(sm=0, jpeg=3)), Why.TRANSCODE),
        (ProcessLoad(pid=OWNER, load=Load(sm=0, optical_flow=20)), Why.COMPUTE),
        (busy(OURS, sm=99, encoder=9), None),
    ],
)
def test_foreign_load_is_work_and_ours_is_not(load: ProcessLoad, expected: Why | None) -> None:
    """An encoder at full speed shows 1 % of the GPU, so it is judged by itself."""
    assert why(judged(replace(with_processes(OURS, OWNER), process_loads=(load,)))) is expected


def test_many_small_foreign_loads_are_work_together() -> None:
    loads = (busy(1, sm=2), busy(2, sm=2), busy(3, sm=2))
    assert why(judged(replace(with_processes(1, 2, 3), process_loads=loads))) is Why.COMPUTE


def test_an_open_encoding_session_is_work_before_any_load_shows() -> None:
    assert why(judged(replace(QUIET, encoder_sessions=(session(OWNER),)))) is Why.TRANSCODE
    assert why(judged(replace(QUIET, encoder_sessions=(session(OURS),)))) is None
    assert why(judged(replace(QUIET, capture_sessions=(session(OWNER),)))) is Why.CAPTURE


def test_a_codec_at_work_for_nobody_we_know_is_the_owners() -> None:
    sample = replace(QUIET, load=Load(sm=3, encoder=0, decoder=40))
    assert why(judged(sample)) is Why.TRANSCODE


def test_our_own_job_at_full_load_does_not_trip_it() -> None:
    """With process accounting, and without it when nobody else is there."""
    sample = replace(
        with_processes(OURS, OWNER),
        load=Load(sm=99, memory=60, encoder=0, decoder=0),
        process_loads=(busy(OURS, sm=99),),
    )
    assert judged(sample) == Clear()
    alone = replace(with_processes(OURS), load=Load(sm=99, memory=60), process_loads=None)
    assert judged(alone) == Clear()


def test_what_the_owner_does_not_mind_is_no_work() -> None:
    sample = replace(
        with_processes(OWNER),
        load=Load(sm=50, encoder=10),
        process_loads=(busy(OWNER, sm=50, encoder=10),),
        encoder_sessions=(session(OWNER),),
    )
    assert judged(sample, ignored=frozenset({OWNER})) == Clear()
    assert why(judged(sample)) is Why.TRANSCODE


def test_who_cannot_be_seen_is_not_taken_for_nobody() -> None:
    assert why(judged(replace(QUIET, processes=None))) is Why.BLIND


def test_without_process_accounting_nothing_is_leased_beside_a_foreign_process() -> None:
    """Our own job's load would have no name either, and end the lease that let it in."""
    sample = replace(with_processes(OWNER), process_loads=None)
    assert why(judged(sample)) is Why.BLIND
    assert judged(replace(QUIET, process_loads=None)) == Clear()


def test_load_by_nobody_is_the_owners_unless_we_are_there() -> None:
    for loads in (None, ()):
        sample = replace(QUIET, load=Load(sm=30), process_loads=loads)
        assert why(judged(sample)) is Why.COMPUTE
        # As in a container that does not see the host's processes.
        assert judged(replace(sample, load=Load(sm=4))) == Clear()
        assert judged(replace(sample, processes=(process(OURS),))) == Clear()


def test_a_mig_card_is_judged_by_who_is_there() -> None:
    """With MIG on, the card tells neither load nor codecs."""
    mig = replace(
        QUIET, load=Load(), process_loads=None, encoder_sessions=None, capture_sessions=None
    )
    assert judged(mig) == Clear()
    assert judged(replace(mig, processes=(process(OURS),))) == Clear()
    assert why(judged(replace(mig, processes=(process(OURS), process(OWNER))))) is Why.BLIND


def in_slices(ours: Load, theirs: Load, *processes: GpuProcess) -> Sample:
    """Our slice is 1, the owner's 2."""
    return replace(
        QUIET,
        load=Load(),
        process_loads=None,
        encoder_sessions=None,
        processes=processes,
        slice_loads=(SliceLoad(instance=1, load=ours), SliceLoad(instance=2, load=theirs)),
    )


US = replace(process(OURS), instance=1)
THEM = replace(process(OWNER), instance=2)
STILL = Load(sm=0, decoder=0)
FULL = Load(sm=99, decoder=0)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (STILL, None),
        (Load(sm=4, decoder=0), None),
        (Load(sm=5, decoder=0), Why.COMPUTE),
        (Load(sm=0, decoder=1), Why.TRANSCODE),
        (Load(sm=0, optical_flow=9), Why.COMPUTE),
        (Load(), Why.BLIND),
    ],
)
def test_the_owners_slice_is_judged_and_ours_may_be_full(
    theirs: Load, expected: Why | None
) -> None:
    """A monitored slice tells what a process alone does not."""
    assert why(judged(in_slices(FULL, theirs, US, THEM))) is expected


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ((US, replace(THEM, instance=1)), Why.BLIND),
        ((US, replace(THEM, instance=None)), Why.BLIND),
        ((US, replace(THEM, instance=7)), Why.BLIND),
        ((replace(US, instance=None), THEM), Why.BLIND),
        ((US,), None),
    ],
)
def test_what_cannot_be_told_apart_by_slices_is_not_lent(
    processes: tuple[GpuProcess, ...], expected: Why | None
) -> None:
    assert why(judged(in_slices(FULL, STILL, *processes))) is expected


def test_a_busy_slice_that_nobody_is_named_on_is_the_owners() -> None:
    assert why(judged(in_slices(FULL, Load(sm=50, decoder=0), US))) is Why.COMPUTE


def test_the_first_look_at_slices_says_nothing_yet() -> None:
    first = replace(in_slices(FULL, STILL, US, THEM), slice_loads=())
    assert why(judged(first)) is Why.BLIND


def test_memory_is_counted_as_if_our_engines_had_gone() -> None:
    """10 GiB are wanted: 8 to work in, 2 that stay the owner's."""

    def card(used: int, *processes: GpuProcess) -> Sample:
        return replace(QUIET, memory_used_bytes=used * GIB, processes=processes)

    assert judged(card(14)) == Clear()
    assert why(judged(card(15))) is Why.MEMORY
    assert judged(card(22, process(OURS, 8 * GIB), process(OWNER, 14 * GIB))) == Clear()
    assert why(judged(card(23, process(OURS, 8 * GIB), process(OWNER, 15 * GIB)))) is Why.MEMORY
    # Where sizes of processes are not told, what we hold must not look like the owner's.
    assert judged(card(23, process(OURS, None))) == Clear()


def test_our_engines_keep_to_their_cap() -> None:
    limits = Limits(own_bytes_max=8 * GIB)
    sample = replace(QUIET, processes=(process(OURS, 8 * GIB + 1),))
    found = judge(sample, {OURS}, (), limits)
    assert isinstance(found, Withheld)
    assert found.why is Why.MEMORY
    assert judge(replace(sample, processes=(process(OURS, 8 * GIB),)), {OURS}, (), limits) == (
        Clear()
    )


def test_what_is_absent_is_not_taken_for_zero() -> None:
    """A card without memory figures is judged by the rest."""
    bare = Sample(uuid=UUID, processes=(), process_loads=())
    assert judged(bare) == Clear()


def test_a_judgement_says_what_was_seen() -> None:
    found = judged(replace(QUIET, encoder_sessions=(session(OWNER),)))
    assert isinstance(found, OwnerWorks)
    assert found.detail == f"process {OWNER} encodes 1920x1080 at 60 frames/s"
