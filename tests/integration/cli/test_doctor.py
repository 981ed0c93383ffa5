"""Every trouble really caused, and named by its own code and no other."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import msgspec
import pytest
import trio
from tests.integration.chain.proxies import http, passing_through, serve, serve_rpc
from tests.integration.cli.command import (
    Done,
    environment,
    first_document,
    make_home,
    rowen,
    running,
)
from tests.unit.provider.test_measurement import MEASURED

from rowen.chain.rpc import Rpc, RpcError
from rowen.cli.doctor.codes import CODES
from rowen.cli.doctor.command import examine
from rowen.cli.main import run_line
from rowen.cli.payouts import request_payout
from rowen.config import load_config
from rowen.engine.models import SMOLLM2
from rowen.home import Home
from rowen.protocol.ids import parse_address
from rowen.provider.measurement import keep

PASSWORD = "a password for tests"
JSON = {"Content-Type": "application/json"}
COLD = "0x" + "c01d" * 10


class Doctor:
    """``rowen doctor`` in this process: what it loads, it loads once."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def __call__(self, home: Path, *arguments: str, **settings: object) -> Done:
        self._capture.readouterr()
        with self._patch.context() as patch:
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in environment(home, **settings).items():
                patch.setenv(name, value)
            code = run_line(["doctor", *arguments, "--json"])
        said = self._capture.readouterr()
        return Done(code, said.out, said.err)


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(monkeypatch, capsys)


def codes(done: Done) -> list[str]:
    return [found["code"] for found in done.document("doctor")["findings"]]


def ask(method: str, devnet: dict[str, Any], *params: object) -> Any:
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(devnet["rpc"], json=call, trust_env=False).json()["result"]


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A chain of this module's own: one test moves its clock."""
    home = tmp_path_factory.mktemp("doctor-devnet") / "home"
    with running(home, "devnet", "--port", 0, "--json") as process:
        yield first_document(process, "devnet")


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory, devnet: dict[str, Any]) -> Path:
    """A node with nothing wrong. Tests copy it."""
    return new_node(tmp_path_factory.mktemp("well") / "home", devnet)


def new_node(path: Path, devnet: dict[str, Any]) -> Path:
    """A node with gas money and a cold payout address."""
    home = make_home(
        path, devnet, provider__listen=("/ip4/127.0.0.1/tcp/0",), chain__confirmations=0
    )
    operator = rowen(home, "keys", "list", "--json").document("keys-list")["keys"][0]["address"]
    assert rowen(home, "devnet", "fund", operator, "--usd", 1).code == 0
    set_payout(home)
    return home


def set_payout(home: Path) -> None:
    """One transaction of the operator key, sent by the node of that home."""
    config = load_config(Home(home).config, {})
    work = partial(
        request_payout, Home(home), config, PASSWORD, parse_address(COLD), confirmations=0
    )
    trio.run(work)


@pytest.fixture
def home(well: Path, tmp_path: Path) -> Path:
    return Path(copytree(well, tmp_path / "home"))


def test_nothing_is_found_where_nothing_is_wrong(well: Path) -> None:
    done = rowen(well, "doctor", "--json")
    assert codes(done) == []
    assert done.code == 0
    assert rowen(well, "doctor").out.startswith("Nothing is wrong.")


def no_home(home: Path) -> None:
    home.rename(home.with_name("gone"))


def open_home(home: Path) -> None:
    home.chmod(0o755)


def unknown_setting(home: Path) -> None:
    with (home / "rowen.toml").open("a") as file:
        file.write("\n[provider.more]\n")


def no_key(home: Path) -> None:
    Home(home).operator_key.unlink()


def damaged_key(home: Path) -> None:
    Home(home).operator_key.write_text("{}")


def open_key(home: Path) -> None:
    Home(home).operator_key.chmod(0o640)


def no_password(home: Path) -> None:
    Home(home).password.unlink()


def wrong_password(home: Path) -> None:
    Home(home).password.write_text("another\n")


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (no_home, "home-missing"),
        (open_home, "home-open"),
        (unknown_setting, "config-invalid"),
        (no_key, "key-missing"),
        (damaged_key, "key-damaged"),
        (open_key, "key-open"),
        (no_password, "password-missing"),
        (wrong_password, "password-wrong"),
    ],
)
def test_trouble_with_its_files_has_its_code(
    doctor: Doctor, home: Path, cause: Any, code: str
) -> None:
    cause(home)
    done = doctor(home)
    assert (codes(done)[0], done.code) == (code, 1)
    said = done.document("doctor")["findings"][0]
    assert PASSWORD not in done.out
    assert said["do"] == CODES[code].do


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"ROWEN_CHAIN_ESCROW": ""}, "escrow-unset"),
        ({"ROWEN_CHAIN_ESCROW": COLD}, "escrow-wrong"),
        ({"ROWEN_CHAIN_CHAIN_ID": 1}, "chain-wrong"),
        ({"ROWEN_CHAIN_RPC": "http://127.0.0.1:9/v2/planted"}, "rpc-dead"),
        ({"ROWEN_PROVIDER_LISTEN": "/dns/nowhere"}, "address-wrong"),
        ({"ROWEN_WATCH_LISTEN": "0.0.0.0:4138"}, "address-wrong"),
        ({"ROWEN_PROVIDER_MODEL": "gpt-9"}, "model-missing"),
        ({"ROWEN_EMBEDDINGS_MODEL": "gpt-9"}, "model-missing"),
        ({"ROWEN_WATCH_DISK_FREE_MB": 10**9}, "disk-low"),
        ({"ROWEN_WATCH_GAS_CLAIMS": 10**9}, "gas-low"),
        ({"ROWEN_PROVIDER_PRICE_HOURS": "at night"}, "price-invalid"),
        ({"ROWEN_PROVIDER_TOKEN_USD_UNTIL": "2020-01-01"}, "price-invalid"),
        ({"ROWEN_PROVIDER_CLAIM_GAS_PERCENT": 0}, "price-invalid"),
    ],
)
def test_trouble_with_settings_has_its_code(
    doctor: Doctor, well: Path, settings: dict[str, Any], code: str
) -> None:
    done = doctor(well, **settings)
    assert code in codes(done)
    assert set(codes(done)) <= {code, "rpc-alone"}
    assert done.code == 1
    assert "planted" not in done.out


def test_a_price_below_what_was_measured_is_found_unless_it_is_meant(
    doctor: Doctor, home: Path
) -> None:
    """Before `rowen serve` refuses it; in the cheapest hour there may be."""
    measured = msgspec.structs.replace(
        MEASURED, model=SMOLLM2.model, precision=SMOLLM2.precision, variant="0x" + "07" * 32
    )
    keep(Home(home).measurements, measured)
    costs = {"ROWEN_COSTS_WEAR_HOUR": "0.01"}
    assert codes(doctor(home, **costs)) == []
    costs["ROWEN_COSTS_WEAR_HOUR"] = "5"
    below = doctor(home, **costs)
    assert (codes(below), below.code) == (["price-below-cost"] * 2, 1)
    assert "price_output $0.20 is below" in below.document("doctor")["findings"][1]["what"]
    assert codes(doctor(home, ROWEN_PROVIDER_BELOW_FLOOR="true", **costs)) == []


def test_a_machine_without_nvml_says_so_when_a_gpu_is_expected(doctor: Doctor, well: Path) -> None:
    """The real binding, on a machine that has no driver."""
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has NVIDIA's driver")
    done = doctor(well, "--set", "gpu.watch=gpu")
    assert (codes(done), done.code) == (["nvml-missing"], 1)


def test_a_taken_port_is_named(doctor: Doctor, well: Path) -> None:
    place = ("127.0.0.1", 0)
    with socket.create_server(place) as one, socket.create_server(place) as two:
        ports = [each.getsockname()[1] for each in (one, two)]
        listen = {
            "ROWEN_PROVIDER_LISTEN": f"/ip4/127.0.0.1/tcp/{ports[0]}",
            "ROWEN_WATCH_LISTEN": f"127.0.0.1:{ports[1]}",
        }
        done = doctor(well, **listen)
    assert (codes(done), done.code) == (["port-taken"] * 2, 1)
    for port, found in zip(ports, done.document("doctor")["findings"], strict=True):
        assert str(port) in found["what"]


def test_a_damaged_model_is_found_by_its_hash(doctor: Doctor, well: Path, tmp_path: Path) -> None:
    """One bit, with the right length."""
    models = tmp_path / "models"
    models.mkdir()
    whole = next(Path(environment(well)["ROWEN_MODELS_DIR"]).glob("*.gguf"))
    raw = bytearray(whole.read_bytes())
    raw[len(raw) // 2] ^= 1
    (models / whole.name).write_bytes(raw)
    done = doctor(well, ROWEN_MODELS_DIR=models)
    assert (codes(done), done.code) == (["model-damaged"], 1)


def test_a_fresh_node_lacks_gas_money_and_a_payout_address(
    doctor: Doctor, devnet: dict[str, Any], tmp_path: Path
) -> None:
    home = make_home(tmp_path / "fresh", devnet, provider__listen=("/ip4/127.0.0.1/tcp/0",))
    done = doctor(home)
    assert (codes(done), done.code) == (["gas-low", "payout-unset"], 1)


def test_two_nodes_with_one_key_are_noticed_by_lock_and_by_chain(
    doctor: Doctor, devnet: dict[str, Any], tmp_path: Path
) -> None:
    """A copied home on this machine, and one whose copy sent transactions of its own."""
    home = new_node(tmp_path / "home", devnet)
    copy = Path(copytree(home, tmp_path / "copy"))
    with running(home, "serve", "--json") as serving:
        first_document(serving, "serve")
        assert codes(doctor(home)) == []
        beside = doctor(copy)
        assert (codes(beside), beside.code) == (["key-in-use"], 1)
        refused = rowen(copy, "serve", "--json")
        assert refused.code == 2
        assert "in use by process" in refused.error()["message"]
    set_payout(copy)
    set_payout(home)
    away = doctor(home)
    assert (codes(away), away.code) == (["key-used-elsewhere"], 1)
    with running(home, "serve", "--json") as serving:
        first_document(serving, "serve")
        until_code(doctor, home, "key-used-elsewhere")


def until_code(doctor: Doctor, home: Path, code: str) -> None:
    """The running node looks at the chain every few seconds."""
    end_s = time.monotonic() + 120
    while codes(doctor(home)) != [code]:
        assert time.monotonic() < end_s


def test_a_clock_that_is_ahead_of_the_endpoints_is_named(
    devnet: dict[str, Any], home: Path
) -> None:
    """The endpoint's own clock tells it, where a block could only be old."""
    late = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() - 3600))

    async def work() -> list[str]:
        async def respond(body: bytes) -> bytes:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.post(devnet["rpc"], content=body, headers=JSON)
            return http(answer.content, headers=f"Date: {late}\r\n")

        async with serve(respond) as url:
            text = Home(home).config.read_text().replace(devnet["rpc"], url)
            Home(home).config.write_text(text)
            document = await examine(Home(home), (), None)
        assert "ahead of the RPC endpoint's" in document.findings[0].what
        return [found.code for found in document.findings]

    assert trio.run(work) == ["clock-skewed"]


DELAY_S = 3_600
Bend = Callable[[str, list[Any], Any], Any]


def examined_through(bend: Bend, devnet: dict[str, Any], home: Path, *, beside: bool) -> list[str]:
    """Codes with an endpoint that bends what the chain says, alone or beside an honest one."""

    async def work() -> list[str]:
        rpc = Rpc(devnet["rpc"])
        honest = passing_through(rpc)

        async def answer(method: str, params: list[Any]) -> Any:
            return bend(method, params, await honest(method, params))

        async with serve_rpc(answer) as url:
            text = Home(home).config.read_text()
            urls = f'{devnet["rpc"]}", "{url}' if beside else url
            Home(home).config.write_text(text.replace(devnet["rpc"], urls))
            document = await examine(Home(home), (), None)
        await rpc.aclose()
        return [found.code for found in document.findings]

    return trio.run(work)


def another_delay(method: str, params: list[Any], told: Any) -> Any:
    """Another escrow's unlock delay: payers could leave sooner than believed."""
    return told.replace(f"{DELAY_S:064x}", f"{1:064x}") if method == "eth_call" else told


def another_block(method: str, params: list[Any], told: Any) -> Any:
    """A fork of the endpoint's own."""
    return told | {"hash": "0x" + "ee" * 32} if method == "eth_getBlockByNumber" else told


@pytest.mark.parametrize("bend", [another_delay, another_block])
def test_endpoints_that_tell_different_things_are_named(
    devnet: dict[str, Any], home: Path, bend: Bend
) -> None:
    """Found out when the contract is looked at, or only later."""
    assert devnet["unlock_delay_s"] == DELAY_S
    assert examined_through(bend, devnet, home, beside=True) == ["rpc-disagrees"]


def test_an_endpoint_that_dies_beside_another_is_dead_and_no_liar(
    devnet: dict[str, Any], home: Path
) -> None:
    def dies(method: str, params: list[Any], told: Any) -> Any:
        if method == "eth_chainId":
            return told
        raise RpcError("http://here", method, "out of order", b"")

    assert examined_through(dies, devnet, home, beside=True) == ["rpc-dead"]


def test_an_endpoint_whose_newest_block_is_old_lags(devnet: dict[str, Any], home: Path) -> None:
    """It says nothing of its own clock, so the block is all there is to go by."""

    def older(method: str, params: list[Any], told: Any) -> Any:
        if method != "eth_getBlockByNumber":
            return told
        return told | {"timestamp": hex(int(time.time()) - 400)}

    assert examined_through(older, devnet, home, beside=False) == ["rpc-lagging"]


def test_one_endpoint_of_a_public_chain_is_believed_and_that_is_said(
    devnet: dict[str, Any], home: Path
) -> None:
    def public(method: str, params: list[Any], told: Any) -> Any:
        return "0x1" if method == "eth_chainId" else told

    settings = Home(home).config
    text = settings.read_text().replace(f'escrow = "{devnet["escrow"]}"', 'escrow = ""')
    settings.write_text(text.replace("# chain_id = 31337", "chain_id = 1"))
    found = examined_through(public, devnet, home, beside=False)
    assert found == ["rpc-alone", "escrow-unset"]


def test_an_engine_that_is_down_is_named_by_the_node_that_runs(home: Path) -> None:
    """The model server is part of the process here: its trouble comes through the same socket."""
    from rowen.provider.control import serve_control

    class Status(msgspec.Struct):
        """What the doctor reads of it."""

        trouble: list[str]
        alerts: list[str]
        key_trouble: str
        oldest_unclaimed_s: int

    async def on_status(_arguments: object) -> Status:
        await trio.lowlevel.checkpoint()
        return Status(
            ["engine: the engine of smollm2 is not ready", "lease: your own work"],
            ["unclaimed_old", "transaction_stuck", "disk_low"],
            "",
            90_000,
        )

    async def work() -> list[str]:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control, Home(home), {"status": on_status})
            document = await examine(Home(home), (), None)
            nursery.cancel_scope.cancel()
        return [found.code for found in document.findings]

    assert trio.run(work) == ["engine-unready", "unclaimed-old", "transaction-stuck"]


def test_a_clock_behind_the_chain_is_named(
    doctor: Doctor, devnet: dict[str, Any], well: Path
) -> None:
    """The chain goes an hour ahead; the last test here, because it stays there."""
    ask("evm_increaseTime", devnet, 3600)
    ask("evm_mine", devnet)
    done = doctor(well)
    assert (codes(done), done.code) == (["clock-skewed"], 1)
    assert "behind the chain's newest block" in done.document("doctor")["findings"][0]["what"]


def test_every_code_is_caused_here() -> None:
    """A code that no test causes may never appear."""
    text = Path(__file__).read_text()
    assert [code for code in CODES if f'"{code}"' not in text] == []
