"""``rowen chain``: deployed, recorded, compared, and used by a new node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.cli.command import make_home, rowen


def test_contracts_are_deployed_recorded_compared_and_used(
    devnet: dict[str, Any], tmp_path: Path
) -> None:
    """One story, because each step stands on the one before."""
    home = make_home(tmp_path / "home", devnet, chain__confirmations=0)
    wallet = rowen(home, "init", "--yes", "--json").document("init")["wallet"]
    assert rowen(home, "devnet", "fund", wallet).code == 0
    record = tmp_path / "31337.json"
    line = ["chain", "deploy", "--token", devnet["token"], "--min-lock", "0.50", "--record", record]

    planned = rowen(home, *line, "--plan", "--json").document("chain-deploy")
    assert (planned["block"], planned["transactions"], planned["record"]) == (None, [], "")
    assert not record.exists()
    done = rowen(home, *line, "--json").document("chain-deploy")
    assert (done["escrow"], done["stake"]) == (planned["escrow"], planned["stake"])
    assert (len(done["transactions"]), done["min_lock"]) == (2, "500000")
    again = rowen(home, *line)
    assert again.out.startswith("They are there already."), again.err
    assert json.loads(record.read_text())["block"] == done["block"] > 0

    check_where_no_record_can_be(home, line, tmp_path)

    right = rowen(home, "chain", "verify", record, "--json")
    assert right.code == 0, right.out
    assert right.document("chain-verify")["is_right"]
    check_what_differs(home, record)
    check_other_records(home, line, record)

    other = tmp_path / "new"
    made = rowen(other, "init", "--yes", "--deployment", record, "--json")
    assert made.code == 0, made.out
    shown = rowen(other, "config", "show", "--json").document("config-show")
    values = {entry["key"]: entry["value"] for entry in shown["settings"]}
    assert values["chain.escrow"] == done["escrow"]
    assert values["chain.stake"] == done["stake"]
    assert values["chain.first_block"] == done["block"]


def check_where_no_record_can_be(home: Path, line: list[object], tmp_path: Path) -> None:
    """Said before any gas is spent: these constants stand nowhere yet, and still do not after."""
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "8.json"
    other = [*line[:-1], place, "--penalty", "8"]
    refused = rowen(home, *other, "--json")
    assert refused.code == 2
    assert "name another --record" in refused.error()["message"]
    done = rowen(home, *other[:-3], tmp_path / "8.json", "--penalty", "8", "--json")
    assert len(done.document("chain-deploy")["transactions"]) == 1
    assert sorted(path.name for path in tmp_path.glob("*8.json*")) == ["8.json"]


def check_what_differs(home: Path, record: Path) -> None:
    changed = json.loads(record.read_text())
    changed["stake"]["penalty"] = "1"
    wrong = record.with_name("wrong.json")
    wrong.write_text(json.dumps(changed))
    done = rowen(home, "chain", "verify", wrong, "--json")
    document = done.document("chain-verify")
    assert (done.code, document["is_right"]) == (1, False)
    assert {c["name"] for c in document["checks"] if c["status"] == "wrong"} == {
        "CREATE2 address", "immutables", "penalty",
    }  # fmt: skip
    plain = rowen(home, "chain", "verify", wrong)
    assert plain.code == 1
    assert "Wrong: do not put money into these contracts." in plain.out
    assert "expected 1" in plain.out


def check_other_records(home: Path, line: list[object], record: Path) -> None:
    before = record.read_bytes()
    other = rowen(home, *line, "--penalty", "7", "--json")
    assert other.code == 2
    assert "is the record of another deployment" in other.error()["message"]
    assert record.read_bytes() == before
    changed = json.loads(before) | {"chain_id": 1}
    elsewhere = record.with_name("1.json")
    elsewhere.write_text(json.dumps(changed))
    done = rowen(home, "chain", "verify", elsewhere, "--json")
    assert done.code == 2
    assert "is about chain 1" in done.error()["message"]
    refused = rowen(home, *line, "--unbond-delay", "60", "--plan", "--json")
    assert refused.code == 2
    assert "must be above the unlock delay" in refused.error()["message"]
