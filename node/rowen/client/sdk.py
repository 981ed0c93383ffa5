"""What developers import: ``AsyncClient`` on trio, and ``Client`` for everybody else."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import trio

from rowen.client.answer import Answer
from rowen.client.buyer import Buyer, open_buyer
from rowen.client.client import Client as CoreClient
from rowen.client.items import ItemsAnswer
from rowen.client.link import provider_of
from rowen.client.sync_answers import SyncAnswer, SyncItemsAnswer
from rowen.config import Config, load_config
from rowen.home import Home
from rowen.protocol.amounts import parse_usd
from rowen.protocol.errors import UserError
from rowen.protocol.jobs import Message
from rowen.protocol.vectors import Vector
from rowen_scheduler.market import Offer
from rowen_scheduler.selection import Rejection, Sort

T = TypeVar("T")

Messages = str | Iterable[Message | dict[str, str]]


class AsyncClient:
    """Buys answers; use it with ``async with``, on trio.

    Args:
        home: The node's directory; ``ROWEN_HOME`` or ``~/.rowen`` by default.
        password: Of its keys; by default read from the file that ``rowen init`` wrote.
        config: Settings; by default read from the home.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        password: str | None = None,
        config: Config | None = None,
    ) -> None:
        self._home = Home(Path(home)) if home is not None else Home.default()
        self._password = password
        self._config = config
        self._stack = AsyncExitStack()
        self._buyer: Buyer | None = None

    async def __aenter__(self) -> Self:
        self._config = self._config or load_config(self._home.config)
        password = self._home.read_password() if self._password is None else self._password
        self._buyer = await self._stack.enter_async_context(
            open_buyer(self._home, self._config, password)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._buyer = None
        return await self._stack.__aexit__(kind, error, trace)

    @property
    def buyer(self) -> Buyer:
        """Channels and wallet.

        Raises:
            UserError: Used outside ``async with``.
        """
        if self._buyer is None:
            raise UserError("use the client inside `with` (or `async with`)")
        return self._buyer

    @property
    def _core(self) -> CoreClient:
        client = self.buyer.client
        assert client is not None
        return client

    def chat(
        self,
        messages: Messages,
        *,
        model: str,
        max_cost: str | None = None,
        max_output: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        providers: Iterable[str] = (),
        sort: str = "price",
    ) -> Answer:
        """Asks; iterate over the answer inside ``async with`` for its text.

        Args:
            messages: A question, or the turns of a conversation: ``Message``, or dicts with
                ``role`` and ``content`` as in OpenAI's API.
            model: Name in the offers; ``model:precision`` for one precision.
            max_cost: The answer never costs more, in US dollars such as "0.01"; by default
                what the settings say.
            max_output: Longest answer, in tokens.
            temperature: 0 for greedy.
            top_p: Nucleus cut.
            seed: Of the sampler.
            stop: Texts that end the answer.
            providers: Multiaddresses or 0x addresses to choose from; all known by default.
            sort: What counts most: ``price``, or by what providers claim ``throughput``,
                ``latency`` or ``energy``.

        Raises:
            UserError: The request is malformed, or this is outside ``async with``.
        """
        return self._core.chat(
            messages if isinstance(messages, str) else [_message(turn) for turn in messages],
            model=model,
            max_cost=self._cost(max_cost),
            max_output=max_output,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=stop,
            providers=[provider_of(provider) for provider in providers],
            sort=_sort(sort),
        )

    def complete(
        self,
        prompt: str,
        *,
        model: str,
        max_cost: str | None = None,
        max_output: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        providers: Iterable[str] = (),
        sort: str = "price",
    ) -> Answer:
        """Has a text gone on with, as it is; no chat template is put around it.

        Args:
            prompt: The text.
            model: As for ``chat``, and so are the others.
            max_cost: In US dollars, such as "0.01".
            max_output: Longest answer, in tokens.
            temperature: 0 for greedy.
            top_p: Nucleus cut.
            seed: Of the sampler.
            stop: Texts that end the answer.
            providers: Multiaddresses or 0x addresses to choose from; all known by default.
            sort: What counts most: ``price``, or by what providers claim ``throughput``,
                ``latency`` or ``energy``.

        Raises:
            UserError: The request is malformed, or this is outside ``async with``.
        """
        return self._core.complete(
            prompt,
            model=model,
            max_cost=self._cost(max_cost),
            max_output=max_output,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=stop,
            providers=[provider_of(provider) for provider in providers],
            sort=_sort(sort),
        )

    def embed(
        self,
        texts: Iterable[str],
        *,
        model: str,
        max_cost: str | None = None,
        providers: Iterable[str] = (),
        sort: str = "price",
    ) -> ItemsAnswer[Vector]:
        """Has texts turned into vectors; iterate inside ``async with``, or ``read`` them all.

        Args:
            texts: At most 64.
            model: As for ``chat``.
            max_cost: For all of them, in US dollars such as "0.01".
            providers: Multiaddresses or 0x addresses to choose from; all known by default.
            sort: As for ``chat``.

        Raises:
            UserError: The request is malformed, or this is outside ``async with``.
        """
        return self._core.embed(
            texts,
            model=model,
            max_cost=self._cost(max_cost),
            providers=[provider_of(provider) for provider in providers],
            sort=_sort(sort),
        )

    def ocr(
        self,
        pages: Iterable[bytes],
        *,
        model: str,
        max_cost: str | None = None,
        providers: Iterable[str] = (),
        sort: str = "price",
    ) -> ItemsAnswer[str]:
        """Has pictures of pages read; iterate inside ``async with``, or ``read`` them all.

        Args:
            pages: PNG or JPEG, at most 64 and a megabyte together.
            model: As for ``chat``.
            max_cost: For all of them, in US dollars such as "0.01".
            providers: Multiaddresses or 0x addresses to choose from; all known by default.
            sort: As for ``chat``.

        Raises:
            UserError: The request is malformed, or this is outside ``async with``.
        """
        return self._core.ocr(
            pages,
            model=model,
            max_cost=self._cost(max_cost),
            providers=[provider_of(provider) for provider in providers],
            sort=_sort(sort),
        )

    def _cost(self, max_cost: str | None) -> int:
        if max_cost is not None:
            return parse_usd(max_cost)
        assert self._config is not None
        return self._config.client.max_cost.units

    async def offers(self) -> tuple[list[Offer], list[Rejection]]:
        """What every known provider sells now, and why there is nothing from the others."""
        return await self._core.offers()


class Client:
    """``AsyncClient`` for programs without trio: it runs in a thread of its own.

    Takes the same arguments. Use it with ``with``; safe to share between threads.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        password: str | None = None,
        config: Config | None = None,
    ) -> None:
        self._async = AsyncClient(home, password=password, config=config)
        self._token: trio.lowlevel.TrioToken | None = None
        self._stop: trio.Event | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="rowen-client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None and self._stop is not None and self._thread.is_alive():
            self._token.run_sync_soon(self._stop.set)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def chat(self, messages: Messages, *, model: str, **options: Any) -> SyncAnswer:
        """Asks; iterate over the answer for its text. See ``AsyncClient.chat``."""
        return self._answer(self._async.chat, messages, model, options)

    def complete(self, prompt: str, *, model: str, **options: Any) -> SyncAnswer:
        """Has a text gone on with. See ``AsyncClient.complete``."""
        return self._answer(self._async.complete, prompt, model, options)

    def offers(self) -> tuple[list[Offer], list[Rejection]]:
        """See ``AsyncClient.offers``."""
        return self._call(self._async.offers)

    def embed(self, texts: Iterable[str], *, model: str, **options: Any) -> SyncItemsAnswer[Vector]:
        """Has texts turned into vectors. See ``AsyncClient.embed``."""

        async def start() -> ItemsAnswer[Vector]:
            return self._async.embed(texts, model=model, **options)

        return SyncItemsAnswer(self._call(start), self._call)

    def ocr(self, pages: Iterable[bytes], *, model: str, **options: Any) -> SyncItemsAnswer[str]:
        """Has pictures of pages read. See ``AsyncClient.ocr``."""

        async def start() -> ItemsAnswer[str]:
            return self._async.ocr(pages, model=model, **options)

        return SyncItemsAnswer(self._call(start), self._call)

    def _answer(
        self, ask: Callable[..., Answer], said: Messages, model: str, options: dict[str, Any]
    ) -> SyncAnswer:
        async def start() -> Answer:
            return ask(said, model=model, **options)

        return SyncAnswer(self._call(start), self._call)

    def _call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        if self._token is None or not self._thread.is_alive():
            raise UserError("use the client inside `with`")
        try:
            return trio.from_thread.run(function, *arguments, trio_token=self._token)
        except (trio.RunFinishedError, trio.Cancelled) as error:
            # Another thread left `with` meanwhile. Not our own cancellation: this thread has none.
            raise UserError("the client was closed: use it inside `with`") from error

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._stop = trio.Event()
        async with self._async:
            self._token = trio.lowlevel.current_trio_token()
            self._ready.set()
            await self._stop.wait()


def _sort(word: str) -> Sort:
    try:
        return Sort(word)
    except ValueError as error:
        raise UserError(f"sort={word!r}: expected one of {', '.join(Sort)}") from error


def _message(turn: Message | dict[str, str]) -> Message:
    if isinstance(turn, Message):
        return turn
    try:
        return msgspec.convert(turn, type=Message)
    except msgspec.ValidationError as error:
        raise UserError(f"malformed message: {error}") from error
