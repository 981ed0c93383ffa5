"""What an answer says of the energy it took: its providers' readings, or nothing."""

from __future__ import annotations

import pytest
from tests.unit.protocol.build import order, receipt, variant

from rowen.cli.asking import Clock, energy_of, part_entry, result_line
from rowen.cli.people import joules
from rowen.client.answer import Answer
from rowen.client.parts import Part, Request
from rowen.protocol.jobs import ChatInput, Message
from rowen.protocol.messages import Signed
from rowen.protocol.statements import EnergySource
from rowen_scheduler.selection import Preferences

UNSIGNED = Signed(b"", bytes(64))


def part(*readings: tuple[int, EnergySource]) -> Part:
    made = Part(provider=b"p" * 20, variant=variant(), order=order())
    made.receipts += [
        (receipt(energy_mj=energy_mj, energy_source=source), UNSIGNED)
        for energy_mj, source in readings
    ]
    return made


def told(*parts: Part) -> str:
    request = Request(ChatInput((Message("user", "x"),)), Preferences(model="m"), 1, 1)
    answer = Answer(None, request)  # type: ignore[arg-type]  # nothing is asked of a client
    answer.parts += parts
    return energy_of(result_line(answer, Clock(0.0, ended_s=1.0), "m"))


def test_a_part_has_the_last_reading_of_its_job() -> None:
    """Receipts hold readings from the start of the job, so the last one is the sum."""
    counter = EnergySource.NVML_COUNTER
    entry = part_entry(part((1_000, counter), (2_500, counter)))
    assert (entry.energy_mj, entry.energy_source) == (2_500, "nvml_counter")
    assert part_entry(part((0, EnergySource.NONE))).energy_source == "none"
    assert part_entry(part()).energy_source == "none"


def test_a_share_of_the_energy_is_said_to_be_about_so_much() -> None:
    """The receipt's marks are told apart from its source."""
    entry = part_entry(part((2_500, EnergySource.NVML_POWER_SHARED_WEAK)))
    assert entry.energy_source == "nvml_power"
    assert (entry.energy_is_shared, entry.energy_is_weak) == (True, True)
    whole, shared = (part((2_500, s)) for s in (EnergySource.RAPL, EnergySource.RAPL_SHARED))
    assert told(whole, shared) == " · about 5.0 J"
    assert told(whole, part((2_500, EnergySource.RAPL_WEAK))) == " · about 5.0 J"


def test_an_answer_says_its_energy_only_when_every_part_was_measured() -> None:
    """Half a sum would look like a whole one."""
    one, other = part((2_500, EnergySource.RAPL)), part((1_000, EnergySource.NVML_POWER))
    assert told(one, other) == " · 3.5 J"
    assert told(one, part((0, EnergySource.NONE))) == ""
    assert told() == ""


@pytest.mark.parametrize(
    ("energy_mj", "said"),
    [
        (0, "0.0 J"),
        (12_345, "12.3 J"),
        (3_599_999, "3600.0 J"),
        (3_600_000, "1.00 Wh"),
        (5_400_000_000, "1.50 kWh"),
    ],
)
def test_energy_is_told_in_units_of_its_size(energy_mj: int, said: str) -> None:
    assert joules(energy_mj) == said
