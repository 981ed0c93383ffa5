"""``init``, ``config``, ``models`` and ``version``, as a person meets them first."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.cli.command import rowen

from rowen.config import SECTIONS, Config, load_config


def contents(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_init_twice_changes_nothing(tmp_path: Path) -> None:
    """A key is never overwritten, and neither is anything else."""
    home = tmp_path / "home"
    first = rowen(home, "init", "--yes", "--json")
    assert first.code == 0, first.err
    made = first.document("init")
    assert len(made["created"]) == 5
    assert not made["kept"]
    before = contents(home)
    again = rowen(home, "init", "--yes", "--json").document("init")
    assert again["kept"] == made["created"]
    assert not again["created"]
    assert contents(home) == before
    assert [again[name] for name in ("operator", "wallet", "session")] == [
        made[name] for name in ("operator", "wallet", "session")
    ]


def test_what_init_makes_is_for_this_user_only(made: Path) -> None:
    assert all(path.stat().st_mode & 0o077 == 0 for path in (made / "keys").rglob("*"))
    assert (made / "keys").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("is_there", [False, True])
def test_the_home_itself_is_closed_to_others(tmp_path: Path, is_there: bool) -> None:
    """Also one that a person made with a plain mkdir."""
    home = tmp_path / "home"
    if is_there:
        home.mkdir(mode=0o755)
    assert rowen(home, "init", "--yes").code == 0
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_other_things_is_not_closed_by_mistake(tmp_path: Path) -> None:
    """`rowen init --home .` in somebody's documents must not change who can read these."""
    home = tmp_path / "documents"
    home.mkdir(mode=0o755)
    (home / "letter.txt").write_text("Dear")
    done = rowen(home, "init", "--yes", "--json")
    assert done.code == 2
    assert "letter.txt" in done.error()["message"]
    assert home.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in home.iterdir()] == ["letter.txt"]


def test_the_settings_file_shows_every_default_and_sets_none(tmp_path: Path) -> None:
    """A commented file goes on meaning the defaults when these change."""
    home = tmp_path / "home"
    assert rowen(home, "init", "--yes").code == 0
    text = (home / "rowen.toml").read_text()
    assert tomllib.loads(text) == {section: {} for section in SECTIONS}
    # The example of an engine is none of the defaults.
    defaults, _, _ = text.partition("# [engine.")
    (home / "all.toml").write_text(re.sub(r"^# (\w+ = )", r"\1", defaults, flags=re.MULTILINE))
    every = load_config(home / "all.toml", {})
    assert all("all.toml:" in origin for origin in every.origins.values())
    assert replace(every, origins={}) == Config()


def test_init_keeps_the_chain_it_was_told(made: Path) -> None:
    told = rowen(made, "init", "--yes", "--chain-id", 1)
    assert told.code == 2
    assert "exists and is not changed" in told.err


def test_init_without_a_terminal_wants_yes(tmp_path: Path) -> None:
    done = rowen(tmp_path / "home", "init", "--json")
    assert done.code == 2
    assert "rowen init --yes" in done.error()["message"]


def test_a_damaged_settings_file_stops_init_before_keys_are_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "rowen.toml").write_text("[provider]\nthreads = many\n")
    assert rowen(home, "init", "--yes").code == 2
    assert not (home / "keys").exists()


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("[provider]\n\nprice_outptu = '1'\n", 3, "price_outptu"),
        ("[providr]\nthreads = 1\n", 1, "providr"),
        ("[chain]\nchain_id = 1\nrpcs = []\n", 3, "rpcs"),
    ],
)
def test_an_unknown_key_is_an_error_with_its_line(
    tmp_path: Path, text: str, line: int, word: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "rowen.toml").write_text(text)
    for command in (("config", "show"), ("serve",)):
        done = rowen(home, *command, "--json")
        assert done.code == 2
        assert f"rowen.toml:{line}:" in done.error()["message"]
        assert repr(word) in done.error()["message"]


def test_config_show_says_where_each_value_comes_from(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "rowen.toml").write_text('[provider]\nthreads = 3\nprice_output = "0.5"\n')
    key = "https://rpc.example/v2/abcdef-secret"
    done = rowen(home, "config", "show", "--origin", "--json", ROWEN_CHAIN_RPC=key)
    settings = {s["key"]: s for s in done.document("config-show")["settings"]}
    assert settings["provider.threads"]["origin"].endswith("rowen.toml:2")
    assert settings["provider.price_output"]["value"] == "0.50"
    assert settings["chain.rpc"]["origin"] == "env:ROWEN_CHAIN_RPC"
    assert settings["client.mdns"] == {"key": "client.mdns", "value": False, "origin": "default"}
    assert "secret" not in done.out
    flag = ("--set", "provider.threads=4")
    done = rowen(home, "config", "show", "--origin", *flag, "--json", ROWEN_PROVIDER_THREADS=5)
    settings = {s["key"]: s for s in done.document("config-show")["settings"]}
    assert settings["provider.threads"] == {
        "key": "provider.threads", "value": 4, "origin": "flag:--set",
    }  # fmt: skip
    shown = rowen(home, "config", "show", "--origin", ROWEN_CHAIN_RPC=key).out
    assert "env:ROWEN_CHAIN_RPC" in shown
    assert "secret" not in shown


def test_models_list_says_what_is_here(tmp_path: Path) -> None:
    here = rowen(tmp_path / "home", "models", "list", "--json").document("models-list")
    assert [m["is_here"] for m in here["models"]] == [True]
    away = rowen(tmp_path / "home", "models", "list", "--json", ROWEN_MODELS_DIR=tmp_path)
    assert [m["is_here"] for m in away.document("models-list")["models"]] == [False]


def test_models_verify_reads_the_file(tmp_path: Path) -> None:
    good = rowen(tmp_path / "home", "models", "verify", "--json")
    assert good.code == 0, good.err
    name = good.document("models-verify")["name"]
    (tmp_path / f"{name}.gguf").write_bytes(b"GGUF")
    bad = rowen(tmp_path / "home", "models", "verify", "--json", ROWEN_MODELS_DIR=tmp_path)
    assert bad.code == 2
    assert "rowen models pull" in bad.error()["message"]
    unknown = rowen(tmp_path / "home", "models", "pull", "gpt-9", "--json")
    assert unknown.code == 2
    assert "the catalog has" in unknown.error()["message"]


def test_version_is_the_package_s(tmp_path: Path) -> None:
    import rowen as package

    done = rowen(tmp_path / "home", "version", "--json")
    assert done.document("version")["rowen"] == package.__version__


@pytest.mark.parametrize("line", [["nonsense"], ["run"], ["serve", "--prot"], ["demo", "x"]])
def test_a_wrong_command_line_is_told_and_exits_2(tmp_path: Path, line: list[str]) -> None:
    done = rowen(tmp_path / "home", *line)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert not done.out
    as_json = rowen(tmp_path / "home", *line, "--json")
    assert as_json.code == 2
    assert as_json.error()["kind"] == "usage"
