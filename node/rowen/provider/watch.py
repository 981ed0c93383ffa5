"""Watches over one node: health pages, metrics, and alerts to its owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus

import structlog
import trio

from rowen.config import WatchConfig
from rowen.metrics import CONTENT_TYPE, render
from rowen.protocol.ids import format_address
from rowen.provider import readiness
from rowen.provider.alerts import Memory, judge, raised
from rowen.provider.exposition import samples
from rowen.provider.lease_reports import GpuReport
from rowen.provider.node import Provider
from rowen.provider.observing import Observed, Observer
from rowen.provider.pages import Page, parse_place, serve_pages
from rowen.provider.readiness import Condition
from rowen.provider.readings import ALERTS, Surroundings, readings_of
from rowen.provider.webhooks import Webhooks
from rowen_scheduler.placement import Why

log = structlog.get_logger("rowen.watch")


class Watch:
    """See the module.

    Attributes:
        address: Where the pages are, such as ``http://127.0.0.1:4138``; empty when nowhere.
    """

    def __init__(
        self,
        provider: Provider,
        observer: Observer,
        gpus: Callable[[], Sequence[GpuReport]],
        config: WatchConfig,
        now_ms: Callable[[], int],
    ) -> None:
        """Opens nothing yet.

        Args:
            provider: The node.
            observer: Looks at its surroundings.
            gpus: What the leases say of each GPU now.
            config: The owner's.
            now_ms: Wall clock, Unix milliseconds.

        Raises:
            UserError: ``listen`` or a webhook is malformed.
        """
        self.address = ""
        self._provider = provider
        self._observer = observer
        self._gpus = gpus
        self._config = config
        self._now_ms = now_ms
        self._place = parse_place(config.listen) if config.listen else None
        self._webhooks = Webhooks(config.webhooks, node=format_address(provider.key.address))
        self._memory: Memory = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watches until cancelled; started once the pages answer.

        Raises:
            UserError: The port is taken.
            JournalFailed: The disk failed.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._observer.watch, self._config.interval_s)
            nursery.start_soon(self._webhooks.run)
            nursery.start_soon(self._alert)
            if self._place is not None:
                pages = {
                    "/livez": self._livez,
                    "/readyz": self._readyz,
                    "/metrics": self._metrics,
                }
                self.address = await nursery.start(serve_pages, self._place, pages)
            task_status.started()

    def conditions(self) -> list[Condition]:
        """What the node needs, and has or has not."""
        seen = self._observer.seen
        places = self._provider.addresses
        return [
            Condition("network", "" if places else "listening nowhere"),
            Condition("chain", seen.chain.why),
            Condition("engine", seen.engine.why),
            Condition("lease", self._provider.closed),
            Condition("disk", seen.disk.why),
        ]

    @property
    def seen(self) -> Observed:
        """What is known of the surroundings."""
        return self._observer.seen

    @property
    def raised(self) -> list[str]:
        """Alerts the owner was told of and that are not over."""
        return raised(self._memory)

    async def _alert(self) -> None:
        while True:
            await trio.sleep(self._config.interval_s)
            now_ms = self._now_ms()
            around = Surroundings(
                seen=self._observer.seen,
                at_risk=self._provider.books.at_risk(),
                gpus_lost=sum(gpu.why == Why.LOST for gpu in self._gpus()),
                now_ms=now_ms,
                now_s=trio.current_time(),
            )
            readings = readings_of(around, self._config)
            self._memory, alerts = judge(self._memory, readings, now_ms)
            for alert in alerts:
                log.warning("alert", alert=alert.name, state=alert.state, text=alert.text)
            self._webhooks.tell(alerts, now_ms)

    async def _livez(self, _query: str) -> Page:
        # That it is answered at all says that the process and its loop live.
        await trio.lowlevel.checkpoint()
        return Page(HTTPStatus.OK, b"alive\n")

    async def _readyz(self, query: str) -> Page:
        await trio.lowlevel.checkpoint()
        conditions = self.conditions()
        is_ready = readiness.is_ready(conditions)
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        text = readiness.page(conditions, is_verbose=query == "verbose")
        return Page(status, text.encode())

    async def _metrics(self, _query: str) -> Page:
        now_ms = self._now_ms()
        raised_now = self.raised
        page = samples(
            self._provider,
            self._observer.seen,
            now_ms=now_ms,
            at_risk=self._provider.books.at_risk(),
            conditions=self.conditions(),
            alerts={name: name in raised_now for name in ALERTS},
            gpus=self._gpus(),
            webhooks={word: self._webhooks.outcomes[word] for word in Webhooks.WORDS},
        )
        # Reads /proc, so in a thread.
        body = await trio.to_thread.run_sync(render, list(page))
        return Page(HTTPStatus.OK, body, CONTENT_TYPE)
