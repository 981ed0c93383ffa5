"""Opens what an owner sells: the embedded engine, and those behind HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from rowen.config import Config, EngineConfig
from rowen.engine.base import Engine
from rowen.engine.models import entry, locate
from rowen.gpu.base import GpuInfo
from rowen.home import Home
from rowen.protocol.errors import UserError
from rowen.protocol.jobs import Kind
from rowen.protocol.metering import PRICE_UNITS
from rowen.protocol.units import ITEM_ENDS
from rowen.provider.gpu_choice import Choice, choose
from rowen.provider.measurement import claim_of, recall
from rowen.provider.settings import Prices
from rowen.provider.stock import Ware

DIGEST_HEX = 64


@asynccontextmanager
async def open_wares(
    home: Home, config: Config, lent: Sequence[GpuInfo] = ()
) -> AsyncIterator[list[Ware]]:
    """Everything on sale, ready.

    Args:
        home: Where models and logs are.
        config: What is sold.
        lent: GPUs that engines may use; none where no GPU is watched.

    Raises:
        UserError: Something is missing, wrong, or sold twice; the message says which.
        Unavailable: An engine does not get ready.
    """
    async with AsyncExitStack() as stack:
        wares: list[Ware] = []
        if config.provider.model:
            gpus = _choose("[provider] gpus", config.provider.gpus, config, lent)
            engine = await stack.enter_async_context(_open_embedded(home, config))
            wares.append(Ware(engine=engine, prices=prices_of(config), gpus=gpus.uuids))
        if config.embeddings.model:
            gpus = _choose("[provider] gpus", config.provider.gpus, config, lent)
            embedder = await stack.enter_async_context(_open_embedder(home, config))
            made = config.embeddings
            prices = Prices(
                input=made.price_input.units,
                cached=made.price_input.units,
                output=made.price_output.units,
                request=made.price_request.units,
            )
            wares.append(Ware(engine=embedder, prices=prices, gpus=gpus.uuids))
        if config.ocr.enabled:
            wares.append(await stack.enter_async_context(_open_reader(config)))
        for name, owner in config.engines.items():
            # One after the other: two that start at once would fight for the same memory.
            gpus = _choose(f"[engine.{name}] gpus", owner.gpus, config, lent)
            engine = await stack.enter_async_context(_open_http(home, name, owner, gpus))
            prices = Prices(
                input=owner.price_input.units,
                cached=owner.price_cached.units,
                output=owner.price_output.units,
                request=owner.price_request.units,
            )
            wares.append(
                Ware(
                    engine=engine,
                    prices=prices,
                    output_units_max=owner.output_units_max,
                    gpus=gpus.uuids,
                )
            )
        _check_differ(wares)
        yield [_with_claim(home, ware) for ware in wares]


def _with_claim(home: Home, ware: Ware) -> Ware:
    measured = recall(home.measurements, ware.variant().id)
    return ware if measured is None else replace(ware, claim=claim_of(measured))


def _choose(where: str, named: Sequence[str], config: Config, lent: Sequence[GpuInfo]) -> Choice:
    return choose(where, named, lent, is_part=bool(config.gpu.only))


def ports_of(config: Config) -> frozenset[int]:
    """Where engines answer on this machine that the owner started: their work is ours."""
    attached = [urlsplit(one.url) for one in config.engines.values() if not one.command]
    return frozenset(
        (url.port or 80) for url in attached if url.hostname in ("127.0.0.1", "localhost", "::1")
    )


def prices_of(config: Config) -> Prices:
    """What the embedded engine's work costs."""
    owner = config.provider
    return Prices(
        input=owner.price_input.units,
        cached=owner.price_cached.units,
        output=owner.price_output.units,
        request=owner.price_request.units,
    )


def _check_differ(wares: list[Ware]) -> None:
    if not wares:
        raise UserError(
            "nothing is on sale: set [provider] model, [embeddings] model, [ocr] enabled, or an "
            "[engine.NAME]"
        )
    seen: dict[bytes, str] = {}
    for ware in wares:
        variant = ware.variant()
        if variant.id in seen:
            raise UserError(
                f"two engines sell {variant.model}:{variant.precision} of {variant.build}: give "
                "one of them another `model`, or put one server before both"
            )
        seen[variant.id] = variant.model


@asynccontextmanager
async def _open_embedded(home: Home, config: Config) -> AsyncIterator[Engine]:
    from rowen.engine.llama import open_llama

    owner = config.provider
    model = entry(owner.model)
    file: Path = locate(owner.model, home.models)
    async with open_llama(
        file,
        model=model.model,
        precision=model.precision,
        weights_digest=model.weights_digest,
        threads=owner.threads,
        concurrency=owner.concurrency,
        context_units=owner.context_units,
    ) as engine:
        yield engine


@asynccontextmanager
async def _open_embedder(home: Home, config: Config) -> AsyncIterator[Engine]:
    from rowen.engine.llama import open_llama

    owner = config.embeddings
    model = entry(owner.model)
    file: Path = locate(owner.model, home.models)
    async with open_llama(
        file,
        model=model.model,
        precision=model.precision,
        weights_digest=model.weights_digest,
        threads=owner.threads,
        concurrency=owner.concurrency,
        context_units=owner.context_units,
        embeds=True,
    ) as engine:
        yield engine


@asynccontextmanager
async def _open_reader(config: Config) -> AsyncIterator[Ware]:
    from rowen.engine.ocr import open_ocr

    owner = config.ocr
    prices = Prices(
        # Prices are for a million units.
        input=owner.price_page.units * PRICE_UNITS,
        cached=owner.price_page.units * PRICE_UNITS,
        output=owner.price_output.units,
        request=owner.price_request.units,
    )
    async with open_ocr() as engine:
        yield Ware(engine=engine, prices=prices)


@asynccontextmanager
async def _open_http(
    home: Home, name: str, owner: EngineConfig, gpus: Choice
) -> AsyncIterator[Engine]:
    from rowen.engine.opening import HttpSpec, open_http

    home.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    spec = HttpSpec(
        name=name,
        kind=owner.kind,
        url=owner.url.rstrip("/"),
        api_key=owner.api_key,
        served=owner.served,
        model=owner.model,
        precision=owner.precision,
        weights_digest=_digest(name, owner.weights_sha256),
        context_units=owner.context_units,
        concurrency=owner.concurrency,
        kinds=_kinds(name, owner.kinds),
        start_s=owner.start_s,
        command=owner.command,
        environment=gpus.environment(
            _environment(name, owner.environment), f"[engine.{name}] environment"
        ),
        log_file=home.logs / f"engine-{name}.log",
    )
    async with open_http(spec) as engine:
        yield engine


def _digest(name: str, text: str) -> bytes:
    if not text:
        return bytes(DIGEST_HEX // 2)
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(text) != DIGEST_HEX or len(digest) != DIGEST_HEX // 2:
        raise UserError(f"[engine.{name}] weights_sha256 is {text!r}: expected 64 hex digits")
    return digest


def _kinds(name: str, words: tuple[str, ...]) -> tuple[Kind, ...]:
    try:
        kinds = {Kind(word) for word in words}
    except ValueError:
        known = ", ".join(Kind)
        raise UserError(
            f"[engine.{name}] kinds is {', '.join(words)}: each must be one of {known}"
        ) from None
    if Kind.OCR in kinds:
        raise UserError(f"[engine.{name}] kinds: pages are read by the node itself: see [ocr]")
    if len(kinds) > 1 and kinds & ITEM_ENDS.keys():
        raise UserError(
            f"[engine.{name}] kinds: embeddings have a unit of their own, so they are sold alone; "
            "write a second table for the same engine"
        )
    return tuple(sorted(kinds))


def _environment(name: str, settings: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for setting in settings:
        key, is_there, value = setting.partition("=")
        if not key or not is_there:
            # Not the text itself: it may be a secret without its name.
            raise UserError(f"[engine.{name}] environment: write each as NAME=value")
        found[key] = value
    return found
