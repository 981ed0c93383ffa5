"""The scripted days again, seen through NVIDIA's own binding."""

from functools import partial

import pytest
from tests.integration.gpu.library import Scenario
from tests.simulation.gpu_days import LOOK_S, PROFILES, Look, lent_by_the_oracle, live, script

from rowen.gpu.base import Sample
from rowen.gpu.nvml import NvmlProbe
from rowen.testing.gpu import GpuWorld


def through_nvml(scenario: Scenario) -> Look:
    probe = NvmlProbe()

    def look(world: GpuWorld, uuid: str) -> Sample:
        scenario.put(world.scenario())
        return probe._guarded(partial(probe._sample, uuid))

    return look


@pytest.mark.parametrize(
    "number",
    [n if n < len(PROFILES) else pytest.param(n, marks=pytest.mark.slow) for n in range(32)],
)
async def test_every_look_finds_what_the_owner_would_say(number: int, scenario: Scenario) -> None:
    """One day for each kind of card; all of them in the slow tier."""
    day = script(number)
    found = live(day, through_nvml(scenario)).lent
    expected = lent_by_the_oracle(day)
    pairs = enumerate(zip(found, expected, strict=True))
    wrong = [index * LOOK_S for index, (is_lent, should) in pairs if is_lent is not should]
    assert not wrong, f"day {number} ({day.profile}): {len(wrong)} looks, first at {wrong[0]} s"
