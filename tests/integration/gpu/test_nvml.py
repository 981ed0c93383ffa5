"""NVIDIA's own binding against a library that tells what a scenario says."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pynvml
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.gpu.library import Scenario

from rowen.gpu.base import Load, Sample, SliceLoad
from rowen.gpu.nvml import NvmlProbe
from rowen.protocol.errors import Unavailable
from rowen.protocol.statements import EnergySource
from rowen.testing import gpu as simulated
from rowen.testing.gpu import Card, GpuWorld, Program, SimulatedProbe

PROFILES = {
    "consumer": Card(tells=simulated.CONSUMER),
    "h200": Card(
        name="NVIDIA H200",
        tells=simulated.H200,
        memory_bytes=143_771 * simulated.MIB,
        idle_mw=76_000,
        peak_mw=700_000,
    ),
    "mig": Card(name="NVIDIA H200", tells=simulated.MIG, memory_bytes=143_771 * simulated.MIB),
    "mig, monitored": Card(
        name="NVIDIA H200", tells=simulated.MIG_GPM, memory_bytes=143_771 * simulated.MIB
    ),
    "old driver": Card(tells=simulated.OLD_DRIVER),
    "no accounting": Card(tells=simulated.NO_ACCOUNTING),
    "no counter": Card(tells=simulated.NO_COUNTER),
    "nothing": Card(tells=frozenset()),
}

TRANSCODER = Program(
    pid=4242,
    memory_bytes=900 * simulated.MIB,
    sm=4,
    encoder=41,
    decoder=22,
    encodes=(1920, 1080, 60),
)
GAME = Program(pid=5151, memory_bytes=6 << 30, sm=88, is_graphics=True, captures=(2560, 1440, 60))


def copied(profile: str, *programs: Program) -> Card:
    original = PROFILES[profile]
    names = ("uuid", "name", "tells", "memory_bytes", "idle_mw", "peak_mw")
    return Card(**{name: getattr(original, name) for name in names}, programs=list(programs))


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_sample_says_what_the_card_tells_and_no_more(
    profile: str, scenario: Scenario, probe: NvmlProbe
) -> None:
    """The simulated probe stands for this one in other tests, so the two must agree."""
    card = copied(profile, TRANSCODER, GAME)
    world = GpuWorld(card)
    stand_in = SimulatedProbe(world)
    scenario.put(world.scenario())
    assert await probe.inventory() == await stand_in.inventory()
    for _ in range(3):
        assert await probe.sample(card.uuid) == await stand_in.sample(card.uuid)
        world.pass_time(1.0)
        scenario.put(world.scenario())


programs = st.builds(
    Program,
    pid=st.integers(2, 9),
    memory_bytes=st.integers(0, 1 << 34),
    sm=st.integers(0, 100),
    encoder=st.integers(0, 100),
    decoder=st.integers(0, 100),
    is_graphics=st.booleans(),
    encodes=st.none() | st.just((1280, 720, 25)),
    captures=st.none() | st.just((1920, 1080, 60)),
)
steps = st.tuples(
    st.lists(programs, max_size=4, unique_by=lambda one: one.pid),
    st.sampled_from(["", "", "", "lost", "driver down", "driver restart", "xid"]),
    st.integers(0, 5000),
)


@given(st.sampled_from(sorted(PROFILES)), st.lists(steps, min_size=1, max_size=8))
def test_both_probes_agree_whatever_happens(
    loaded_library: None,
    tmp_path_factory: pytest.TempPathFactory,
    profile: str,
    script: list[tuple[list[Program], str, int]],
) -> None:
    """Loads, sessions, lost cards, drivers that come and go: one and the same story from both."""
    scenario = Scenario(tmp_path_factory.mktemp("gpu") / "scenario.txt")
    os.environ["FAKE_NVML_SCENARIO"] = str(scenario.file)

    async def said(look: SimulatedProbe | NvmlProbe, uuid: str) -> Sample | None:
        try:
            return await look.sample(uuid)
        except Unavailable:
            return None

    async def tell() -> None:
        card = copied(profile)
        world = GpuWorld(card)
        stand_in, probe = SimulatedProbe(world), NvmlProbe()
        for on_it, happens, wait_ms in script:
            if happens == "driver restart":
                world.restart_driver()
            elif happens == "xid":
                card.xids.append(79)
            world.is_driver_up = happens != "driver down"
            card.is_lost = happens == "lost"
            card.programs = on_it
            world.pass_time(wait_ms / 1000)
            scenario.put(world.scenario())
            found = [await said(look, card.uuid) for look in (stand_in, probe)]
            if happens == "driver restart" and found[1] is None:
                # The old session is found dead once, and the next look opens a new one.
                found[1] = await said(probe, card.uuid)
            assert found[0] == found[1]
        await probe.close()

    trio.run(tell)
    del os.environ["FAKE_NVML_SCENARIO"]


async def test_what_a_card_does_not_tell_is_absent_and_not_zero(
    scenario: Scenario, probe: NvmlProbe
) -> None:
    """An H200 has no encoder; in MIG mode it tells no load either."""
    for profile, absent in (
        ("h200", ["encoder"]),
        ("mig", ["sm", "memory", "encoder", "decoder", "jpeg", "optical_flow"]),
    ):
        card = copied(profile)
        scenario.put(GpuWorld(card).scenario())
        sample = await probe.sample(card.uuid)
        assert [getattr(sample.load, name) for name in absent] == [None] * len(absent)
        assert sample.encoder_sessions is None
        assert sample.processes == ()
    (info,) = await probe.inventory()
    assert info.is_mig
    assert info.mig_devices is not None
    assert [part.name for part in info.mig_devices] == ["NVIDIA H200 MIG 3g"] * 2


async def test_slices_are_monitored_from_the_second_look_on(
    scenario: Scenario, probe: NvmlProbe
) -> None:
    """A load is a difference of two samples; each is given back, or there would be no more."""
    ours = Program(pid=777, sm=90)
    film = Program(pid=4242, sm=3, decoder=40, place=1)
    card = copied("mig, monitored", ours, film)
    world = GpuWorld(card)
    scenario.put(world.scenario())
    assert (await probe.sample(card.uuid)).slice_loads == ()
    for _ in range(200):
        sample = await probe.sample(card.uuid)
    assert sample.load == Load()
    assert sample.slice_loads == (
        SliceLoad(instance=1, load=Load(sm=90, decoder=0, jpeg=0, optical_flow=0)),
        SliceLoad(instance=2, load=Load(sm=3, decoder=40, jpeg=0, optical_flow=0)),
    )
    assert sample.processes is not None
    assert {one.pid: one.instance for one in sample.processes} == {777: 1, 4242: 2}


@pytest.mark.parametrize("function", ["MigSampleGet", "MetricsGet", "SampleAlloc"])
async def test_monitoring_that_fails_is_absent_and_the_card_is_not_lost(
    scenario: Scenario, probe: NvmlProbe, function: str
) -> None:
    card = copied("mig, monitored", TRANSCODER)
    scenario.put(GpuWorld(card).scenario(**{f"nvmlGpm{function}": pynvml.NVML_ERROR_UNKNOWN}))
    for _ in range(3):
        assert (await probe.sample(card.uuid)).slice_loads == ()
    scenario.put(GpuWorld(card).scenario())
    for _ in range(2):
        sample = await probe.sample(card.uuid)
    assert sample.slice_loads


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION])
async def test_a_card_that_may_not_be_monitored_tells_no_slices(
    scenario: Scenario, probe: NvmlProbe, code: int
) -> None:
    card = copied("mig, monitored")
    scenario.put(GpuWorld(card).scenario(nvmlGpmQueryDeviceSupport=code))
    for _ in range(2):
        assert (await probe.sample(card.uuid)).slice_loads is None


async def test_nobody_busy_is_an_empty_list_although_nvml_says_not_found(
    scenario: Scenario, probe: NvmlProbe
) -> None:
    card = copied("consumer", Program(pid=4242))
    scenario.put(GpuWorld(card).scenario())
    assert (await probe.sample(card.uuid)).process_loads == ()
    call = probe.calls[card.uuid, "nvmlDeviceGetProcessesUtilizationInfo"]
    assert call.code == pynvml.NVML_ERROR_NOT_FOUND


async def test_loads_of_before_the_last_look_are_not_told_again(
    scenario: Scenario, probe: NvmlProbe
) -> None:
    """The driver keeps seconds of samples; a transcoder that has ended must not linger."""
    card = copied("consumer", TRANSCODER)
    world = GpuWorld(card)
    scenario.put(world.scenario())
    assert (await probe.sample(card.uuid)).process_loads
    assert (await probe.sample(card.uuid)).process_loads == ()
    world.pass_time(1)
    scenario.put(world.scenario())
    assert (await probe.sample(card.uuid)).process_loads


async def test_a_session_that_opens_between_two_calls_does_not_fail_the_look(
    scenario: Scenario, probe: NvmlProbe
) -> None:
    """The binding counts, then reads; what grew in between is INSUFFICIENT_SIZE."""
    card = copied("consumer", TRANSCODER, Program(pid=4243, encodes=(1280, 720, 30)))
    text = GpuWorld(card).scenario()
    scenario.put(text + "gpu0.encoder_sessions_grow = 1\n")
    for _ in range(3):
        sample = await probe.sample(card.uuid)
        assert sample.encoder_sessions is not None
        assert len(sample.encoder_sessions) == 2


LOSSES = [
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_TIMEOUT,
    pynvml.NVML_ERROR_IRQ_ISSUE,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
    pynvml.NVML_ERROR_OPERATING_SYSTEM,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    pynvml.NVML_ERROR_MEMORY,
    pynvml.NVML_ERROR_UNKNOWN,
]


@pytest.mark.parametrize("code", LOSSES)
@pytest.mark.parametrize(
    "function", ["nvmlInit", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetComputeRunningProcesses_v3"]
)
async def test_a_failure_is_unavailable_and_the_next_look_begins_anew(
    function: str, code: int, scenario: Scenario, probe: NvmlProbe
) -> None:
    world = GpuWorld(copied("consumer", TRANSCODER))
    uuid = world.cards[0].uuid
    scenario.put(world.scenario(**{function: code}))
    with pytest.raises(Unavailable, match=f"NVML code {code}"):
        await probe.sample(uuid)
    scenario.put(world.scenario())
    assert (await probe.sample(uuid)).encoder_sessions


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetEncoderUtilization",
        "nvmlDeviceGetEncoderSessions",
        "nvmlDeviceGetFBCSessions",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlEventSetCreate",
        "nvmlDeviceRegisterEvents",
    ],
)
@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    ],
)
async def test_a_reading_that_is_refused_is_absent_and_the_rest_is_told(
    function: str, code: int, scenario: Scenario, probe: NvmlProbe
) -> None:
    world = GpuWorld(copied("consumer", TRANSCODER))
    scenario.put(world.scenario(**{function: code}))
    sample = await probe.sample(world.cards[0].uuid)
    assert sample.processes
    assert code in [call.code for call in probe.calls.values()]


async def test_a_driver_that_was_loaded_anew_is_asked_anew(
    scenario: Scenario, probe: NvmlProbe
) -> None:
    """Old handles are worthless then, and the counter begins at 0."""
    world = GpuWorld(copied("h200"))
    uuid = world.cards[0].uuid
    scenario.put(world.scenario())
    assert (await probe.sample(uuid)).energy_mj == 1_000_000
    world.restart_driver()
    scenario.put(world.scenario())
    with pytest.raises(Unavailable):
        await probe.sample(uuid)
    assert (await probe.sample(uuid)).energy_mj == 0


async def test_one_lost_card_does_not_hide_the_other(scenario: Scenario, probe: NvmlProbe) -> None:
    cards = [Card(uuid=f"GPU-{n}", is_lost=n == 0) for n in range(2)]
    scenario.put(GpuWorld(*cards).scenario())
    with pytest.raises(Unavailable):
        await probe.sample("GPU-0")
    assert (await probe.sample("GPU-1")).uuid == "GPU-1"


async def test_critical_errors_are_told_once_and_of_their_own_card(
    scenario: Scenario, probe: NvmlProbe
) -> None:
    first, second = Card(uuid="GPU-0"), Card(uuid="GPU-1")
    world = GpuWorld(first, second)
    scenario.put(world.scenario())
    for uuid in ("GPU-0", "GPU-1"):
        assert (await probe.sample(uuid)).xids == ()
    first.xids += [31, 79]
    scenario.put(world.scenario())
    assert (await probe.sample("GPU-1")).xids == ()
    assert (await probe.sample("GPU-0")).xids == (31, 79)
    assert (await probe.sample("GPU-0")).xids == ()


async def test_a_percentage_is_never_above_a_hundred(scenario: Scenario, probe: NvmlProbe) -> None:
    """Drivers have told 4294967295; it is taken for full load, not for none."""
    card = copied("consumer", Program(pid=9, sm=4_294_967_295))
    scenario.put(GpuWorld(card).scenario())
    loads = (await probe.sample(card.uuid)).process_loads
    assert loads is not None
    assert loads[0].load.sm == 100


async def test_without_a_counter_the_source_is_power_and_without_both_there_is_none(
    scenario: Scenario, probe: NvmlProbe
) -> None:
    for tells, source in (
        (simulated.CONSUMER, EnergySource.NVML_COUNTER),
        (simulated.NO_COUNTER, EnergySource.NVML_POWER),
        (simulated.NO_COUNTER - {"power"}, EnergySource.NONE),
    ):
        card = Card(tells=tells)
        scenario.put(GpuWorld(card).scenario())
        assert (await probe.sample(card.uuid)).energy_source is source


async def test_a_driver_that_hangs_does_not_hang_the_node(probe: NvmlProbe) -> None:
    """The caller's patience ends the wait; the thread is left to itself."""
    import threading

    is_over = threading.Event()
    with trio.move_on_after(0.05) as patience:
        await probe._in_thread(partial(is_over.wait, 60))
    assert patience.cancelled_caught
    is_over.set()


NO_LIBRARY = """
import trio
from rowen.gpu.nvml import NvmlProbe
from rowen.protocol.errors import Unavailable
async def main():
    try:
        found = await NvmlProbe().inventory()
    except Unavailable as error:
        print(error)
    else:
        print([card.name for card in found])
trio.run(main)
"""


def told(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", NO_LIBRARY],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="other loaders have other variables")
def test_a_process_finds_the_library_as_it_would_find_the_drivers(scenario: Scenario) -> None:
    """Nothing but the loader's path differs from a machine with a GPU."""
    scenario.put(GpuWorld(copied("h200")).scenario())
    assert json.loads(told(scenario.environment()).replace("'", '"')) == ["NVIDIA H200"]


def test_a_machine_without_a_driver_says_so() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has one")
    assert "NVML Shared Library Not Found" in told(dict(os.environ))
