"""An owner names GPUs as people do; an engine's process is told by UUID."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowen.config import load_config
from rowen.gpu.base import GpuInfo, MigDevice
from rowen.protocol.errors import UserError
from rowen.provider.gpu_choice import Choice, choose

SLICE = MigDevice(uuid="MIG-cc-1", name="1g", memory_bytes=None)
LENT = (
    GpuInfo(uuid="GPU-aa11", index=0, name="one"),
    GpuInfo(uuid="GPU-aa22", index=2, name="another"),
    GpuInfo(uuid="GPU-cc33", index=3, name="cut", is_mig=True, mig_devices=(SLICE,)),
)
ALL = ("GPU-aa11", "GPU-aa22", "GPU-cc33")


@pytest.mark.parametrize(
    ("named", "uuids", "visible"),
    [
        ((), (), ()),
        (("0",), ("GPU-aa11",), ("GPU-aa11",)),
        (("2",), ("GPU-aa22",), ("GPU-aa22",)),
        (("GPU-aa2",), ("GPU-aa22",), ("GPU-aa22",)),
        (("3", "0"), ("GPU-cc33", "GPU-aa11"), ("GPU-cc33", "GPU-aa11")),
        (("0", "GPU-aa11"), ("GPU-aa11",), ("GPU-aa11",)),
        (("MIG-cc",), ("GPU-cc33",), ("MIG-cc-1",)),
    ],
)
def test_gpus_are_named_by_index_or_the_beginning_of_a_uuid(
    named: tuple[str, ...], uuids: tuple[str, ...], visible: tuple[str, ...]
) -> None:
    """The order is the owner's: CUDA counts in it."""
    assert choose("gpus", named, LENT, is_part=False) == Choice(uuids, visible)


def test_an_engine_sees_no_gpu_that_is_not_lent() -> None:
    """Also one that may have all of those that are."""
    assert choose("gpus", (), LENT, is_part=True) == Choice((), ALL)


def test_where_no_gpu_is_watched_names_go_to_the_engine_as_they_are() -> None:
    assert choose("gpus", ("1",), (), is_part=False) == Choice((), ("1",))


@pytest.mark.parametrize(
    ("name", "told"), [("1", "is none"), ("GPU-aa", "more than one"), ("", "none"), ("x", "none")]
)
def test_a_name_that_fits_none_or_several_is_told_with_those_there_are(
    name: str, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        choose("[engine.a] gpus", (name,), LENT, is_part=False)
    assert told in str(caught.value)
    assert "2 is GPU-aa22" in str(caught.value)


def test_a_process_is_told_its_gpus_unless_its_owner_did() -> None:
    choice = Choice(("GPU-aa11",), ("GPU-aa11", "GPU-aa22"))
    told = choice.environment({"A": "b"}, "[engine.a] environment")
    assert told == {"A": "b", "CUDA_VISIBLE_DEVICES": "GPU-aa11,GPU-aa22"}
    owners = {"CUDA_VISIBLE_DEVICES": "0"}
    assert Choice().environment(owners, "") == owners
    with pytest.raises(UserError, match="contradicts `gpus`"):
        choice.environment(owners, "[engine.a] environment")


def test_an_index_may_be_written_as_a_number(tmp_path: Path) -> None:
    file = tmp_path / "rowen.toml"
    file.write_text('[engine.a]\ngpus = [0, "GPU-1a2b"]\n')
    config = load_config(file, {})
    assert config.engines["a"].gpus == ("0", "GPU-1a2b")
    assert load_config(file, {}, ["engine.a.gpus=1,2"]).engines["a"].gpus == ("1", "2")
    file.write_text("[engine.a]\ngpus = [0.5]\n")
    with pytest.raises(UserError, match="expected a list of texts"):
        load_config(file, {})
