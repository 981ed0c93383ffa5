"""Whether a node can take work now, and what stands in the way. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Condition:
    """Something a node needs for work.

    Attributes:
        name: A stable word.
        why: Empty when it is met; else what stands in the way.
    """

    name: str
    why: str

    @property
    def is_met(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.why


def is_ready(conditions: Sequence[Condition]) -> bool:
    """Whether all are met."""
    return all(condition.is_met for condition in conditions)


def page(conditions: Sequence[Condition], *, is_verbose: bool) -> str:
    """What ``/readyz`` says, in the manner of Kubernetes: each unmet condition, or all of them."""
    lines = [
        f"[+] {c.name}: ok" if c.is_met else f"[-] {c.name}: {c.why}"
        for c in conditions
        if is_verbose or not c.is_met
    ]
    lines.append("ready" if is_ready(conditions) else "not ready")
    return "\n".join(lines) + "\n"
