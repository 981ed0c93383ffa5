"""What xllamacpp does that our engine relies on, or works around.

A failure here after an upgrade says which of our promises to look at again.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from rowen.engine.llama_server import load_server, socket_file
from rowen.engine.models import SMOLLM2, pull

KEY = "a key"
REPOSITORY = Path(__file__).parents[1]


class Raw:
    """llama.cpp as we load it, asked without our engine in between."""

    def __init__(self, server: Any, client: httpx.Client) -> None:
        self._server = server
        self._client = client

    def ask(self, path: str, question: object) -> Any:
        return self._client.post(path, json=question).json()

    def tokens(self, content: str) -> list[int]:
        flags = {"add_special": True, "parse_special": True}
        found: list[int] = self.ask("/tokenize", {"content": content, **flags})["tokens"]
        return found

    def prompt(self, *contents: str) -> str:
        rendered: str = self.ask("/apply-template", {"messages": turns(*contents)})["prompt"]
        return rendered

    def complete(self, **request: object) -> list[dict[str, Any]]:
        chunks: list[dict[str, Any]] = []
        request = {"stream": True, "timings_per_token": True, "temperature": 0} | request
        self._server.handle_completions(
            json.dumps(request).encode(), lambda chunk: chunks.append(json.loads(chunk))
        )
        return chunks


def turns(*contents: str) -> list[dict[str, str]]:
    """Contents said by the user and the assistant in turn."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": said} for i, said in enumerate(contents)]


def text(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])


@pytest.fixture(scope="module")
def llama() -> Iterator[Raw]:
    models = Path(os.environ.get("ROWEN_MODELS_DIR") or REPOSITORY / "models")
    model_file = trio.run(pull, SMOLLM2.name, models)
    with tempfile.TemporaryDirectory() as directory:
        listen = socket_file(Path(directory))
        server = load_server(
            model_file, listen, KEY, threads=1, concurrency=1, context_units=256, embeds=False
        )
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=listen),
            base_url="http://engine",
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        ) as client:
            yield Raw(server, client)


def test_a_host_that_ends_in_sock_is_a_unix_socket(llama: Raw) -> None:
    """The only way to give llama.cpp's server no port."""
    assert llama._server.listening_address.startswith("unix://")


def test_the_end_of_turn_token_counts(llama: Raw) -> None:
    """It is sampled like any other, and has a chunk without text."""
    chunks = llama.complete(prompt=llama.tokens(llama.prompt("Name three fruits.")))
    *_, silent, end = chunks
    assert end["choices"][0]["finish_reason"] == "stop"
    assert end["usage"]["completion_tokens"] == len(llama.tokens(text(chunks))) + 1
    assert silent["choices"][0]["text"] == ""
    assert silent["timings"]["predicted_n"] == end["usage"]["completion_tokens"]


def test_a_stop_text_counts_and_is_not_told(llama: Raw) -> None:
    prompt = llama.tokens(llama.prompt("Name three fruits."))
    whole = text(llama.complete(prompt=prompt))
    chunks = llama.complete(prompt=prompt, stop=[whole[5:8]])
    assert text(chunks) == whole[:5]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] > len(llama.tokens(whole[:5]))


def test_one_token_is_generated_even_when_none_is_asked_for(llama: Raw) -> None:
    """So our engine refuses to be asked."""
    end = llama.complete(prompt=[1, 2, 3], max_tokens=0)[-1]
    assert end["usage"]["completion_tokens"] == 1


def test_progress_comes_before_and_between_batches(llama: Raw) -> None:
    """The callback's moments to cancel; without this, a prefill runs to its end."""
    chunks = llama.complete(
        prompt=llama.tokens("word " * 100), max_tokens=1, return_progress=True, cache_prompt=False
    )
    done = [chunk["prompt_progress"]["processed"] for chunk in chunks if "prompt_progress" in chunk]
    assert done[:-1] == [0, 32, 64, 96]
    assert done[-1] >= 100


def test_a_true_answer_of_the_callback_cancels(llama: Raw) -> None:
    heard: list[bytes] = []

    def hear(chunk: bytes) -> bool:
        heard.append(chunk)
        return len(heard) == 3

    request = {"prompt": [1, 2, 3], "stream": True, "max_tokens": 200, "ignore_eos": True}
    llama._server.handle_completions(json.dumps(request).encode(), hear)
    assert len(heard) == 3


def test_errors_are_chunks_or_exceptions(llama: Raw) -> None:
    chunks = llama.complete(prompt=[1] * 300, max_tokens=1)
    assert [chunk["error"]["type"] for chunk in chunks] == ["exceed_context_size_error"]
    with pytest.raises(RuntimeError, match="parse_error"):
        llama._server.handle_completions(b"{", lambda _: None)


def test_our_rendering_is_that_of_its_own_chat(llama: Raw) -> None:
    """Template, then tokens, then completion: the way of /v1/chat/completions, in three steps."""
    messages = turns("Hello.", "Hi!", "Name three fruits.")
    counted = llama.ask("/v1/chat/completions/input_tokens", {"messages": messages})
    rendered = llama.prompt("Hello.", "Hi!", "Name three fruits.")
    assert counted["input_tokens"] == len(llama.tokens(rendered))


def test_without_prefill_an_answer_at_the_end_is_a_whole_turn(llama: Raw) -> None:
    """The template then opens a new answer; we put unfinished ones after it ourselves."""
    rendered = llama.prompt("Hello.", "Hi ")
    assert rendered.endswith("Hi <|im_end|>\n<|im_start|>assistant\n")
