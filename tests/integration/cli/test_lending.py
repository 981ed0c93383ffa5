"""An owner's own work, with real programs: ffmpeg transcodes, a driver tells, a switch is moved."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from tests.integration.cli.command import (
    ROWEN,
    environment,
    first_document,
    make_home,
    rowen,
    running,
    valid,
)
from tests.integration.cli.test_watch import get, names
from tests.integration.gpu.library import Scenario

from rowen.home import Home
from rowen.provider.asking import ask_daemon
from rowen.provider.exposition import MAY_BE_ABSENT
from rowen.provider.lease_reports import LeaseReport
from rowen.testing.gpu import H200, Card, GpuWorld, Program

# Far more than it takes anywhere; a test that waits for so long has failed.
WAIT_S = 300


def lease_of(home: Path) -> LeaseReport:
    """What ``rowen status`` would say of the leases."""
    answer = trio.run(partial(ask_daemon, Home(home), "status"))
    assert answer is not None
    return msgspec.convert(answer["lease"], LeaseReport)


def wait_until(home: Path, is_so: Callable[[LeaseReport], bool]) -> LeaseReport:
    """Asks until it is so."""
    began = time.monotonic()
    while not is_so(found := lease_of(home)):
        assert time.monotonic() - began < WAIT_S, found
        # What is waited for is another process, with no event of ours.
        time.sleep(0.2)
    return found


def is_leased(lease: LeaseReport) -> bool:
    return lease.is_leased


def is_owners(lease: LeaseReport) -> bool:
    return lease.gpus[0].state == "owner"


@contextmanager
def transcoding() -> Iterator[None]:
    """ffmpeg, which encodes a test picture for as long as it is let."""
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg is not None, "there is no ffmpeg: `make setup` brings one"
    endless = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30", "-threads", "1"]
    process = subprocess.Popen(
        [ffmpeg, "-loglevel", "error", *endless, "-c:v", "mpeg4", "-f", "null", "-"],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield
        assert process.poll() is None, "ffmpeg ended by itself"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def owner(devnet: dict[str, Any], tmp_path: Path) -> Path:
    return make_home(
        tmp_path / "owner",
        devnet,
        provider__listen=("/ip4/127.0.0.1/tcp/0",),
        provider__context_units=4096,
        chain__confirmations=0,
    )


def test_a_job_makes_room_for_ffmpeg_and_is_paid_for_what_it_said(
    devnet: dict[str, Any], owner: Path, tmp_path: Path
) -> None:
    """The owner starts to transcode; the stranger's job ends with a receipt, not with a crash."""
    developer = make_home(tmp_path / "developer", devnet, chain__confirmations=0)
    wallet = rowen(developer, "init", "--yes", "--json").document("init")["wallet"]
    operator = rowen(owner, "init", "--yes", "--json").document("init")["operator"]
    for address in (wallet, operator):
        assert rowen(owner, "devnet", "fund", address, "--usd", 3).code == 0
    watched = {"ROWEN_GPU_WATCH": "cpu", "ROWEN_GPU_HOLD_S": 1}
    with running(owner, "serve", "--json", **watched) as serving:
        place = first_document(serving, "serve")["addresses"][0]
        assert rowen(developer, "channel", "open", place, "1").code == 0
        wait_until(owner, is_leased)
        asked = subprocess.Popen(
            [*ROWEN, "run", "Tell a long story.", "--provider", place, "--json",
             "--max-output", "3500", "--max-cost", "0.10"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=developer.parent, env=environment(developer),
        )  # fmt: skip
        assert asked.stdout is not None
        first = valid(asked.stdout.readline(), "run")
        assert first["type"] == "text"
        with transcoding():
            out, err = asked.communicate(timeout=WAIT_S)
            lease = wait_until(owner, is_owners)
            assert lease.gpus[0].why == "transcode"
            refused = rowen(developer, "run", "hello", "--provider", place, "--json")
            assert refused.code == 4
            assert "no_lease: the owner uses this GPU" in refused.error()["message"]
        *said, failed = out.splitlines()
        assert "preempted" in valid(failed, "error")["error"]["message"], err
        result = valid(said[-1], "run")
        (part,) = result["parts"]
        assert part["is_settled"]
        assert int(part["cost"]) > 0
        check_the_bound(lease)
        wait_until(owner, is_leased)
        again = rowen(developer, "run", "hello", "--provider", place, "--max-output", 4)
        assert again.code == 0, again.err
        check_the_switch(owner)


def check_the_bound(lease: LeaseReport) -> None:
    """How long it took is measured, and said."""
    assert lease.preemption is not None
    assert lease.preemption.is_free
    assert lease.preemption.jobs == 1
    assert 0 <= lease.preemption.jobs_ms <= lease.preemption.memory_ms <= lease.memory_ms_max


def check_the_switch(owner: Path) -> None:
    paused = rowen(owner, "pause", "--json").document("pause")
    assert paused["is_paused"]
    assert not paused["lease"]["is_leased"]
    assert paused["lease"]["gpus"][0]["why"] == "paused"
    assert not rowen(owner, "resume", "--json").document("resume")["is_paused"]
    wait_until(owner, is_leased)
    assert "paused" not in rowen(owner, "status").out


@pytest.mark.skipif(sys.platform != "linux", reason="other loaders have other variables")
def test_a_node_watches_the_gpus_that_the_driver_tells_of(owner: Path, tmp_path: Path) -> None:
    """The real binding, a driver of the tests' own, and a film that begins in the middle."""
    rowen(owner, "init", "--yes")
    film = Program(pid=2**22 + 1, sm=3, decoder=40)
    card = Card(name="NVIDIA H200", tells=H200)
    world = GpuWorld(card)
    scenario = Scenario(tmp_path / "scenario.txt")
    scenario.put(world.scenario())
    found = scenario.environment()
    driver = {name: found[name] for name in ("LD_LIBRARY_PATH", "FAKE_NVML_SCENARIO")}
    driver |= {"ROWEN_GPU_WATCH": "auto", "ROWEN_GPU_HOLD_S": "1"}
    with running(owner, "serve", "--json", **driver) as serving:
        watch = first_document(serving, "serve")["watch"]
        lease = wait_until(owner, is_leased)
        metrics = names(get(f"{watch}/metrics").text)
        # This card has no encoder, and so there is no load of one.
        assert MAY_BE_ABSENT - metrics == {"rowen_gpu_encoder_percent"}
        assert [gpu.name for gpu in lease.gpus] == ["NVIDIA H200"]
        assert lease.gpus[0].encoder_percent is None
        card.programs = [film]
        scenario.put(world.scenario())
        lease = wait_until(owner, is_owners)
        assert lease.gpus[0].why == "transcode"
        assert "40 % of the codecs" in lease.gpus[0].seen
        card.programs = []
        card.is_lost = True
        scenario.put(world.scenario())
        assert wait_until(owner, lambda one: one.gpus[0].why == "lost").gpus[0].sm_percent is None
        card.is_lost = False
        scenario.put(world.scenario())
        wait_until(owner, is_leased)
        shown = rowen(owner, "status").out
        assert "NVIDIA H200" in shown
        assert "last preemption" in shown


def test_a_switch_is_moved_before_the_node_is_started(owner: Path) -> None:
    said = rowen(owner, "pause")
    assert "it will remember" in said.out
    paused = rowen(owner, "pause", "--gpu", "GPU-1", "--json").document("pause")
    assert (paused["is_paused"], paused["paused_gpus"], paused["lease"]) == (True, ["GPU-1"], None)
    Home(owner).paused.write_text("{")
    assert rowen(owner, "pause", "--gpu", "GPU-1").code == 2
    resumed = rowen(owner, "resume", "--json").document("resume")
    assert (resumed["is_paused"], resumed["paused_gpus"]) == (False, [])


def test_what_the_driver_answers_is_told_call_by_call(owner: Path, tmp_path: Path) -> None:
    """On a machine without one, the call that failed and its code are the answer."""
    scenario = Scenario(tmp_path / "scenario.txt")
    scenario.put(GpuWorld(Card(name="NVIDIA H200", tells=H200)).scenario())
    found = scenario.environment()
    driver = {name: found[name] for name in ("LD_LIBRARY_PATH", "FAKE_NVML_SCENARIO")}
    if sys.platform == "linux":
        document = rowen(owner, "gpu", "--json", **driver).document("gpu")
        codes = {call["function"]: call["code"] for call in document["calls"]}
        assert codes["nvmlDeviceGetEncoderUtilization"] == 3
        assert codes["nvmlDeviceGetTotalEnergyConsumption"] == 0
        (gpu,) = document["gpus"]
        assert (gpu["load"]["encoder"], gpu["load"]["decoder"]) == (None, 0)
        assert "NVML_ERROR_NOT_SUPPORTED" in rowen(owner, "gpu", **driver).out
    scenario.put("fail.nvmlInit = 9\n")
    failed = rowen(owner, "gpu", "--json", **driver)
    assert failed.code == 4
    document = failed.document("gpu")
    assert "Driver Not Loaded" in document["unavailable"] or sys.platform != "linux"
