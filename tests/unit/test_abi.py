"""The contracts' JSON that Python ships is the one their sources compile to."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rowen.protocol.ids import keccak

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "contracts"
ABI = ROOT / "node" / "rowen" / "chain" / "abi"
NAMES = ["RowenEscrow", "RowenStake", "TestUSDC", "WalletDeployer"]


@pytest.fixture(scope="module")
def export_abi() -> ModuleType:
    """The script that writes the JSON, as a module."""
    spec = importlib.util.spec_from_file_location("export_abi", CONTRACTS / "tools/export_abi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shipped(name: str) -> dict[str, Any]:
    """One shipped contract."""
    loaded: dict[str, Any] = json.loads((ABI / f"{name}.json").read_bytes())
    return loaded


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_abi_is_of_these_sources(export_abi: ModuleType, name: str) -> None:
    """After a change of the contracts: `cd contracts && npm run abi`."""
    assert shipped(name)["source_sha256"] == export_abi.source_sha256()


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_bytecode_is_what_the_sources_compile_to(
    export_abi: ModuleType, name: str
) -> None:
    """Byte for byte, wherever `contracts/out-ship` was built from the sources as they are now."""
    path = CONTRACTS / "out-ship" / f"{name}.sol" / f"{name}.json"
    if not path.is_file():
        pytest.skip("contracts/out-ship is not built: cd contracts && npm run ship")
    for source, recorded in json.loads(path.read_bytes())["metadata"]["sources"].items():
        if source.startswith("src/"):
            content = (CONTRACTS / source).read_bytes()
            if keccak(content).hex() != recorded["keccak256"].removeprefix("0x"):
                pytest.skip(f"contracts/out-ship was built from another {source}")
    assert shipped(name) == export_abi.artifact(name)


def test_the_hash_covers_every_source(export_abi: ModuleType, tmp_path: Path) -> None:
    """A changed byte, a new file, another compiler, another OpenZeppelin: each is seen."""
    lock = {
        "packages": {
            "node_modules/solc": {"version": "1"},
            "node_modules/@openzeppelin/contracts": {"version": "1"},
        }
    }
    source = tmp_path / "src" / "deep" / "A.sol"
    source.parent.mkdir(parents=True)
    source.write_text("contract A {}")
    (tmp_path / "foundry.toml").write_text("")
    (tmp_path / "package-lock.json").write_text(json.dumps(lock))
    seen = {export_abi.source_sha256(tmp_path)}

    source.write_text("contract A { }")
    seen.add(export_abi.source_sha256(tmp_path))
    (source.parent / "B.sol").write_text("")
    seen.add(export_abi.source_sha256(tmp_path))
    (tmp_path / "foundry.toml").write_text("[fuzz]")
    seen.add(export_abi.source_sha256(tmp_path))
    for package in lock["packages"].values():
        package["version"] = "2"
        (tmp_path / "package-lock.json").write_text(json.dumps(lock))
        seen.add(export_abi.source_sha256(tmp_path))

    assert len(seen) == 6


def test_the_typed_calls_are_of_the_shipped_abi() -> None:
    """After a change of the ABI: `python tools/bindings.py`, which `npm run abi` does too."""
    command = [sys.executable, str(ROOT / "tools" / "bindings.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_storage_slots_that_proofs_rely_on() -> None:
    """Moving one is a new contract version: proofs made for the old layout would read nothing."""
    assert shipped("RowenEscrow")["storage"] == {
        "_nameFallback": 0,
        "_versionFallback": 1,
        "channels": 2,
        "_credits": 3,
        "accumulatorOf": 4,
        "_payouts": 5,
        "isReleaseUsed": 6,
        "isAuthorizationUsed": 7,
    }


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_a_failing_forge_fails_the_command_that_ran_it() -> None:
    """The `forge` npm installs exits with 0 whatever happened: every check would stay green."""
    if not (CONTRACTS / "node_modules/@foundry-rs").is_dir():
        pytest.skip("contracts/node_modules is not installed")
    command = ["node", str(CONTRACTS / "tools/foundry"), "forge", "no-such-command"]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0
