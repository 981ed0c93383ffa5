"""What an owner sells, as the settings say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowen.cli.config_file import is_secret
from rowen.cli.exits import leaves
from rowen.config import Config, EngineConfig, GpuConfig, ProviderConfig, load_config
from rowen.gpu.base import GpuInfo
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
        (EngineConfig(kinds=("dream",)), "each must be one of chat, completion, embeddings, ocr"),
        (EngineConfig(kinds=("chat", "embeddings")), "they are sold alone"),
        (EngineConfig(kinds=("ocr",)), "see [ocr]"),
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


async def test_an_engine_that_the_node_starts_sees_its_gpus_and_no_others(tmp_path: Path) -> None:
    """A real process, which says what it was told and ends."""
    command = ("sh", "-c", 'echo "sees $CUDA_VISIBLE_DEVICES"; exit 1')
    lent = [GpuInfo(uuid=f"GPU-{n}", index=n, name="a GPU") for n in range(3)]
    for gpus, only, told in (
        (("2", "GPU-0"), (), "sees GPU-2,GPU-0"),
        ((), ("GPU-0", "GPU-1", "GPU-2"), "sees GPU-0,GPU-1,GPU-2"),
    ):
        config = Config(
            provider=ProviderConfig(model=""),
            gpu=GpuConfig(only=only),
            engines={"a": EngineConfig(kind="vllm", command=command, gpus=gpus)},
        )
        with pytest.raises(BaseExceptionGroup) as caught:
            async with open_wares(Home(tmp_path), config, lent):
                pass
        assert told in str(list(leaves(caught.value)))


async def test_a_gpu_that_is_not_lent_is_told_before_an_engine_starts(tmp_path: Path) -> None:
    config = Config(
        provider=ProviderConfig(model=""), engines={"a": EngineConfig(kind="vllm", gpus=("7",))}
    )
    lent = [GpuInfo(uuid="GPU-0", index=0, name="a GPU")]
    with pytest.raises(UserError, match=r"\[engine.a\] gpus: '7' is none of the GPUs"):
        async with open_wares(Home(tmp_path), config, lent):
            pass
