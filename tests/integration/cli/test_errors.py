"""What goes wrong first on a new machine: each says what to do, and exits as documented."""

import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tests.integration.cli.command import Done, rowen

NOBODY = "0x00000000000000000000000000000000DeaDBeef"


def refused(done: Done, code: int, *words: str) -> str:
    """The message of a failed command that was asked for JSON."""
    error = done.error()
    message: str = error["message"]
    assert done.code == code, message
    for word in words:
        assert word in message, message
    return message


def test_a_wrong_password_is_told(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong\n")
    done = rowen(made, "serve", "--password-file", file, "--json")
    refused(done, 2, "wrong password", "operator.json")
    assert "wrong\n" not in done.err
    done = rowen(made, "channel", "list", "--json", ROWEN_PASSWORD_FILE=tmp_path / "missing")
    refused(done, 2, "ROWEN_PASSWORD_FILE")


def test_a_model_that_is_missing_names_the_command_that_fetches_it(
    made: Path, tmp_path: Path
) -> None:
    done = rowen(made, "serve", "--json", ROWEN_MODELS_DIR=tmp_path)
    refused(done, 2, "rowen models pull smollm2-135m-instruct-q4_1")


def test_a_port_that_is_taken_is_named(made: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = f"/ip4/127.0.0.1/tcp/{port}"
        refused(rowen(made, "serve", "--json", ROWEN_PROVIDER_LISTEN=listen), 2, str(port))
        refused(rowen(made, "devnet", "--port", port, "--json"), 2, str(port), "taken")


@pytest.mark.parametrize("command", [("serve",), ("channel", "list"), ("settle",)])
def test_a_dead_rpc_is_unavailable(made: Path, command: tuple[str, ...]) -> None:
    """Exit code 4: the same command may work later."""
    done = rowen(made, *command, "--json", ROWEN_CHAIN_RPC="http://127.0.0.1:9/key-of-mine")
    refused(done, 4, "http://127.0.0.1:9", "chain.rpc")
    assert "key-of-mine" not in done.out + done.err


def test_another_chain_is_told(made: Path) -> None:
    done = rowen(made, "channel", "list", "--json", ROWEN_CHAIN_CHAIN_ID=1)
    refused(done, 2, "31337", "expected 1", "chain")


def test_an_escrow_that_is_no_contract_is_told(made: Path) -> None:
    done = rowen(made, "settle", "--json", ROWEN_CHAIN_ESCROW=NOBODY)
    refused(done, 2, NOBODY, "no contract")


def test_an_empty_wallet_is_told_how_much_is_missing(made: Path) -> None:
    done = rowen(made, "channel", "open", NOBODY, "2.50", "--json")
    refused(done, 2, "$2.50 too little", "rowen devnet fund 0x")


def test_status_of_a_node_that_does_not_run(made: Path) -> None:
    done = rowen(made, "status", "--json")
    assert done.code == 4
    assert done.document("status")["provider"] is None
    assert "rowen serve" in rowen(made, "status").out


def test_money_comes_only_on_a_devnet(made: Path, devnet: dict[str, Any]) -> None:
    done = rowen(made, "devnet", "fund", NOBODY, "--usd", 3, "--json")
    assert done.code == 0, done.err
    assert int(done.document("devnet-fund")["balance"]) >= 3_000_000
    done = rowen(made, "devnet", "fund", NOBODY, "--json", ROWEN_CHAIN_ESCROW=NOBODY)
    refused(done, 2, "no contract")


def test_a_node_that_looks_too_rarely_for_its_escrow_does_not_start(made: Path) -> None:
    """P8: a payer could leave between two looks; the devnet's unlock delay is an hour."""
    done = rowen(made, "serve", "--json", ROWEN_PROVIDER_CLAIM_INTERVAL_S=901)
    assert done.code == 2
    assert "set it to 900 s or less" in done.error()["message"]


@contextmanager
def as_anybody() -> Iterator[None]:
    """Programs that are started obey the permissions of files, also when root runs the tests."""
    if os.geteuid():
        yield
        return
    # prctl(2), capabilities(7): without these two, root may enter only what its modes allow.
    drop, dac_override, dac_read_search = 24, 1, 2
    prctl = ctypes.CDLL(None).prctl

    def obey() -> None:
        for capability in (dac_override, dac_read_search):
            assert prctl(drop, capability, 0, 0, 0) == 0

    with patch.object(subprocess, "run", partial(subprocess.run, preexec_fn=obey)):
        yield


@pytest.mark.parametrize(
    "command",
    [
        ("init", "--yes"), ("serve",), ("status",), ("pause",), ("doctor",), ("keys", "list"),
        ("config", "show"), ("earnings",), ("channel", "list"), ("support-bundle", "support.tgz"),
    ],
)  # fmt: skip
def test_a_home_that_is_closed_to_this_user_is_told(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """By every command in the same words, and not by the file that it happens to need first."""
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root enters everything here")
    home = tmp_path / "home"
    home.mkdir(mode=0o000)
    try:
        with as_anybody():
            refused(rowen(home, *command, "--json"), 2, str(home), "closed to this user")
    finally:
        home.chmod(0o700)
