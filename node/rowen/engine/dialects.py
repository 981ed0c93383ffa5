"""What sets the engines apart that speak OpenAI's HTTP: plain data, one entry each.

Sources, at the versions these were read: vLLM (``entrypoints/openai/engine/protocol.py``,
``entrypoints/serve/sleep`` and ``tokenize``, 0.14), SGLang (``entrypoints/openai/protocol.py``,
``http_server.py``, 0.5), Ollama (``docs/api.md``, ``openai/openai.go``, 0.12), llama.cpp
(``tools/server/README.md``, b11549), NVIDIA NIM for LLMs 2.0 (API reference; it serves vLLM), Ray
Serve LLM 2.60 (its ingress serves vLLM's protocol).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any


class Counting(Enum):
    """How an engine tells the tokens of an input before it answers."""

    TEMPLATE = "its template, then its tokenizer: llama.cpp"
    TOKENIZE = "its tokenizer, which takes messages: vLLM"
    PROBE = "the usage of an answer of one token"


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and the answer that means yes.

    Attributes:
        path: Where to.
        body: JSON sent; ``$model`` stands for the model. None asks with GET.
        expect: Fields the answer must have with these values; empty when its status says it.
    """

    path: str
    body: Mapping[str, Any] | None = None
    expect: Mapping[str, Any] = field(default_factory=dict)


# Models bring sampler defaults of their own; nobody ordered these.
_NEUTRAL = MappingProxyType({"min_p": 0.0, "repetition_penalty": 1.0})


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One kind of engine.

    Attributes:
        title: For the offer's ``build``.
        ready: Answers 200 when jobs can be served.
        version: Path and field of its version; empty when it has none.
        counting: How inputs are counted.
        has_running_usage: Whether it repeats the usage in every chunk when asked.
        extra: Sent with every job.
        continuation: Sent when the last turn is an unfinished answer; None when the engine
            cannot be told to continue one.
        has_completion: Whether its `/v1/completions` goes on with a text as it is.
        salt: Field that keeps one client's prefix cache from others; empty when it has none.
        sleep: Gives the GPU's memory back; None when it cannot.
        asleep: Whether it did; None when ``sleep`` answers for itself.
        wake: The way back from ``sleep``.
    """

    title: str
    ready: str = "/health"
    version: tuple[str, str] = ("", "")
    counting: Counting = Counting.PROBE
    has_running_usage: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    continuation: Mapping[str, Any] | None = None
    has_completion: bool = True
    salt: str = ""
    sleep: Call | None = None
    asleep: Call | None = None
    wake: Call | None = None


_CONTINUE = MappingProxyType({"continue_final_message": True, "add_generation_prompt": False})

_VLLM = Dialect(
    title="vllm",
    version=("/version", "version"),
    counting=Counting.TOKENIZE,
    has_running_usage=True,
    extra=_NEUTRAL | {"top_k": 0},
    continuation=_CONTINUE,
    salt="cache_salt",
    # Offered only with --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1; else 404, which is a no.
    sleep=Call("/sleep?level=1", {}),
    asleep=Call("/is_sleeping", expect={"is_sleeping": True}),
    wake=Call("/wake_up", {}),
)

DIALECTS: Mapping[str, Dialect] = {
    "vllm": _VLLM,
    "sglang": Dialect(
        title="sglang",
        version=("/get_server_info", "version"),
        has_running_usage=True,
        extra=_NEUTRAL | {"top_k": -1},
        continuation={"continue_final_message": True},
        salt="cache_salt",
        # Needs --enable-memory-saver. An engine with jobs would abort: ours were ended before.
        sleep=Call("/release_memory_occupation", {}),
        wake=Call("/resume_memory_occupation", {}),
    ),
    "llamacpp": Dialect(title="llama.cpp", counting=Counting.TEMPLATE, continuation={}),
    "ollama": Dialect(
        title="ollama",
        ready="/api/version",
        version=("/api/version", "version"),
        # Its templates leave the last assistant turn open.
        continuation={},
        # It puts the chat template around the prompt, as around a user's turn.
        has_completion=False,
        sleep=Call(
            "/api/generate",
            {"model": "$model", "keep_alive": 0, "stream": False},
            {"done_reason": "unload"},
        ),
        wake=Call("/api/generate", {"model": "$model", "stream": False}, {"done_reason": "load"}),
    ),
    "nim": Dialect(
        title="nim",
        ready="/v1/health/ready",
        version=("/v1/version", "release"),
        counting=Counting.TOKENIZE,
        has_running_usage=True,
        extra=_VLLM.extra,
        continuation=_CONTINUE,
        salt="cache_salt",
    ),
    "ray": Dialect(
        title="ray serve llm",
        ready="/-/healthz",
        has_running_usage=True,
        extra=_VLLM.extra,
        continuation=_CONTINUE,
        salt="cache_salt",
    ),
    "openai": Dialect(title="openai", ready="/v1/models"),
}
