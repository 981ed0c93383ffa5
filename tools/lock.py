"""Resolves `requirements/*.txt` anew: exact versions and hashes, for every supported platform.

`lock.txt` is what runs a node, `dev.txt` what the checks need beyond it, so that an image made for
running carries no test tools. Pins are kept while they satisfy the inputs; `--upgrade` lifts them.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
OPTIONS = [
    *("--quiet", "--no-header", "--no-annotate", "--no-emit-index-url"),
    *("--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--override", "requirements/overrides.txt"),
]


def main() -> None:
    """Rewrites the lock files."""
    upgrade = ["--upgrade"] if "--upgrade" in sys.argv[1:] else []
    with tempfile.TemporaryDirectory() as place:
        # The resolver is pinned too, and leaves with its directory.
        venv.create(place, with_pip=True)
        pip = [f"{place}/bin/python", "-m", "pip", "install", "--quiet", "--no-deps"]
        pin = ["--require-hashes", "--only-binary", ":all:", "-r", "requirements/uv.txt"]
        subprocess.run([*pip, *pin], cwd=ROOT, check=True)

        def resolve(output: str, *inputs: str) -> None:
            print(f"  {output}", flush=True)
            command = [f"{place}/bin/uv", "pip", "compile", *OPTIONS, *upgrade]
            subprocess.run([*command, *inputs, "-o", output], cwd=ROOT, check=True)

        for name in (
            *("uv", "build", "nodejs", "compiler", "ffmpeg"),
            *("halmos", "slither", "ray"),
        ):
            resolve(f"requirements/{name}.txt", f"requirements/{name}.in")
        resolve("requirements/lock.txt", "pyproject.toml", "--extra", "node", "--extra", "audit")
        # With the runtime pins as preferences, the two files never disagree about a version.
        lock, dev = REQUIREMENTS / "lock.txt", REQUIREMENTS / "dev.txt"
        dev.write_text(lock.read_text() + dev.read_text())
        resolve("requirements/dev.txt", "pyproject.toml", "--extra", "dev")
        dev.write_text("".join(p for p in pins(dev) if p not in pins(lock)))


def pins(file: Path) -> list[str]:
    """Splits a lock file into its entries: a `name==version` line and the hashes that follow."""
    return re.findall(r"^\S.*\n(?:[ ].*\n)*", file.read_text(), re.MULTILINE)


if __name__ == "__main__":
    main()
