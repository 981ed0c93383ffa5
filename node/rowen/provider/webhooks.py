"""Tells the owner's webhooks. A dead one costs nothing but its own messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog
import trio

from rowen.protocol.errors import UserError
from rowen.provider.alerts import Alert

log = structlog.get_logger("rowen.watch")

QUEUE_MAX = 64
TRIES_MAX = 6
FIRST_PAUSE_S = 2.0
PAUSE_S_MAX = 300.0
ANSWER_S = 10.0


class Webhooks:
    """Sends alerts to every URL, each with a queue and a task of its own.

    Attributes:
        outcomes: Messages ``delivered``, ``failed`` after the last try, and ``dropped`` because
            the queue was full.
    """

    WORDS: Final = ("delivered", "failed", "dropped")

    def __init__(self, urls: Sequence[str], *, node: str) -> None:
        """Connects to nothing yet.

        Args:
            urls: May hold access keys: only their hosts are ever said.
            node: Who speaks: the operator address.

        Raises:
            UserError: Not an http or https URL.
        """
        self.outcomes: Counter[str] = Counter()
        self._node = node
        self._hooks = [_Hook(url) for url in urls]

    def tell(self, alerts: Sequence[Alert], now_ms: int) -> None:
        """Queues messages; never waits."""
        for alert in alerts:
            message = self._message(alert, now_ms)
            for hook in self._hooks:
                try:
                    hook.send.send_nowait(message)
                except trio.WouldBlock:
                    self.outcomes["dropped"] += 1

    async def run(self) -> None:
        """Delivers until cancelled."""
        if not self._hooks:
            return
        # The system's proxies and .netrc are for people's browsers; a redirect is no receipt.
        async with (
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=ANSWER_S) as http,
            trio.open_nursery() as nursery,
        ):
            for hook in self._hooks:
                nursery.start_soon(self._deliver, hook, http)

    async def _deliver(self, hook: _Hook, http: httpx.AsyncClient) -> None:
        async for message in hook.receive:
            outcome = "delivered" if await _post(http, hook, message) else "failed"
            self.outcomes[outcome] += 1

    def _message(self, alert: Alert, now_ms: int) -> dict[str, object]:
        text = f"[{alert.state}] {alert.name} on {self._node}: {alert.text}"
        return {
            "id": f"{alert.name}-{alert.since_ms}-{alert.state}-{now_ms}",
            "node": self._node,
            "alert": alert.name,
            "severity": alert.severity,
            "state": alert.state,
            "since_ms": alert.since_ms,
            "at_ms": now_ms,
            # Slack, Mattermost and Rocket.Chat show `text`, Discord shows `content`.
            "text": text,
            "content": text,
        }


class _Hook:
    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError as error:
            raise UserError("[watch] webhooks: one of them is not a URL") from error
        if parts.scheme not in ("http", "https") or not host:
            raise UserError("[watch] webhooks: each must be an http:// or https:// URL")
        self.url = url
        self.host = host
        self.send, self.receive = trio.open_memory_channel[dict[str, object]](QUEUE_MAX)


async def _post(http: httpx.AsyncClient, hook: _Hook, message: dict[str, object]) -> bool:
    pause_s = FIRST_PAUSE_S
    for tried in range(1, TRIES_MAX + 1):
        try:
            with trio.fail_after(ANSWER_S):
                answer = await http.post(hook.url, json=message)
            why = "" if answer.is_success else f"HTTP {answer.status_code}"
        except (httpx.HTTPError, trio.TooSlowError) as error:
            # Not the exception's text: it may hold the whole URL.
            why = type(error).__name__
        if not why:
            return True
        log.warning("webhook failed", host=hook.host, tried=tried, why=why)
        if tried < TRIES_MAX:
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
    return False
