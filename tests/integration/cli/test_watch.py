"""A real node as monitoring sees it: health, readiness and metrics over HTTP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.cli.command import (
    first_document,
    interrupt,
    make_home,
    rowen,
    running,
)
from tests.unit.test_docker import asked_for

from rowen.provider.exposition import FAMILIES, MAY_BE_ABSENT

WAIT_S = 120


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=WAIT_S)


def until(is_so: Callable[[], bool]) -> None:
    """Waits for another process; how long it takes is not what is tested."""
    end_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def names(metrics: str) -> set[str]:
    """Families as they are written, ``_total`` included."""
    return {
        sample.name
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }


def test_the_chain_dies_and_comes_back_and_the_node_says_so(tmp_path: Path) -> None:
    """/livez stays, /readyz gives the reason and recovers by itself; every metric is there."""
    chain: dict[str, Any] = {"port": free_port(), "state": tmp_path / "chain.json"}
    devnet = ("devnet", "--port", chain["port"], "--state", chain["state"], "--json")
    with running(tmp_path / "devnet", *devnet) as first:
        document = first_document(first, "devnet")
        home = make_home(
            tmp_path / "owner", document,
            provider__listen=("/ip4/127.0.0.1/tcp/0",), watch__interval_s=1,
        )  # fmt: skip
        with running(home, "serve", "--json") as serving:
            watch = first_document(serving, "serve")["watch"]
            until(lambda: get(f"{watch}/readyz").status_code == 200)
            verbose = get(f"{watch}/readyz?verbose").text
            assert [line[:3] for line in verbose.splitlines()[:-1]] == ["[+]"] * 5
            check_metrics(watch)

            assert interrupt(first) == 130
            until(lambda: get(f"{watch}/readyz").status_code == 503)
            said = get(f"{watch}/readyz").text
            assert f"[-] chain: http://127.0.0.1:{chain['port']} does not answer" in said
            assert get(f"{watch}/livez").status_code == 200
            status = rowen(home, "status", "--json").document("status")["provider"]
            assert status["trouble"][0].startswith("chain: ")
            assert get(f"{watch}/metrics").status_code == 200

            with running(tmp_path / "devnet", *devnet) as second:
                first_document(second, "devnet")
                until(lambda: get(f"{watch}/readyz").status_code == 200)
                assert get(f"{watch}/livez").status_code == 200
                assert interrupt(serving) == 130


def check_metrics(watch: str) -> None:
    page = get(f"{watch}/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    shown = names(page.text)
    expected = set(FAMILIES) - MAY_BE_ABSENT
    assert expected <= shown, sorted(expected - shown)
    assert asked_for() - MAY_BE_ABSENT <= shown, "a panel of the dashboard would stay empty"
    assert {name for name in shown if name.startswith("rowen_")} <= set(FAMILIES)


def test_a_taken_port_and_an_open_one_are_told_before_it_serves(
    made: Path, devnet: dict[str, Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        done = rowen(made, "serve", "--json", ROWEN_WATCH_LISTEN=place)
        assert done.code == 2
        assert place in done.error()["message"]
    done = rowen(made, "serve", "--json", ROWEN_WATCH_LISTEN="0.0.0.0:4138")
    assert done.code == 2
    assert "other machines" in done.error()["message"]
