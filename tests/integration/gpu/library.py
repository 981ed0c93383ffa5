"""Builds the fake NVML library, once for each version of its source, and points tests at it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")
BUILDS = Path(__file__).resolve().parents[3] / ".setup" / "fake-nvml"
NAME = "libnvidia-ml.so.1"
FLAGS = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread"]


def compiler() -> list[str]:
    """The machine's C compiler, or the one that `make setup` brings where there is none."""
    for name in ("cc", "gcc", "clang"):
        # macOS has a `cc` that only asks to be installed.
        if (found := shutil.which(name)) and _works([found, "--version"]):
            return [found]
    return [sys.executable, "-m", "ziglang", "cc"]


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def build() -> Path:
    """The library; built when its source has changed."""
    command = [*compiler(), *FLAGS, f"-Wl,-soname,{NAME}"]
    key = hashlib.sha256(SOURCE.read_bytes() + repr(command).encode()).hexdigest()[:16]
    library = BUILDS / key / NAME
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        # Beside it, then renamed: other workers may be building it too.
        with tempfile.TemporaryDirectory(dir=BUILDS) as place:
            made = Path(place) / NAME
            told = subprocess.run(
                [*command, "-o", made, SOURCE], capture_output=True, text=True, check=False
            )
            assert told.returncode == 0, told.stderr
            made.replace(library)
    return library


class Scenario:
    """The file that the fake library reads."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def put(self, text: str) -> None:
        """Replaces it at once, as a whole."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def environment(self) -> dict[str, str]:
        """For a process that is to find the fake library."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(build().parent),
            "FAKE_NVML_SCENARIO": str(self.file),
        }
