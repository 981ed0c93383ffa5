"""Providers that could not serve: who is passed over, who is asked again and when, what to say."""

from __future__ import annotations

import math
from typing import Final

from rowen.protocol.errors import Reason, Refused, RowenError, Unavailable, UserError
from rowen.protocol.ids import format_address
from rowen_scheduler.selection import Rejection

AGAIN_S_MIN: Final = 0.25
"""A provider that says "at once" is asked again after so long."""

_ADVICE: Final = {
    Reason.COST_ABOVE_MAX: "raise max_cost",
    Reason.CHANNEL_UNLOCKING: (
        "the channel is being closed; take its rest with `rowen channel close PROVIDER --unlock` "
        "when it is due, and open it again"
    ),
}
"""What a person can do about a refusal that the same question would meet again."""


class Refusals:
    """Who could not serve an answer, or not go on with it.

    Times are seconds on a clock that nobody sets.

    Attributes:
        all: Who and why, in order.
    """

    def __init__(self) -> None:
        self.all: list[Rejection] = []
        self._advised: Refused | None = None
        self._provider_to_again_s: dict[bytes, float] = {}

    @property
    def providers(self) -> frozenset[bytes]:
        """Who is passed over."""
        return frozenset(refusal.provider for refusal in self.all)

    @property
    def again_s(self) -> float:
        """When the first who named a time is to be asked again; infinity if none did."""
        return min(self._provider_to_again_s.values(), default=math.inf)

    def add(self, provider: bytes, error: RowenError, now_s: float) -> None:
        """Passes this provider over from now on, or until it said to be asked again."""
        self.all.append(Rejection(provider, str(error)))
        if not isinstance(error, Refused):
            return
        if error.reason in _ADVICE:
            self._advised = self._advised or error
        if error.retry_ms is not None:
            pause_s = max(AGAIN_S_MIN, error.retry_ms / 1000)
            self._provider_to_again_s[provider] = now_s + pause_s

    def forget_due(self, now_s: float) -> frozenset[bytes]:
        """Forgets those who can be asked again now, and says who they are."""
        due = frozenset(
            provider for provider, at_s in self._provider_to_again_s.items() if at_s <= now_s
        )
        for provider in due:
            del self._provider_to_again_s[provider]
        self.all = [refusal for refusal in self.all if refusal.provider not in due]
        return due

    def nobody(
        self, model: str, others: list[Rejection], no_money: UserError | None, *, is_begun: bool
    ) -> RowenError:
        """The error when none is left.

        Args:
            model: What was asked for.
            others: Who was not even tried, and why.
            no_money: Why an order could not be paid for, if one could not.
            is_begun: Whether text came already: then who was away matters more than what a person
                could do about the rest.
        """
        said = self._explained(model, others)
        if not is_begun:
            # With more money it would work, so that is what to say, whoever else was away.
            if no_money is not None:
                return UserError(f"{no_money}\n{said}") if self.all else no_money
            if self._advised is not None:
                return UserError(f"{_ADVICE[self._advised.reason]}: {self._advised.detail}\n{said}")
        return Unavailable(said)

    def _explained(self, model: str, others: list[Rejection]) -> str:
        lines = [f"no provider can serve {model}:"]
        # Who was tried is passed over the second time; what it said then is the reason.
        tried = self.providers
        untried = [rejection for rejection in others if rejection.provider not in tried]
        lines += [f"  {format_address(r.provider)}: {r.why}" for r in (*self.all, *untried)]
        if len(lines) == 1:
            lines.append("  no provider is known: name one with --provider")
        return "\n".join(lines)
