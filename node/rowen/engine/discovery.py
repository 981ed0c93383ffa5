"""What an engine serves: asked of the engine itself, in its own dialect.

Answers are read leniently: engines add fields with every version, and only a few matter here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import msgspec

from rowen.engine.completion import refusal_text
from rowen.engine.dialects import Call, Dialect
from rowen.engine.embedding import embedding_request, read_embedding
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import Kind

UNKNOWN = "unknown"
TRIAL_S = 60.0
"""Longest wait for the one token that shows what an engine can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model an engine serves.

    Attributes:
        served: Its name there.
        version: Of the engine.
        precision: Quantisation, or ``unknown``.
        digest: SHA-256 that the engine tells of the model, or 32 zero bytes.
        context_units: Largest input + output, or 0 when the engine does not say.
        places: Jobs it serves at the same time, or 0 when it does not say.
        kinds: What it can do.
        item_units: Numbers of one of its vectors, if it is for these.
    """

    served: str
    version: str = UNKNOWN
    precision: str = UNKNOWN
    digest: bytes = bytes(32)
    context_units: int = 0
    places: int = 0
    kinds: tuple[Kind, ...] = (Kind.CHAT,)
    item_units: int = 0


async def ask(
    client: httpx.AsyncClient, path: str, body: object = None, *, timeout_s: float = 10.0
) -> Any:
    """Asks one question; GET without a body.

    Returns:
        The decoded JSON, or the text when it is none.

    Raises:
        Unavailable: No answer, or one that says later.
        UserError: It refuses, and would again.
    """
    method = "GET" if body is None else "POST"
    content = None if body is None else msgspec.json.encode(body)
    try:
        response = await client.request(
            method,
            path,
            content=content,
            headers={"Content-Type": "application/json"},
            timeout=timeout_s,
        )
    except httpx.HTTPError as error:
        raise Unavailable(f"the engine does not answer {path}: {error!r}") from error
    status = response.status_code
    if status in (408, 425, 429) or (status >= 500 and status != httpx.codes.NOT_IMPLEMENTED):
        raise Unavailable(
            f"the engine answers {path} with {status}: {refusal_text(response.content)}"
        )
    if status != httpx.codes.OK:
        raise UserError(
            f"the engine refuses {path} with {status}: {refusal_text(response.content)}"
        )
    try:
        return msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return response.text


async def perform(client: httpx.AsyncClient, call: Call, model: str, *, timeout_s: float) -> bool:
    """Makes a call of a dialect.

    Returns:
        Whether the engine did it; False when it does not know the call.

    Raises:
        Unavailable: It does not answer.
    """
    body = call.body
    if body is not None:
        body = {key: model if value == "$model" else value for key, value in body.items()}
    try:
        answer = await ask(client, call.path, body, timeout_s=timeout_s)
    except UserError:
        # 404: this build, or this way of starting it, has no such call.
        return False
    fields = answer if isinstance(answer, dict) else {}
    return all(fields.get(key) == value for key, value in call.expect.items())


async def discover(
    client: httpx.AsyncClient, dialect: Dialect, served: str = "", kinds: Sequence[Kind] = ()
) -> Found:
    """Finds the model to sell.

    Args:
        client: To the engine.
        dialect: Which engine it is.
        served: Its name there; empty when it serves only one.
        kinds: What it is to be sold for; empty for what it does.

    Raises:
        Unavailable: The engine does not answer.
        UserError: It serves no such model, or several and none was chosen, or does not do
            what it is to be sold for.
    """
    listed = await ask(client, "/v1/models")
    cards = {
        card["id"]: card
        for card in (listed.get("data") or [] if isinstance(listed, dict) else [])
        if isinstance(card, dict) and isinstance(card.get("id"), str)
    }
    if not served and len(cards) == 1:
        served = next(iter(cards))
    if served not in cards:
        names = ", ".join(sorted(cards)) or "none"
        wanted = f"does not serve {served!r}" if served else "serves not exactly one model"
        raise UserError(f"the engine {wanted}; it serves: {names}. Set `served` to one of these")
    found = await _found(client, dialect, served, cards[served])
    found = replace(found, kinds=await _kinds(client, dialect, served, kinds))
    if Kind.EMBEDDINGS in found.kinds:
        answer = await ask(client, "/v1/embeddings", embedding_request("1", served))
        found = replace(found, item_units=read_embedding(answer).units)
    return found


async def _found(
    client: httpx.AsyncClient, dialect: Dialect, served: str, card: dict[str, Any]
) -> Found:
    version = await _version(client, dialect)
    match dialect.title:
        case "llama.cpp":
            return await _found_llama(client, served, card)
        case "ollama":
            return await _found_ollama(client, served, version)
    context = card.get("max_model_len")
    return Found(
        served=served, version=version, context_units=context if isinstance(context, int) else 0
    )


async def _kinds(
    client: httpx.AsyncClient, dialect: Dialect, served: str, wanted: Sequence[Kind]
) -> tuple[Kind, ...]:
    for kind in wanted:
        if not await _does(client, dialect, served, kind):
            raise UserError(f"the engine does not do {kind}: take it out of `kinds`")
    if wanted:
        return tuple(sorted(set(wanted)))
    if await _does(client, dialect, served, Kind.COMPLETION):
        return (Kind.CHAT, Kind.COMPLETION)
    # Many that write text make vectors, too; what writes nothing is for vectors.
    is_for_vectors = await _does(client, dialect, served, Kind.EMBEDDINGS)
    if is_for_vectors and not await _does(client, dialect, served, Kind.CHAT):
        return (Kind.EMBEDDINGS,)
    return (Kind.CHAT,)


async def _does(client: httpx.AsyncClient, dialect: Dialect, served: str, kind: Kind) -> bool:
    """Whether it does that work: nothing but trying tells."""
    question: dict[str, object] = {"model": served, "max_tokens": 1}
    match kind:
        case Kind.CHAT:
            path, question["messages"] = "/v1/chat/completions", [{"role": "user", "content": "1"}]
        case Kind.COMPLETION if dialect.has_completion:
            path, question["prompt"] = "/v1/completions", "1, 2,"
        case Kind.EMBEDDINGS:
            path, question = "/v1/embeddings", embedding_request("1", served)
        case _:
            return False
    try:
        await ask(client, path, question, timeout_s=TRIAL_S)
    except UserError:
        return False
    return True


async def _version(client: httpx.AsyncClient, dialect: Dialect) -> str:
    path, key = dialect.version
    if not path:
        return UNKNOWN
    try:
        answer = await ask(client, path)
    except UserError:
        return UNKNOWN
    return str(answer.get(key, UNKNOWN))[:64] if isinstance(answer, dict) else UNKNOWN


async def _found_llama(client: httpx.AsyncClient, served: str, card: dict[str, Any]) -> Found:
    props = await ask(client, "/props")
    meta = card.get("meta") or {}
    settings = props.get("default_generation_settings") or {}
    context = meta.get("n_ctx") or settings.get("n_ctx") or 0
    return Found(
        served=served,
        version=str(props.get("build_info") or UNKNOWN),
        precision=str(meta.get("ftype") or UNKNOWN).lower(),
        # Of one slot: llama.cpp divides its context among them.
        context_units=context if isinstance(context, int) else 0,
        places=int(props.get("total_slots") or 0),
    )


async def _found_ollama(client: httpx.AsyncClient, served: str, version: str) -> Found:
    tags = await ask(client, "/api/tags")
    model: dict[str, Any] = next(
        (m for m in tags.get("models") or [] if m.get("name") == served), {}
    )
    digest = str(model.get("digest") or "").removeprefix("sha256:")
    try:
        known = bytes.fromhex(digest)
    except ValueError:
        known = b""
    details = model.get("details") or {}
    return Found(
        served=served,
        version=version,
        precision=str(details.get("quantization_level") or UNKNOWN).lower(),
        digest=known if len(known) == 32 else bytes(32),
    )
