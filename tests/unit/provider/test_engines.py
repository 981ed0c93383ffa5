"""What an owner sells, as the settings say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowen.cli.config_file import is_secret
from rowen.config import Config, EngineConfig, ProviderConfig, load_config
from rowen.home import Home
from rowen.protocol.errors import UserError
from rowen.provider.engines import open_wares

TWO = """
[provider]
model = ""

[engine.big]
kind = "vllm"
price_output = "0.40"
command = ["vllm", "serve", "--host", "{host}", "--port", "{port}"]

[engine.small-1]
kind = "ollama"
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "rowen.toml"
    file.write_text(text)
    return file


def test_each_engine_is_a_table_of_its_own(tmp_path: Path) -> None:
    config = load_config(
        written(tmp_path, TWO),
        environ={"ROWEN_ENGINE_SMALL_1_URL": "http://127.0.0.1:11434"},
        flags=["engine.big.concurrency=64"],
    )
    assert list(config.engines) == ["big", "small-1"]
    big, small = config.engines.values()
    assert (big.kind, big.price_output.units, big.concurrency) == ("vllm", 400_000, 64)
    assert big.command[-1] == "{port}"
    assert small.url == "http://127.0.0.1:11434"
    assert config.origins["engine.small-1.url"] == "env:ROWEN_ENGINE_SMALL_1_URL"
    assert config.origins["engine.big.kind"].endswith("rowen.toml:6")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[engine.a]\nadress = "x"', "rowen.toml:2: unknown key 'adress' in [engine.a]"),
        ("[engine]\nkind = 1", "rowen.toml:2: 'kind': write engines as tables"),
        ('[engine."../x"]', "write engines as tables"),
        ("[engines.a]", "unknown section or key 'engines'"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(written(tmp_path, text), environ={})
    assert told in str(caught.value)


def test_what_may_hold_a_key_is_no_flag_and_not_shown(tmp_path: Path) -> None:
    for key in ("url", "api_key", "environment"):
        with pytest.raises(UserError, match="may hold an access key"):
            load_config(written(tmp_path, TWO), {}, [f"engine.big.{key}=x"])
        assert is_secret(f"engine.big.{key}")
    assert not is_secret("engine.big.kind")
    assert "hunter2" not in repr(EngineConfig(api_key="hunter2", environment=("T=hunter2",)))


def test_a_misspelt_variable_of_an_engine_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ROWEN_ENGINE_BIG_ULR: unknown variable"):
        load_config(written(tmp_path, TWO), {"ROWEN_ENGINE_BIG_ULR": "x"})


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        (None, "nothing is on sale"),
        (EngineConfig(weights_sha256="abc"), "expected 64 hex digits"),
        (EngineConfig(environment=("hunter2",)), "write each as NAME=value"),
        (EngineConfig(kind="gpt"), "kind 'gpt' is none of vllm"),
    ],
)
async def test_settings_that_cannot_work_say_what_to_change(
    tmp_path: Path, engine: EngineConfig | None, told: str
) -> None:
    engines = {} if engine is None else {"a": engine}
    config = Config(provider=ProviderConfig(model=""), engines=engines)
    with pytest.raises(UserError) as caught:
        async with open_wares(Home(tmp_path), config):
            pass
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)
