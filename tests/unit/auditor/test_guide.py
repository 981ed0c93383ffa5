"""docs/auditor.md tells the truth."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.auditor.market import small_market, write

from rowen.auditor.receipt_proof import receipt_proof
from rowen.auditor.verdict import Status
from rowen.protocol.audit_findings import Kind
from rowen.protocol.evidence import CHECKSUM, FILES, MANIFEST

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "auditor.md"


def test_the_guide_names_every_file_code_and_status() -> None:
    """Its tables are complete."""
    text = GUIDE.read_text()
    assert all(f"| `{name}` |" in text for name in (*FILES, MANIFEST, CHECKSUM))
    assert all(f"| {status.exit_code} | {status.value} |" in text for status in Status)
    assert f"`{Kind.FRAUD.value}`" in text


@pytest.mark.parametrize("is_right", [True, False])
def test_the_guides_own_program_verifies_a_receipt(tmp_path: Path, is_right: bool) -> None:
    """With nothing of ours installed."""
    market = small_market()
    path = write(market, tmp_path / "bundle")
    seller = market.sellers[1]
    told = json.loads(receipt_proof(path, seller.id, 4).to_json())
    if not is_right:
        told["index"] = 3
    (tmp_path / "proof.json").write_text(json.dumps(told))
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"{is_right}\n"
