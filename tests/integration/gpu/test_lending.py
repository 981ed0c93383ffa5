"""Which probe a machine gets, and the switch that survives its node."""

from pathlib import Path

import pytest
import trio
from tests.integration.gpu.library import Scenario

from rowen.config import GpuConfig
from rowen.gpu.cpu import UUID as CPU
from rowen.home import Home
from rowen.protocol.errors import Reason, UserError
from rowen.provider.leases import Switch
from rowen.provider.lending import (
    NODE,
    open_leases,
    read_switch,
    turn_switch,
    turned,
    write_switch,
)
from rowen.provider.questions import Switching
from rowen.provider.stock import Vacated
from rowen.testing.gpu import Card, GpuWorld
from rowen_scheduler.placement import LeaseState


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_gpus_are_watched_where_there_are_some(scenario: Scenario, home: Home) -> None:
    cards = [Card(uuid="GPU-0"), Card(uuid="GPU-1")]
    scenario.put(GpuWorld(*cards).scenario())
    async with open_leases(home, GpuConfig()) as leases:
        assert [gpu.uuid for gpu in leases.gpus] == ["GPU-0", "GPU-1"]
        assert leases.rules.hold_s == 60
    async with open_leases(home, GpuConfig(only=("GPU-1",))) as leases:
        assert [gpu.uuid for gpu in leases.gpus] == ["GPU-1"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (GpuConfig(only=("GPU-7",)), "GPU-7 not found; here: GPU-0"),
        (GpuConfig(watch="both"), "none of auto, gpu, cpu, none"),
        (GpuConfig(timezone="Mars"), "timezone"),
    ],
)
async def test_settings_that_do_not_fit_the_machine_are_named(
    config: GpuConfig, told: str, scenario: Scenario, home: Home
) -> None:
    scenario.put(GpuWorld(Card(uuid="GPU-0")).scenario())
    with pytest.raises(UserError, match=told):
        async with open_leases(home, config):
            pass


async def test_who_insists_on_gpus_is_told_that_there_are_none(
    scenario: Scenario, home: Home
) -> None:
    world = GpuWorld()
    scenario.put(world.scenario())
    with pytest.raises(UserError, match="knows no GPU"):
        async with open_leases(home, GpuConfig(watch="gpu")):
            pass
    world.is_driver_up = False
    scenario.put(world.scenario())
    with pytest.raises(UserError, match="NVML code 9"):
        async with open_leases(home, GpuConfig(watch="gpu")):
            pass


async def test_a_machine_without_gpus_lends_itself_at_once(scenario: Scenario, home: Home) -> None:
    scenario.put(GpuWorld().scenario())
    async with open_leases(home, GpuConfig()) as leases:
        assert leases.gpus[0].uuid in (NODE, CPU)
        assert leases.rules.hold_s == 0
    async with open_leases(home, GpuConfig(watch="cpu", hold_s=5)) as leases:
        assert leases.gpus[0].uuid == CPU
        assert leases.rules.hold_s == 5


class Guest:
    def __init__(self) -> None:
        self.is_open = True
        self.gpus: tuple[str, ...] = ()

    def close(self, reason: Reason, detail: str, retry_ms: int | None = None) -> None:
        self.is_open = False

    async def vacate(
        self, *, end_s: float, release_s: float, detail: str, retry_ms: int | None = None
    ) -> Vacated:
        return Vacated(jobs=0, is_free=True, has_slept=True, jobs_s=0, memory_s=0)

    async def reopen(self) -> None:
        self.is_open = True


async def test_a_running_node_obeys_and_remembers(scenario: Scenario, home: Home) -> None:
    scenario.put(GpuWorld().scenario())
    guest = Guest()
    async with open_leases(home, GpuConfig()) as leases, trio.open_nursery() as nursery:
        leases.house([guest])
        await nursery.start(leases.run)
        uuid = leases.gpus[0].uuid
        assert guest.is_open
        report = await turn_switch(home, leases, True, Switching())
        assert (report.is_paused, report.is_leased, guest.is_open) == (True, False, False)
        assert report.gpus[0].why == "paused"
        report = await turn_switch(home, leases, False, Switching())
        await leases.obey()
        assert guest.is_open
        report = await turn_switch(home, leases, True, Switching(gpus=[uuid[:2]]))
        assert (report.is_paused, report.gpus[0].is_paused) == (False, True)
        assert read_switch(home) == Switch(all=False, uuids={uuid[:2]})
        with pytest.raises(UserError, match="no GPU 'GPU-9'"):
            await turn_switch(home, leases, True, Switching(gpus=["GPU-9"]))
        nursery.cancel_scope.cancel()
    async with open_leases(home, GpuConfig()) as leases:
        assert leases.switch.is_paused(uuid)
        await leases.look()
        assert leases.gpus[0].lease.state is LeaseState.OWNER


def test_the_switch_is_moved_for_one_gpu_or_for_all() -> None:
    off = Switch()
    one = turned(off, ["GPU-1"], is_paused=True)
    assert (one.all, one.uuids) == (False, {"GPU-1"})
    assert turned(one, ["GPU-1"], is_paused=False) == off
    everything = turned(one, [], is_paused=True)
    assert (everything.all, everything.uuids) == (True, set())
    assert turned(everything, [], is_paused=False) == off


def test_a_switch_that_cannot_be_read_is_not_taken_for_off(home: Home) -> None:
    assert read_switch(home) == Switch()
    home.paused.write_text("{")
    with pytest.raises(UserError, match="`rowen resume` writes it anew"):
        read_switch(home)
    write_switch(home, Switch(all=True))
    assert read_switch(home) == Switch(all=True)
