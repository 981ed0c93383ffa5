"""One JSON-RPC endpoint: web3's synchronous HTTP provider in threads of its own.

Only ``HTTPProvider`` of web3 is used, raw: no middleware (5 ms of CPU a call), no retries
(web3 would send a transaction again behind our back) and so no CCIP-read either, which
would let a contract make this node fetch a URL (EIP-3668; threat 40).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import trio

from rowen.chain.foreign import recursion_limit_kept
from rowen.protocol.errors import Unavailable, UserError

if TYPE_CHECKING:
    from requests import Session
    from web3 import HTTPProvider

THREADS_MAX: Final = 4
BATCH_MAX: Final = 100
"""Calls in one HTTP request; public endpoints refuse more."""

TIMEOUT_S: Final = 10.0


class RpcError(Unavailable):
    """The endpoint answered with a JSON-RPC error.

    Attributes:
        reason: Its message.
        data: What a reverted call returned; b"" if nothing.
    """

    def __init__(self, endpoint: str, method: str, reason: str, data: bytes) -> None:
        super().__init__(f"{endpoint} refuses {method}: {reason}")
        self.reason = reason
        self.data = data


class Rpc:
    """A connection to one endpoint. Close it with ``aclose``.

    Attributes:
        endpoint: Scheme, host and port. The rest of the URL may be an access key and
            appears in no message.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Opens nothing yet.

        Raises:
            UserError: Not an http or https URL.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UserError("the RPC endpoint is not a URL") from error
        if parts.scheme not in ("http", "https") or not host:
            raise UserError("the RPC endpoint must be an http:// or https:// URL")
        self.endpoint = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        self._url = url
        self._timeout_s = timeout_s
        self._threads = trio.CapacityLimiter(THREADS_MAX)
        self._opening = trio.Lock()
        self._provider: HTTPProvider | None = None
        self._session: Session | None = None

    def __repr__(self) -> str:
        return f"Rpc({self.endpoint})"

    async def call(self, method: str, *params: object) -> Any:
        """The result of one call.

        Raises:
            RpcError: The endpoint says no.
            Unavailable: It does not answer, or not in JSON-RPC.
        """
        provider = await self._open()
        answer = await self._in_thread(provider.make_request, method, params)
        return self._result(method, answer)

    async def batch(self, calls: Sequence[tuple[str, tuple[object, ...]]]) -> list[Any]:
        """The results of many calls, in their order; fails as ``call`` if one of them does."""
        provider = await self._open()
        results: list[Any] = []
        for start in range(0, len(calls), BATCH_MAX):
            part = list(calls[start : start + BATCH_MAX])
            answers = await self._in_thread(provider.make_batch_request, part)
            # An endpoint without batches answers with one error.
            if not isinstance(answers, list) or len(answers) != len(part):
                raise Unavailable(f"{self.endpoint} does not answer a batch of {len(part)} calls")
            results += [
                self._result(method, answer)
                for (method, _), answer in zip(part, answers, strict=True)
            ]
        return results

    async def clock_s(self) -> float | None:
        """The endpoint's clock, Unix time, as its ``Date`` header says; None if it has none.

        Raises:
            Unavailable: It does not answer.
        """
        await self._open()
        date = await self._in_thread(self._date)
        try:
            return None if date is None else parsedate_to_datetime(date).timestamp()
        except ValueError:
            return None

    def _date(self) -> str | None:
        assert self._session is not None
        call = {"jsonrpc": "2.0", "id": 0, "method": "eth_chainId", "params": []}
        answer = self._session.post(
            self._url, json=call, timeout=self._timeout_s, allow_redirects=False
        )
        return answer.headers.get("Date")

    async def aclose(self) -> None:
        """Closes idle connections. Never raises."""
        await trio.lowlevel.checkpoint()
        if self._session is not None:
            self._session.close()

    @contextmanager
    def reading(self, method: str) -> Iterator[None]:
        """Around what takes an answer apart: one of the wrong shape is ``Unavailable``."""
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise Unavailable(
                f"{self.endpoint} answers {method} with nonsense: {error!r:.200}"
            ) from error

    async def _open(self) -> HTTPProvider:
        async with self._opening:
            if self._provider is None:
                # Importing web3 takes seconds and does not count against the time limit.
                self._provider = await trio.to_thread.run_sync(self._connect)
            return self._provider

    def _connect(self) -> HTTPProvider:
        from requests import Session

        with recursion_limit_kept():
            from web3 import HTTPProvider

        for library in ("web3", "urllib3"):
            # Their debug logs hold whole URLs, and so access keys.
            logging.getLogger(library).setLevel(logging.WARNING)
        self._session = Session()
        # The system's proxy settings and .netrc are for people's browsers.
        self._session.trust_env = False
        provider = HTTPProvider(
            self._url,
            request_kwargs={"timeout": self._timeout_s, "allow_redirects": False},
            session=self._session,
            exception_retry_configuration=None,
        )
        provider.global_ccip_read_enabled = False
        return provider

    async def _in_thread(self, function: Any, *args: object) -> Any:
        """Runs a blocking request; a thread that hangs is left behind and keeps its slot."""
        from requests import RequestException

        try:
            with trio.fail_after(self._timeout_s * 1.5):
                return await trio.to_thread.run_sync(
                    function, *args, abandon_on_cancel=True, limiter=self._threads
                )
        except (trio.TooSlowError, RequestException, ValueError, TypeError, KeyError) as error:
            # Not the exception's text: requests puts the whole URL into it.
            raise Unavailable(
                f"{self.endpoint} does not answer ({type(error).__name__}): check that the node"
                " behind chain.rpc runs and can be reached"
            ) from error

    def _result(self, method: str, answer: Any) -> Any:
        with self.reading(method):
            error = answer.get("error")
            if error is None:
                return answer["result"]
            data = error.get("data")
            raw = from_hex(data) if isinstance(data, str) and data.startswith("0x") else b""
            reason = str(error.get("message", ""))[:300]
        raise RpcError(self.endpoint, method, reason, raw)


def quantity(text: Any) -> int:
    """A JSON-RPC quantity, such as ``"0x1f"``.

    Raises:
        ValueError: Not one.
    """
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError(f"{text!r:.80} is not a quantity")
    return int(text, 16)


def from_hex(text: Any, size: int | None = None) -> bytes:
    """JSON-RPC data, such as ``"0x00ff"``.

    Raises:
        ValueError: Not data, or not of that size in bytes.
    """
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError(f"{text!r:.80} is not data")
    raw = bytes.fromhex(text[2:])
    if size is not None and len(raw) != size:
        raise ValueError(f"data has {len(raw)} bytes, expected {size}")
    return raw


def to_hex(data: bytes) -> str:
    """JSON-RPC data."""
    return "0x" + data.hex()
