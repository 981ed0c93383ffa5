"""What is shipped to run a node, read as text: neither Docker nor systemd is needed here."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from rowen.provider.exposition import FAMILIES

DOCKER = Path(__file__).resolve().parents[2] / "docker"
EXPOSURE_MAX = 2.5
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}(?=\s|$)")


@cache
def text(name: str) -> str:
    return (DOCKER / name).read_text()


def asked_for() -> set[str]:
    """Every metric that the dashboard asks Prometheus for."""
    panels = json.loads(text("grafana/dashboards/rowen.json"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    return set(re.findall(r"\b(?:rowen|process)_\w+", " ".join(queries)))


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    """A panel without data is worse than none; tests/integration/cli/test_watch.py asks a node."""
    assert {name for name in asked_for() if name.startswith("rowen_")} <= set(FAMILIES)


def test_the_dashboard_shows_every_metric_of_ours() -> None:
    """But two that are only good for queries of one's own."""
    assert set(FAMILIES) - asked_for() == {"rowen_info", "rowen_chain_block"}


def test_panels_have_a_place_and_a_number_of_their_own() -> None:
    panels = json.loads(text("grafana/dashboards/rowen.json"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (grid["x"] + dx, grid["y"] + dy) for dx in range(grid["w"]) for dy in range(grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells


def test_every_image_is_pinned_by_digest() -> None:
    bases = re.findall(r"^FROM (.+?)(?: AS \w+)?$", text("Dockerfile"), re.MULTILINE)
    images = re.findall(r"^    image: (.+)$", text("compose.yaml"), re.MULTILINE)
    assert len(bases) == 2
    assert set(images) - {"rowen"}
    for image in [*bases, *(set(images) - {"rowen"})]:
        assert DIGEST.search(image), image


def test_the_image_installs_what_is_locked_and_runs_as_nobody_special() -> None:
    dockerfile = text("Dockerfile")
    assert dockerfile.count("--require-hashes") == 2
    assert re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE) == ["10001:10001"]
    assert "/readyz" in re.findall(r"HEALTHCHECK.*\n.*", dockerfile)[0]
    assert re.findall(r"^VOLUME (.+)$", dockerfile, re.MULTILINE) == ["/data"]
    assert "ROWEN_HOME=/data/" in dockerfile
    assert "XDG_STATE_HOME=/data/" in dockerfile


def services() -> dict[str, str]:
    body = text("compose.yaml").partition("services:\n")[2].partition("\nsecrets:")[0]
    return dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n|  #.*\n)+)", body, re.MULTILINE))


def test_every_container_is_read_only_and_without_privileges() -> None:
    """Threat 62."""
    assert set(services()) == {"rowen", "prometheus", "grafana"}
    for name, body in services().items():
        for line in ("read_only: true", "cap_drop: [ALL]", '"no-new-privileges:true"'):
            assert line in body, f"{name} lacks {line}"
        assert "privileged: true" not in body
        assert "docker.sock" not in body


def test_only_the_market_port_is_open_to_others() -> None:
    ports = re.findall(r"^    ports: \[(.+)\]$", text("compose.yaml"), re.MULTILINE)
    assert ports == ['"4137:4137", "127.0.0.1:3000:3000"']
    assert "--web.listen-address=127.0.0.1:9090" in text("compose.yaml")


def test_the_service_may_do_little() -> None:
    """What `systemd-analyze` counts against it, of 10."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    command = [tool, "security", "--offline=true", "--no-pager", str(DOCKER / "rowen.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for rowen\.service: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE_MAX


def test_the_service_has_no_line_that_systemd_does_not_know() -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("no systemd-analyze here")
    command = [tool, "verify", "--man=no", str(DOCKER / "rowen.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "rowen.service" in line]
    # That it is not installed on this machine is no fault of the file.
    assert [line for line in complaints if "is not executable" not in line] == []
