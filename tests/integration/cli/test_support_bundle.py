"""A support bundle helps, and holds no secret, wherever one was planted."""

from __future__ import annotations

import base64
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import trio
from tests.integration.chain.proxies import http, serve
from tests.integration.cli.command import first_document, make_home, rowen, running

from rowen.chain.keystore import load_key, sealing_key
from rowen.home import Home

JSON = {"Content-Type": "application/json"}
PROMPT = "planted-prompt: why is the sky blue?"


def members(file: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(file) as tar:
        for entry in tar:
            source = tar.extractfile(entry)
            assert source is not None
            found[entry.name.removeprefix("rowen-support/")] = source.read()
    return found


def with_access_key(devnet: dict[str, Any], work: Any) -> None:
    """Runs ``work(url)`` in a thread, behind an endpoint whose URL holds access keys."""

    async def run() -> None:
        async def respond(body: bytes) -> bytes:
            async with httpx.AsyncClient(trust_env=False) as client:
                return http((await client.post(devnet["rpc"], content=body, headers=JSON)).content)

        async with serve(respond) as url:
            place = url.removeprefix("http://")
            keyed = f"http://planted-user:planted-word@{place}/v2/planted-path?key=planted-query"
            await trio.to_thread.run_sync(work, keyed)

    trio.run(run)


def test_a_bundle_holds_no_secret_that_lies_about(devnet: dict[str, Any], tmp_path: Path) -> None:
    """P16. Keys, password, access keys, a prompt and its answer, while the node serves."""
    developer = make_home(tmp_path / "developer", devnet, chain__confirmations=0)
    owner = make_home(
        tmp_path / "owner", devnet,
        provider__listen=("/ip4/127.0.0.1/tcp/0",), chain__confirmations=0,
        watch__webhooks=("https://hooks.example/services/planted-hook/planted-token",),
        watch__interval_s=1,
    )  # fmt: skip
    with_access_key(devnet, partial(story, developer, owner))


def story(developer: Path, owner: Path, keyed: str) -> None:
    for home, name in ((developer, "wallet"), (owner, "operator")):
        keys = rowen(home, "keys", "list", "--json").document("keys-list")["keys"]
        address = next(key["address"] for key in keys if key["name"] == name)
        assert rowen(home, "devnet", "fund", address, "--usd", 3).code == 0
    settings = {"ROWEN_CHAIN_RPC": keyed}
    with running(owner, "serve", "--json", **settings) as serving:
        place = first_document(serving, "serve")["addresses"][0]
        assert rowen(developer, "channel", "open", place, "0.50").code == 0
        bought = rowen(developer, "run", PROMPT, "--provider", place, "--max-output", 12, "--json")
        answer = json.loads(bought.out.splitlines()[-1])["text"]
        assert len(answer) > 20
        file = owner.parent / "bundle.tar.gz"
        done = rowen(owner, "support-bundle", file, "--json", **settings)
        document = done.document("support-bundle")
        again = rowen(owner, "support-bundle", file, "--json", **settings)
        assert (again.code, "not overwritten" in again.error()["message"]) == (2, True)
    assert file.stat().st_mode & 0o777 == 0o600
    found = members(file)
    assert [each["name"] for each in document["files"]] == list(found)
    check_it_helps(found)
    for name, raw in found.items():
        for secret in planted(developer, owner, answer):
            assert secret.lower() not in raw.lower(), f"{secret!r} is in {name}"


def check_it_helps(found: dict[str, bytes]) -> None:
    config = {s["key"]: s for s in json.loads(found["config.json"])["settings"]}
    assert config["watch.webhooks"]["value"] == ["https://hooks.example/•••"]
    assert config["chain.rpc"]["origin"] == "env:ROWEN_CHAIN_RPC"
    assert json.loads(found["doctor.json"])["is_running"]
    assert json.loads(found["status.json"])["channels"]
    assert "rowen_jobs_total" in found["metrics.txt"].decode()
    events = [json.loads(line)["event"] for line in found["logs.jsonl"].splitlines()]
    assert "serving" in events
    assert "seller.db" in {each["name"] for each in json.loads(found["files.json"])}
    assert "trio" in json.loads(found["versions.json"])["packages"]


def planted(developer: Path, owner: Path, answer: str) -> list[bytes]:
    words = [b"planted", b"a password for tests", answer[:20].encode(), b"sky blue"]
    for home in map(Home, (developer, owner)):
        for file in (home.operator_key, home.wallet_key, home.session_key):
            key = trio.run(load_key, file, "a password for tests")
            for raw in (key.secret, sealing_key(key)):
                words += [raw, raw.hex().encode(), base64.b64encode(raw), repr(raw)[2:-1].encode()]
            words.append(json.loads(file.read_text())["crypto"]["ciphertext"].encode())
    return words


def test_a_node_that_does_not_run_and_one_that_is_broken_have_bundles(tmp_path: Path) -> None:
    """That is when one is needed."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "rowen.toml").write_text("[providr]\n")
    file = tmp_path / "bundle.tar.gz"
    done = rowen(home, "support-bundle", file, "--json")
    assert done.code == 0, done.err
    found = members(file)
    assert "unknown section" in json.loads(found["config.json"])["error"]
    codes = [each["code"] for each in json.loads(found["doctor.json"])["findings"]]
    assert codes == ["home-open", "config-invalid"]
