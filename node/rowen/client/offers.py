"""Asks many providers for their offers, and waits for the silent ones only as long as it pays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from rowen.protocol.errors import RowenError
from rowen_scheduler.market import Offer
from rowen_scheduler.selection import Rejection

Ask = Callable[[bytes, str], Awaitable[Offer]]


class Asker:
    """Remembers who was slow, so that one dead provider does not delay every question."""

    def __init__(self, ask: Ask, *, offer_wait_s: float, silence_s: float) -> None:
        """Asks nothing yet.

        Args:
            ask: One provider, by its address and multiaddress. Bounds its own time.
            offer_wait_s: Once there is an offer, how long all may have taken together.
            silence_s: How long one that took longer is not waited for again.
        """
        self._ask = ask
        self._offer_wait_s = offer_wait_s
        self._silence_s = silence_s
        self._provider_to_silent_until: dict[bytes, float] = {}

    async def offers(
        self, addresses: Mapping[bytes, str], *, patiently: bool
    ) -> tuple[list[Offer], list[Rejection]]:
        """Asks all of them at once.

        Args:
            addresses: Multiaddresses by provider.
            patiently: Waits for silent providers although others have made offers.

        Returns:
            The offers, and why there is none from the others.
        """
        silent = {} if patiently else self._silent(addresses)
        rejections = [
            Rejection(provider, f"it did not answer lately; it is asked again in {left_s:.0f} s")
            for provider, left_s in silent.items()
        ]
        asking = {p: address for p, address in addresses.items() if p not in silent}
        offers: list[Offer] = []
        enough = trio.Event()

        async def ask(provider: bytes, address: str) -> None:
            try:
                offers.append(await self._ask(provider, address))
                enough.set()
            except trio.TooSlowError:
                return
            except RowenError as error:
                rejections.append(Rejection(provider, str(error)))
            del asking[provider]

        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as asks:
                for provider, address in list(asking.items()):
                    asks.start_soon(ask, provider, address)
                if not patiently:
                    nursery.start_soon(self._lose_patience, enough, asks.cancel_scope)
            nursery.cancel_scope.cancel()
        until = trio.current_time() + self._silence_s
        for provider in asking:
            self._provider_to_silent_until[provider] = until
            rejections.append(Rejection(provider, "it did not answer in time"))
        return offers, rejections

    def _silent(self, addresses: Mapping[bytes, str]) -> dict[bytes, float]:
        """Whom not to wait for, and for how many seconds more; nobody if nobody else is left."""
        now = trio.current_time()
        silent = self._provider_to_silent_until
        for provider in [provider for provider, until in silent.items() if until <= now]:
            del silent[provider]
        if addresses.keys() <= silent.keys():
            return {}
        return {p: until - now for p, until in silent.items() if p in addresses}

    async def _lose_patience(self, enough: trio.Event, asks: trio.CancelScope) -> None:
        await trio.sleep(self._offer_wait_s)
        await enough.wait()
        asks.cancel()
