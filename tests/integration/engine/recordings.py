"""What engines answer, as their sources and documents say; none of these needs a GPU here.

They are written from the response models of each engine's source (or its API reference), not
captured from a running one: field names, order of events and what is left out are theirs, texts
and numbers are ours. ``source`` says which file at which version was read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

OK: dict[str, Any] = {}
Answer = tuple[int, Any]


def events(*chunks: dict[str, Any]) -> list[str]:
    """Server-sent events, each in a write of its own."""
    return [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]


def delta(usage: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk of a chat completion."""
    finish = fields.pop("finish_reason", None)
    chunk: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish}],
    }
    return chunk | ({"usage": usage} if usage is not None else {})


def said(
    text: str, usage: dict[str, Any] | None = None, finish: str | None = None
) -> dict[str, Any]:
    """One chunk of a completion."""
    chunk: dict[str, Any] = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
    }
    return chunk | ({"usage": usage} if usage is not None else {})


def usage(prompt: int, completion: int, **details: Any) -> dict[str, Any]:
    """What vLLM, SGLang and Ollama call usage."""
    told = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
    return told | details


def tail(told: dict[str, Any]) -> dict[str, Any]:
    """The chunk after the last, with the usage and no choice."""
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "usage": told}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One engine.

    Attributes:
        kind: Its dialect.
        source: What was read, at which version.
        answers: Status and body by method and path.
        chat: Events of its streamed answer "Plum tart", 4 output tokens, 11 input tokens.
        completion: The same as the completion of a text; empty where there are none.
        context_units: Set by the owner where the engine does not say.
        expected: Model, precision, build and context that follow.
        cached_units: That its usage tells.
    """

    kind: str
    source: str
    answers: dict[str, Answer] = field(default_factory=dict)
    chat: list[str] = field(default_factory=list)
    completion: list[str] = field(default_factory=list)
    context_units: int = 0
    expected: tuple[str, str, str, int] = ("", "", "", 0)
    cached_units: int = 0


def model_list(**card: Any) -> Answer:
    """``GET /v1/models`` with one model."""
    return 200, {"object": "list", "data": [{"object": "model", "created": 1} | card]}


VLLM_CHAT = events(
    # continuous_usage_stats: every chunk repeats the usage so far.
    delta(usage(11, 0), role="assistant", content=""),
    delta(usage(11, 1), content="Pl"),
    delta(usage(11, 2), content="um"),
    delta(usage(11, 3), content=" tart"),
    # The end-of-turn token has no text and counts.
    delta(usage(11, 4), content="", finish_reason="stop"),
    tail(usage(11, 4, prompt_tokens_details={"cached_tokens": 8})),
)

VLLM_COMPLETION = events(
    said("Pl", usage(11, 1)),
    said("um", usage(11, 2)),
    said(" tart", usage(11, 3)),
    said("", usage(11, 4), "stop"),
    tail(usage(11, 4, prompt_tokens_details={"cached_tokens": 8})),
)

RECORDINGS = {
    "vllm": Recording(
        kind="vllm",
        source="vllm-project/vllm 0.14: entrypoints/openai/engine/protocol.py at 040a2cc, "
        "entrypoints/serve/tokenize/protocol.py at 343baca, entrypoints/serve/sleep/api_router.py",
        answers={
            "GET /health": (200, ""),
            "GET /version": (200, {"version": "0.14.0"}),
            "GET /v1/models": model_list(
                id="Qwen/Qwen2.5-7B-Instruct-AWQ", owned_by="vllm", max_model_len=32768
            ),
            "POST /tokenize": (200, {"count": 11, "max_model_len": 32768, "tokens": [1] * 11}),
            "POST /sleep?level=1": (200, ""),
            "GET /is_sleeping": (200, {"is_sleeping": True}),
            "POST /wake_up": (200, ""),
        },
        chat=VLLM_CHAT,
        completion=VLLM_COMPLETION,
        expected=("Qwen/Qwen2.5-7B-Instruct-AWQ", "unknown", "vllm 0.14.0", 32768),
        cached_units=8,
    ),
    "sglang": Recording(
        kind="sglang",
        source="sgl-project/sglang 0.5: srt/entrypoints/openai/protocol.py at 004c82e, "
        "srt/entrypoints/http_server.py",
        answers={
            "GET /health": (200, ""),
            "GET /get_server_info": (200, {"version": "0.5.4", "max_total_num_tokens": 9}),
            "GET /v1/models": model_list(
                id="meta-llama/Llama-3.1-8B", owned_by="sglang", root="x", max_model_len=8192
            ),
            "POST /release_memory_occupation": (200, ""),
            "POST /resume_memory_occupation": (200, ""),
        },
        chat=events(
            delta(usage(11, 0), role="assistant", content=""),
            delta(usage(11, 2), content="Plum"),
            delta(usage(11, 3), content=" tart"),
            delta(finish_reason="stop"),
            # Without --enable-cache-report the details are null.
            tail(usage(11, 4, prompt_tokens_details=None, reasoning_tokens=0)),
        ),
        completion=events(
            said("Plum", usage(11, 2)),
            said(" tart", usage(11, 3)),
            said("", finish="stop"),
            tail(usage(11, 4, prompt_tokens_details=None, reasoning_tokens=0)),
        ),
        expected=("meta-llama/Llama-3.1-8B", "unknown", "sglang 0.5.4", 8192),
    ),
    "ollama": Recording(
        kind="ollama",
        source="ollama/ollama 0.12: openai/openai.go at 0098875, docs/api.md",
        answers={
            "GET /api/version": (200, {"version": "0.12.6"}),
            "GET /v1/models": model_list(id="llama3.2:latest", owned_by="library"),
            "GET /api/tags": (
                200,
                {
                    "models": [
                        {
                            "name": "llama3.2:latest",
                            "digest": "ab" * 32,
                            "details": {"format": "gguf", "quantization_level": "Q4_K_M"},
                        }
                    ]
                },
            ),
            "POST /api/generate": (200, {"response": "", "done": True, "done_reason": "unload"}),
        },
        chat=events(
            # Each chunk names the role again; no count before the end.
            delta(role="assistant", content="Plum"),
            delta(role="assistant", content=" tart"),
            delta(role="assistant", content="", finish_reason="stop"),
            tail(usage(11, 4)),
        ),
        context_units=4096,
        expected=("llama3.2:latest", "q4_k_m", "ollama 0.12.6", 4096),
    ),
    "nim": Recording(
        kind="nim",
        source="NVIDIA NIM for LLMs 2.0.1, reference/api-reference.html: vLLM's endpoints, "
        "/v1/health/ready and /v1/version",
        answers={
            "GET /v1/health/ready": (200, {"object": "health.response", "message": "ready"}),
            "GET /v1/version": (200, {"release": "2.0.1", "api": "2.0.0"}),
            "GET /v1/models": model_list(id="meta/llama-3.1-8b-instruct", max_model_len=131072),
            "POST /tokenize": (200, {"count": 11, "max_model_len": 131072, "tokens": [1] * 11}),
        },
        chat=VLLM_CHAT,
        completion=VLLM_COMPLETION,
        expected=("meta/llama-3.1-8b-instruct", "unknown", "nim 2.0.1", 131072),
        cached_units=8,
    ),
    "ray": Recording(
        kind="ray",
        source="Ray 2.60, docs.ray.io/en/latest/serve/llm: an ingress with /v1/models and "
        "/v1/chat/completions that passes vLLM's protocol on; Serve's proxy answers /-/healthz",
        answers={
            "GET /-/healthz": (200, "success"),
            "GET /v1/models": model_list(id="qwen-0.5b", owned_by="organization-owner"),
        },
        chat=VLLM_CHAT,
        completion=VLLM_COMPLETION,
        context_units=4096,
        expected=("qwen-0.5b", "unknown", "ray serve llm", 4096),
        cached_units=8,
    ),
}
