#!/usr/bin/env python3
"""Write the ABI and bytecode that Python uses, from what the profile `ship` left in `out-ship/`.

    cd contracts && npm ci && npm run abi

With `--check` nothing is written: the exit status is 1 when a file differs from what would be. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

CONTRACTS = Path(__file__).resolve().parents[1]
ABI = CONTRACTS.parent / "node" / "rowen" / "chain" / "abi"
NAMES = ("RowenEscrow", "RowenStake", "TestUSDC", "WalletDeployer")


def source_sha256(contracts: Path = CONTRACTS) -> str:
    """What the bytecode depends on, in one hash.

    SHA-256 over every file of `src/`, `foundry.toml` and the versions of the compiler and OpenZeppelin in
    `package-lock.json`; each part is preceded by its name and its length, so that no two inputs run together.
    """
    packages = json.loads((contracts / "package-lock.json").read_bytes())["packages"]
    parts = {
        path.relative_to(contracts).as_posix(): path.read_bytes()
        for path in (contracts / "foundry.toml", *(contracts / "src").rglob("*.sol"))
    }
    for package in ("solc", "@openzeppelin/contracts"):
        parts[package] = packages[f"node_modules/{package}"]["version"].encode()
    digest = hashlib.sha256()
    for name, content in sorted(parts.items()):
        digest.update(f"{name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def artifact(name: str, contracts: Path = CONTRACTS) -> dict[str, Any]:
    """The exported form of one compiled contract.

    `immutableReferences` keeps solc's shape, with ids renumbered by position: solc's own change whenever another file
    joins the build. `storage` maps each variable to its slot, for storage proofs.
    """
    built = json.loads((contracts / "out-ship" / f"{name}.sol" / f"{name}.json").read_bytes())
    settings = built["metadata"]["settings"]
    optimizer = settings["optimizer"]
    way = "via IR, " if settings.get("viaIR") else ""
    references = sorted(built["deployedBytecode"].get("immutableReferences", {}).values(), key=lambda r: r[0]["start"])
    return {
        "generated": "by contracts/tools/export_abi.py; do not edit",
        "contract": name,
        "compiler": f"solc {built['metadata']['compiler']['version']}, {way}evm {settings['evmVersion']}, optimizer "
        f"{optimizer['runs'] if optimizer['enabled'] else 'off'}, no metadata",
        "source_sha256": source_sha256(contracts),
        "storage": {entry["label"]: int(entry["slot"]) for entry in built["storageLayout"]["storage"]},
        "immutableReferences": {str(index): reference for index, reference in enumerate(references)},
        "abi": built["abi"],
        "bytecode": built["bytecode"]["object"],
        "deployedBytecode": built["deployedBytecode"]["object"],
    }


def main(args: list[str]) -> int:
    stale = []
    for name in NAMES:
        text = json.dumps(artifact(name), indent=1) + "\n"
        path = ABI / f"{name}.json"
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(path.name)
        if "--check" not in args:
            ABI.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if "--check" in args and stale:
        print(f"stale: {', '.join(stale)}; run python3 contracts/tools/export_abi.py", file=sys.stderr)
        return 1
    print(f"{'written' if stale else 'unchanged'}: {', '.join(stale or NAMES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
