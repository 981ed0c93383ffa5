"""Opens engines behind HTTP: attached to what an owner runs, or started and managed by the node."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import structlog
import trio

from rowen.engine.base import EngineInfo
from rowen.engine.dialects import DIALECTS, Dialect
from rowen.engine.discovery import UNKNOWN, Found, ask, discover
from rowen.engine.openai_http import HttpEngine
from rowen.engine.process import EngineProcess
from rowen.protocol.errors import Unavailable, UserError
from rowen.protocol.jobs import Kind

log = structlog.get_logger("rowen.engine")

CONCURRENCY = 8
"""Jobs at the same time where neither owner nor engine says."""
POLL_S = 0.25
STARTS_MAX = 3
_SECRETS = "ROWEN_"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSpec:
    """An engine as its owner describes it; what is left empty is asked of the engine.

    Attributes:
        name: For logs and messages.
        kind: A key of ``DIALECTS``.
        url: Where it answers, such as ``http://127.0.0.1:8000``.
        api_key: What it wants to be shown, or empty.
        served: The model's name there; empty when it serves only one.
        model: Name to offer it under; empty for ``served``.
        precision: Quantisation in the field's words.
        weights_digest: SHA-256 of the weights, 32 bytes; zeros say nothing.
        context_units: Largest input + output; 0 for what the engine says.
        concurrency: Jobs at the same time; 0 for what the engine says, or 8.
        kinds: What it is sold for; empty for what it does.
        start_s: How long it may take to be ready.
        command: Starts it; empty for one that its owner runs. ``{host}`` and ``{port}`` are
            those of ``url``.
        environment: Set for the command, over the node's own.
        log_file: Where the command's output goes.
    """

    name: str
    kind: str
    url: str
    api_key: str = ""
    served: str = ""
    model: str = ""
    precision: str = ""
    weights_digest: bytes = bytes(32)
    context_units: int = 0
    concurrency: int = 0
    kinds: tuple[Kind, ...] = ()
    start_s: float = 60.0
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    log_file: Path = Path(os.devnull)

    def dialect(self) -> Dialect:
        """How to speak to it.

        Raises:
            UserError: There is no such kind.
        """
        try:
            return DIALECTS[self.kind]
        except KeyError:
            known = ", ".join(DIALECTS)
            raise UserError(f"engine {self.name}: kind {self.kind!r} is none of {known}") from None


class ManagedEngine(HttpEngine):
    """An engine whose process is ours: it can always be stopped, and started again."""

    def __init__(
        self,
        info: EngineInfo,
        client: httpx.AsyncClient,
        dialect: Dialect,
        served: str,
        *,
        process: EngineProcess,
        start_s: float,
    ) -> None:
        super().__init__(info, client, dialect, served)
        self._process = process
        self._start_s = start_s
        # Which of the process's lives the last good answer came from.
        self._life = 0

    @property
    def is_ready(self) -> bool:
        """Whether its process lives, is awake, and answered when last asked."""
        is_same = self._process.is_running and self._life == self._process.starts
        return is_same and super().is_ready

    async def check(self) -> None:
        """Asks whether it is up; the answer of a process that has ended counts for nothing."""
        life = self._process.starts
        await super().check()
        self._life = life

    async def stop(self) -> bool:
        """Ends the process and all it started."""
        self.is_up = False
        await self._process.unwant()
        return not self._process.is_running

    async def wake(self) -> None:
        """Wakes it, or starts it again."""
        if not self._process.is_wanted:
            # A new process is awake, whatever its forerunner was.
            self.is_awake = True
            self._process.want()
            await until_ready(self._client, self._dialect, self._start_s, self._process)
        await super().wake()


@asynccontextmanager
async def open_http(spec: HttpSpec) -> AsyncIterator[HttpEngine]:
    """Opens an engine; it is ready when the block begins.

    Raises:
        UserError: It cannot be used as described; the message says what to change.
        Unavailable: It is not ready in time.
    """
    dialect = spec.dialect()
    headers = {"Authorization": f"Bearer {spec.api_key}"} if spec.api_key else {}
    async with (
        httpx.AsyncClient(
            base_url=spec.url,
            headers=headers,
            # No proxy of the environment sees prompts; no connection is kept that the engine
            # would close at a moment of its own choosing; no redirect leads elsewhere.
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            follow_redirects=False,
        ) as client,
        trio.open_nursery() as nursery,
    ):
        process = None
        if spec.command:
            process = _process_of(spec)
            process.want()
            nursery.start_soon(process.supervise)
        try:
            await until_ready(client, dialect, spec.start_s, process)
            if process is not None:
                _require_private(spec, process)
            found = await discover(client, dialect, spec.served, spec.kinds)
            engine = _engine_of(spec, dialect, client, found, process)
        except (Unavailable, UserError) as error:
            raise type(error)(f"engine {spec.name}: {error}") from error
        await engine.check()
        nursery.start_soon(engine.watch)
        try:
            yield engine
        finally:
            nursery.cancel_scope.cancel()


def _engine_of(
    spec: HttpSpec,
    dialect: Dialect,
    client: httpx.AsyncClient,
    found: Found,
    process: EngineProcess | None,
) -> HttpEngine:
    info = _info_of(spec, dialect, found)
    if process is None:
        return HttpEngine(info, client, dialect, found.served)
    return ManagedEngine(info, client, dialect, found.served, process=process, start_s=spec.start_s)


async def until_ready(
    client: httpx.AsyncClient, dialect: Dialect, start_s: float, process: EngineProcess | None
) -> None:
    """Waits until an engine serves.

    Raises:
        Unavailable: It does not in time, or its process ends again and again.
    """
    why = "it was not asked yet"
    with trio.move_on_after(start_s):
        while True:
            try:
                await ask(client, dialect.ready)
            except (Unavailable, UserError) as error:
                why = str(error)
            else:
                return
            if process is not None and process.failures >= STARTS_MAX:
                raise Unavailable(
                    f"it ended {process.failures} times; it said: {process.last_words}"
                )
            await trio.sleep(POLL_S)
    said = f"; it said: {process.last_words}" if process is not None else ""
    raise Unavailable(f"it is not ready after {start_s:g} s: {why}{said}")


def _info_of(spec: HttpSpec, dialect: Dialect, found: Found) -> EngineInfo:
    context_units = spec.context_units or found.context_units
    if not context_units:
        raise UserError("it does not say how much context it has: set `context_units`")
    if found.context_units and context_units > found.context_units:
        raise UserError(
            f"`context_units` is {context_units}, it serves no more than {found.context_units}"
        )
    version = "" if found.version == UNKNOWN else f" {found.version}"
    stated = spec.weights_digest if any(spec.weights_digest) else found.digest
    return EngineInfo(
        model=(spec.model or found.served)[:128],
        precision=(spec.precision or found.precision)[:128],
        weights_digest=stated,
        build=f"{dialect.title}{version}"[:128],
        context_units=context_units,
        concurrency=spec.concurrency or found.places or CONCURRENCY,
        kinds=found.kinds,
        item_units_max=found.item_units,
    )


def _process_of(spec: HttpSpec) -> EngineProcess:
    address = urlsplit(spec.url)
    host, port = address.hostname or "", address.port or 80
    if not _is_loopback(host):
        raise UserError(
            f"engine {spec.name}: the node starts engines on loopback only, not at {host}: "
            "use 127.0.0.1 in `url`"
        )
    command = [part.replace("{host}", host).replace("{port}", str(port)) for part in spec.command]
    # The node's own settings may hold passwords and keys; an engine needs none of them.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_SECRETS)}
    return EngineProcess(
        spec.name, command, inherited | dict(spec.environment or {}), spec.log_file
    )


def _require_private(spec: HttpSpec, process: EngineProcess) -> None:
    """An engine that listens to the network serves it for free.

    Raises:
        UserError: It does.
    """
    for address in process.listens_at():
        if not _is_loopback(address):
            raise UserError(
                f"it listens at {address}, where others reach it: have it listen at 127.0.0.1 "
                "only (vLLM, SGLang and llama.cpp: add `--host`, `{host}` to `command`)"
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
