"""A rate with a burst, as plain bookkeeping: the time is passed in and nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """A rate with a burst.

    Attributes:
        rate_per_s: Tokens added per second.
        burst: The most tokens it holds, and what it starts with.
    """

    rate_per_s: float
    burst: int
    tokens: float = field(init=False)
    refilled_at_s: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, now_s: float) -> bool:
        """Take one token if there is one."""
        self._refill(now_s)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def spend(self, now_s: float, tokens: int) -> float:
        """Take these tokens, on credit if need be.

        Returns:
            Seconds until the credit is paid back; 0 when there is none.
        """
        self._refill(now_s)
        self.tokens -= tokens
        return max(0.0, -self.tokens / self.rate_per_s)

    def _refill(self, now_s: float) -> None:
        elapsed_s = now_s - self.refilled_at_s
        self.refilled_at_s = now_s
        self.tokens = min(self.burst, self.tokens + elapsed_s * self.rate_per_s)
