"""Rowen's signatures and logs, checked by viem, @sigstore/verify and @transmute/rfc9162."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.interop import make_vectors
from tests.interop.make_vectors import VECTORS
from tests.unit.protocol import build

from rowen.protocol.eip712 import Domain
from rowen.protocol.signing import Key
from rowen.protocol.statements import Status

HERE = Path(__file__).resolve().parent
# `make` puts these first; pytest run by itself must find Node in the same place.
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))


def tool(name: str) -> str:
    """The path of node or npm; a missing one is an error, never a skip."""
    found = shutil.which(name, path=PATH)
    assert found, f"{name} is not on the PATH: run `make setup`"
    return found


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the locked packages installed beside the script."""
    lock = (HERE / "package-lock.json").read_bytes()
    wanted = sha256(lock).hexdigest()
    stamp = HERE / "node_modules" / ".rowen-lock"
    # Several test processes may want it at once; npm empties the folder itself.
    place = sha256(str(HERE).encode()).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"rowen-interop-{place}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            install(stamp, wanted)
    return tool("node")


def install(stamp: Path, wanted: str) -> None:
    command = [tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    environment = os.environ | {"PATH": PATH}
    done = subprocess.run(
        command, cwd=HERE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(wanted)


def verify(node: str, *files: Path) -> dict[str, int]:
    """What the script says it checked."""
    command = [node, str(HERE / "verify.mjs"), *map(str, files)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    checked: dict[str, int] = json.loads(done.stdout)
    return checked


def test_the_published_vectors_verify_elsewhere(node: str) -> None:
    names = ("statements.json", "receipts.json", "authorizations.json")
    checked = verify(node, *(VECTORS / name for name in names))
    assert checked["statements"] == 6 + make_vectors.RECEIPTS + 3
    assert checked["rows"] == 1
    assert checked["inclusion"] == 2 * make_vectors.RECEIPTS
    assert checked["consistency"] == make_vectors.RECEIPTS
    assert checked["rejected"] > 100


def fresh(seed: int) -> dict[str, Any]:
    """Statements and a log that no vector shows, on another deployment."""
    noise = [sha256(b"%d %d" % (seed, number)).digest() for number in range(64)]
    domain = Domain(1 + int.from_bytes(noise[0][:6], "big"), noise[1][:20])
    session, operator = Key(noise[2]), Key(noise[3])
    receipts = [
        build.receipt(
            channel_id=noise[4],
            sequence=number,
            order_hash=noise[5 + number],
            status=list(Status)[number % 5],
            amount=int.from_bytes(noise[6 + number][:12], "big"),
            total=2**96 - 1 - number,
            output_hash=noise[7 + number],
            gpu_ms=2**64 - 1,
            finished_at_ms=2**63,
        )
        for number in range(seed)
    ]
    entries = [receipt.digest(domain) for receipt in receipts]
    voucher = build.voucher(payer=noise[50][:20], total=2**96 - 1, receipt_count=2**32 - 1)
    order = build.order(job_id=noise[51], price_input=2**96 - 1, deadline_ms=2**64 - 1)
    vector = make_vectors.statement_vector
    return {
        "domain": make_vectors.domain_vector(domain),
        "statements": [
            vector(order, session, "order", domain),
            vector(voucher, session, "voucher", domain),
            vector(build.release(total=2**96 - 1), operator, "release", domain),
            vector(build.offer(provider=operator.address), operator, "offer", domain),
        ],
        "receipts": [vector(receipt, operator, "receipt", domain) for receipt in receipts],
        "log": make_vectors.log_vector(entries),
    }


def test_fresh_objects_verify_elsewhere(node: str, tmp_path: Path) -> None:
    """The vectors could be all that works; these differ in every field."""
    files = []
    for seed in (1, 2, 8, 13):
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_text(json.dumps(fresh(seed)))
    checked = verify(node, *files)
    assert checked["statements"] == 4 * 4 + 24
    assert checked["inclusion"] == 2 * 24
    assert checked["consistency"] == 24


@pytest.mark.parametrize("place", ["digest", "signature", "words", "typeHash", "signer"])
def test_a_bent_vector_is_noticed(node: str, tmp_path: Path, place: str) -> None:
    """The script can fail."""
    vectors = fresh(3)
    text = vectors["statements"][1][place]
    vectors["statements"][1][place] = text[:-1] + ("0" if text[-1] != "0" else "1")
    file = tmp_path / "bent.json"
    file.write_text(json.dumps(vectors))
    with pytest.raises(AssertionError):
        verify(node, file)


@pytest.mark.parametrize("name", make_vectors.FILES)
def test_the_vectors_are_fresh(name: str) -> None:
    """`python -m tests.interop.make_vectors` after a change of the protocol."""
    assert (VECTORS / name).read_text() == make_vectors.render(name)
