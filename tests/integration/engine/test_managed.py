"""Engines the node starts itself: llama.cpp's real server, as a process."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import trio
from tests.integration.engine.servers import llama_spec

from rowen.engine.base import Finished, Piece
from rowen.engine.opening import HttpSpec, ManagedEngine, open_http
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import ChatInput, Finish, Message

PATIENCE_S = 120
REPOSITORY = Path(__file__).parents[3]


def chat(content: str = "Name three fruits.") -> ChatInput:
    return ChatInput(messages=(Message(role="user", content=content),))


def only_leaf(group: pytest.ExceptionInfo[BaseException]) -> BaseException:
    """The one error inside the groups that nurseries make."""
    error: BaseException = group.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


def children() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


async def all_gone(processes: list[psutil.Process]) -> None:
    """Waits until none of them runs."""
    with trio.fail_after(PATIENCE_S):
        while any(map(runs, processes)):
            await trio.sleep(0.05)


def runs(process: psutil.Process) -> bool:
    try:
        alive: bool = process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    return alive


async def test_a_killed_engine_is_started_again(model_file: Path, tmp_path: Path) -> None:
    """The job it had fails, the next one is served; its output is kept for its owner only."""
    log_file = tmp_path / "llama.log"
    with trio.fail_after(PATIENCE_S):
        async with open_http(llama_spec(model_file, log_file)) as engine:
            assert isinstance(engine, ManagedEngine)
            server = next(p for p in children() if p.name().startswith("python"))
            async with engine.generate(chat("Tell a long story."), 400) as items:
                assert isinstance(await anext(items), Piece)
                server.kill()
                with pytest.raises(Unavailable):
                    _ = [item async for item in items]
            # It may say for a moment yet that it is ready: the next look finds out.
            end = None
            while end is None:
                try:
                    async with engine.generate(chat(), 5) as items:
                        *_, end = [item async for item in items]
                except Unavailable:
                    await trio.sleep(0.05)
            assert isinstance(end, Finished)
    assert "listening at" in await trio.Path(log_file).read_text()
    assert stat.S_IMODE((await trio.Path(log_file).stat()).st_mode) == 0o600


async def test_leaving_ends_the_engine_and_what_it_started(
    model_file: Path, tmp_path: Path
) -> None:
    async with open_http(llama_spec(model_file, tmp_path / "log")):
        found = children()
        assert found
    await all_gone(found)


NODE = """
import sys, trio
from pathlib import Path
from tests.integration.engine.servers import llama_spec
from rowen.engine.opening import open_http

async def main():
    async with open_http(llama_spec(Path(sys.argv[1]), Path(sys.argv[2]))):
        sys.stdout.write("ready\\n"); sys.stdout.flush()
        await trio.sleep_forever()

trio.run(main)
"""


async def test_a_node_that_is_killed_leaves_no_engine(model_file: Path, tmp_path: Path) -> None:
    """``kill -9`` runs no clean-up, so the kernel must do it: P17."""
    with trio.fail_after(PATIENCE_S):
        node = await trio.lowlevel.open_process(
            [sys.executable, "-c", NODE, str(model_file), str(tmp_path / "log")],
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
        )
        assert node.stdout is not None
        said = b""
        while b"ready" not in said:
            said += await node.stdout.receive_some(1024)
        found = psutil.Process(node.pid).children(recursive=True)
        assert any(p.name().startswith("python") for p in found)
        os.kill(node.pid, signal.SIGKILL)
        await node.wait()
        await all_gone(found)


async def test_an_engine_that_cannot_start_says_its_last_words(tmp_path: Path) -> None:
    spec = HttpSpec(
        name="broken",
        kind="llamacpp",
        url="http://127.0.0.1:9",
        command=("/bin/sh", "-c", "echo out of memory; exit 3"),
        log_file=tmp_path / "log",
    )
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_http(spec):
            pass
    error = only_leaf(caught)
    assert isinstance(error, Unavailable)
    assert "engine broken: it ended 3 times; it said: out of memory" in str(error)


async def test_the_node_starts_engines_on_loopback_only(model_file: Path, tmp_path: Path) -> None:
    """Threat 55: neither told to listen elsewhere, nor doing so by itself."""
    spec = llama_spec(model_file, tmp_path / "log")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_http(replace(spec, url="http://192.0.2.1:8000")):
            pass
    assert "on loopback only" in str(only_leaf(caught))
    everywhere = tuple("0.0.0.0" if part == "{host}" else part for part in spec.command)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_http(replace(spec, command=everywhere)):
            pass
    error = only_leaf(caught)
    assert isinstance(error, UserError)
    assert "it listens at 0.0.0.0" in str(error)


async def test_an_engine_sees_none_of_the_nodes_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROWEN_PASSWORD", "hunter2")
    log_file = tmp_path / "log"
    spec = HttpSpec(
        name="nosy",
        kind="llamacpp",
        url="http://127.0.0.1:9",
        command=("/bin/sh", "-c", "env; exit 1"),
        environment={"HF_HOME": "/models"},
        log_file=log_file,
    )
    with pytest.raises(BaseExceptionGroup):
        async with open_http(spec):
            pass
    said = await trio.Path(log_file).read_text()
    assert "HF_HOME=/models" in said
    assert "hunter2" not in said


async def test_the_same_server_is_served_in_plain_openai_words(
    model_file: Path, tmp_path: Path
) -> None:
    """Counts without a tokenizer: asked by an answer of one token, reconciled at the end."""
    spec = llama_spec(model_file, tmp_path / "log")
    async with open_http(spec) as exact:
        plain = replace(spec, kind="openai", command=(), context_units=512)
        async with open_http(plain) as engine:
            assert engine.info.build == "openai"
            assert await engine.count_input(chat()) == await exact.count_input(chat())
            ends: list[Finished] = []
            answers: list[str] = []
            for one in (exact, engine):
                async with one.generate(chat(), 12) as items:
                    said = [item async for item in items]
                *pieces, end = said
                assert isinstance(end, Finished)
                ends.append(end)
                answers.append("".join(p.text for p in pieces if isinstance(p, Piece)))
                assert end.output_units == sum(p.units for p in pieces if isinstance(p, Piece))
            assert answers[0] == answers[1]
            assert ends[0].output_units == ends[1].output_units == 12
            assert ends[0].finish is ends[1].finish is Finish.LENGTH
            begun = ChatInput(messages=(*chat().messages, Message("assistant", "Pl")))
            with pytest.raises(UserError, match="cannot continue"):
                await engine.count_input(begun)
            # It is not ours: it cannot be stopped, and it has no sleep.
            assert not await engine.release()
            assert not await engine.stop()
            assert engine.is_ready


async def test_what_an_owner_describes_must_be_what_is_served(
    model_file: Path, tmp_path: Path
) -> None:
    spec = llama_spec(model_file, tmp_path / "log")
    async with open_http(spec) as engine:
        assert engine.info.context_units == 512
        assert engine.info.concurrency == 2
        assert engine.info.precision == "q4_1"
        attached = replace(spec, command=())
        for changes, told in (
            ({"served": "gpt-9"}, "does not serve 'gpt-9'; it serves: "),
            ({"context_units": 513}, "serves no more than 512"),
            ({"kind": "gpt"}, "is none of vllm"),
        ):
            with pytest.raises((BaseExceptionGroup, UserError)) as caught:
                async with open_http(replace(attached, **changes)):
                    pass
            error = only_leaf(caught)
            assert isinstance(error, UserError)
            assert told in str(error)
