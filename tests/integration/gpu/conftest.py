import ctypes
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pynvml
import pytest
from tests import profiles
from tests.integration.gpu.library import Scenario, build

from rowen.gpu.nvml import NvmlProbe

profiles.load()


@pytest.fixture(scope="session")
def loaded_library() -> Iterator[None]:
    """NVIDIA's binding, with the fake library where it would have loaded the driver's."""
    before = pynvml.nvmlLib
    pynvml.nvmlLib = ctypes.CDLL(str(build()))
    pynvml._nvmlGetFunctionPointer_cache.clear()
    yield
    pynvml.nvmlLib = before
    pynvml._nvmlGetFunctionPointer_cache.clear()


@pytest.fixture
def scenario(loaded_library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    found = Scenario(tmp_path / "scenario.txt")
    # os.environ reaches the C library's getenv.
    monkeypatch.setenv("FAKE_NVML_SCENARIO", str(found.file))
    return found


@pytest.fixture
async def probe(scenario: Scenario) -> AsyncIterator[NvmlProbe]:
    found = NvmlProbe()
    yield found
    await found.close()
