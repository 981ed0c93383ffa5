"""What is wrong with a command line is told before anything slow or costly begins."""

import io
from pathlib import Path

import pytest
from tests.unit.cli.command_line import CommandLine

from rowen.cli import initialise
from rowen.cli.initialise import write_password, write_settings
from rowen.config import load_config
from rowen.home import Home
from rowen.protocol.errors import UserError

NOBODY = "0x00000000000000000000000000000000DeaDBeef"


@pytest.fixture
def buyer(line: CommandLine) -> CommandLine:
    """A home with settings and a password, and no keys."""
    write_password(Home(line.home), "a password for tests")
    write_settings(Home(line.home), {"chain.escrow": NOBODY})
    return line


@pytest.mark.parametrize(
    ("provider", "usd", "word"),
    [
        ("/ip4/127.0.0.1/tcp/1", "1", "/p2p/"),
        ("0x12", "1", "0x12"),
        (NOBODY, "-1", "-1"),
        (NOBODY, "lots", "lots"),
        (NOBODY, "0", "more than $0"),
        (NOBODY, "0.0000001", "finer"),
    ],
)
def test_a_malformed_provider_or_amount_is_told(
    buyer: CommandLine, provider: str, usd: str, word: str
) -> None:
    code, out, err = buyer("channel", "open", "--", provider, usd)
    assert code == 2
    assert word in err
    assert err.startswith("error: ")
    assert not out


def test_a_provider_without_a_place_is_told(buyer: CommandLine) -> None:
    """A 0x address says who, not where."""
    code, error = buyer.error("run", "hello", "--provider", NOBODY)
    assert code == 2
    assert "multiaddr" in error["message"]


def test_an_empty_prompt_is_told(buyer: CommandLine) -> None:
    code, error = buyer.error("run", " ")
    assert code == 2
    assert "empty" in error["message"]


def test_a_home_without_keys_names_init(buyer: CommandLine) -> None:
    code, error = buyer.error("channel", "list")
    assert code == 2
    assert "rowen init" in error["message"]


@pytest.mark.parametrize("pin", ["--escrow", "--provider", "--block-hash"])
def test_a_malformed_pin_is_told(line: CommandLine, pin: str) -> None:
    """Exit code 2 here means usage; the verdict on garbage has the same code by design."""
    code, error = line.error("audit", "verify", ".", pin, "0x12")
    assert code == 2
    assert "0x12" in error["message"]


def test_a_bundle_needs_a_place(buyer: CommandLine) -> None:
    code, error = buyer.error("audit", "export", "/nowhere/at/all/bundle")
    assert code == 2
    assert "/nowhere/at/all does not exist" in error["message"]


def test_what_follows_two_dashes_is_not_an_option(buyer: CommandLine) -> None:
    code, out, err = buyer("run", "--provider", NOBODY, "--", "--json")
    assert code == 2
    assert not out
    assert err.startswith("error: ")


def test_init_asks_only_a_person(line: CommandLine) -> None:
    code, error = line.error("init")
    assert code == 2
    assert "rowen init --yes" in error["message"]


def test_the_demo_takes_only_a_new_folder(line: CommandLine) -> None:
    line.home.mkdir()
    (line.home / "mine").touch()
    code, error = line.error("demo", "--keep", line.home)
    assert code == 2
    assert "is not empty" in error["message"]


def test_without_a_node_init_is_named(line: CommandLine) -> None:
    for words in (("serve",), ("settle",), ("run", "hello"), ("channel", "list")):
        code, error = line.error(*words)
        assert code == 2
        assert "rowen init" in error["message"]


def test_without_an_escrow_the_setting_is_named(line: CommandLine) -> None:
    line.home.mkdir()
    code, error = line.error("channel", "open", NOBODY, "1")
    assert code == 2
    assert "ROWEN_CHAIN_ESCROW" in error["message"]


def test_without_a_password_or_a_terminal_the_option_is_named(
    buyer: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Home(buyer.home).password.unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, error = buyer.error("channel", "list")
    assert code == 2
    assert "--password-file" in error["message"]


def test_the_wizard_asks_again_until_an_answer_will_do(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes can be read, and what was not answered stays a default."""
    said = iter(["ftp://x", "http://127.0.0.1:1", "many", "5", "0x12", NOBODY, "cheap", "0.30"])
    said = iter([*said, "0x12", ""])
    monkeypatch.setattr("typer.prompt", lambda *_args, **_options: next(said))
    values = initialise._ask_settings({})
    write_settings(Home(line.home), values)
    config = load_config(Home(line.home).config, {})
    assert config.chain.rpc == ("http://127.0.0.1:1",)
    assert config.chain.chain_id == 5
    assert config.chain.escrow == NOBODY
    assert config.provider.price_output.units == 300_000
    assert config.origins["client.providers"] == "default"


def test_a_misspelt_variable_is_an_error(tmp_path: Path) -> None:
    """Passed over in silence, its owner would believe it set."""
    with pytest.raises(UserError, match="ROWEN_PROVIDER_THREDS: unknown variable"):
        load_config(tmp_path / "rowen.toml", {"ROWEN_PROVIDER_THREDS": "2"})
    load_config(tmp_path / "rowen.toml", {"ROWEN_HOME": "x", "ROWEN_PASSWORD_FILE": "y"})


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("provider.threads", "section.key=value"),
        ("provider.threds=2", "unknown key"),
        ("provider.threads=two", "--set provider.threads: expected int"),
        ("chain.rpc=http://127.0.0.1/key", "ROWEN_CHAIN_RPC"),
    ],
)
def test_a_wrong_flag_is_told(tmp_path: Path, flag: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        load_config(tmp_path / "rowen.toml", {}, [flag])


def test_settings_that_may_hold_a_key_are_in_no_repr(tmp_path: Path) -> None:
    config = load_config(tmp_path / "rowen.toml", {"ROWEN_CHAIN_RPC": "http://h/planted"})
    assert config.chain.rpc == ("http://h/planted",)
    assert "planted" not in repr(config)
