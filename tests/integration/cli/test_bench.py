"""``rowen bench`` on the real engine, and what ``rowen serve`` then refuses."""

import json
from pathlib import Path
from typing import Any

from tests.integration.cli.command import make_home, rowen

QUICK = ("--prefill", "16", "--decode", "8", "--rounds", "1")


def test_a_bench_measures_proposes_and_guards_the_prices(
    devnet: dict[str, Any], tmp_path: Path
) -> None:
    """Every figure is one that was seen; a price below them is not sold at."""
    home = make_home(
        tmp_path / "owner", devnet, costs__electricity_kwh="0.30", costs__wear_hour="5"
    )
    assert rowen(home, "init", "--yes", "--json").code == 0
    done = rowen(home, "bench", *QUICK, "--set", "costs.watts=50", "--json")
    (found,) = done.document("bench")["variants"]
    assert [run["concurrency"] for run in found["runs"]] == [1, 2]
    for run in found["runs"]:
        assert run["prefill"]["units"] > 0
        assert run["decode"]["units"] >= 16
        assert 0 < run["first_token_us"] <= run["first_token_us_max"]
    assert found["energy_source"] in ("rapl", "stated")
    assert found["quality"]["tokens"] > 300
    assert -5_000_000 < found["quality"]["mean_micronats"] < -2_000_000
    assert found["quality"]["reference"] is None
    assert 0 < int(found["floors"]["output"]) <= int(found["floors"]["output_alone"])
    file = Path(found["file"])
    assert json.loads(file.read_text())["variant"] == found["variant"]
    assert file.stat().st_mode & 0o077 == 0
    # At $5 an hour no price of the defaults covers a processor.
    assert found["is_below_floor"]
    refused = rowen(home, "serve", "--json")
    assert refused.code == 2
    assert "below_floor = true" in refused.error()["message"]
