"""What the demo tells its audience, whoever that is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rowen.cli.demo_document import (
    DemoAnswer,
    DemoAudit,
    DemoDocument,
    DemoProvider,
    DemoRecovery,
    DemoSettlement,
)
from rowen.engine.models import Progress


class Screen(Protocol):
    """Called as things happen; must not block."""

    def opening(self) -> None:
        """The curtain."""
        ...

    def downloading(self, name: str) -> AbstractContextManager[Progress | None]:
        """While the model is fetched."""
        ...

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """While something takes seconds and shows nothing itself."""
        ...

    def ready(self, what: str, facts: Sequence[str], elapsed_s: float) -> None:
        """A part of the stage stands."""
        ...

    def cast(self, providers: Sequence[DemoProvider]) -> None:
        """The providers are known by these names from now on."""
        ...

    def act(self, title: str, explanation: str) -> None:
        """An act begins."""
        ...

    def question(self, text: str) -> None:
        """The client asks."""
        ...

    def text(self, piece: str, provider: str) -> None:
        """A piece of the answer, and the address of who sent it."""
        ...

    def aside(self, note: str) -> None:
        """Something happens in the middle of an answer."""
        ...

    def answered(self, answer: DemoAnswer) -> None:
        """An answer is over and paid for."""
        ...

    def recovered(self, recovery: DemoRecovery) -> None:
        """The killed provider is back and in agreement with the client."""
        ...

    def settled(self, settlements: Sequence[DemoSettlement]) -> None:
        """Everything is claimed and paid out."""
        ...

    def audited(self, audits: Sequence[DemoAudit]) -> None:
        """Every bundle is judged."""
        ...

    def closing(self, document: DemoDocument) -> None:
        """The totals, side by side, and the end."""
        ...


class Silent:
    """Shows nothing: for ``--json``, and for tests."""

    def opening(self) -> None:
        """See ``Screen``."""

    def downloading(self, name: str) -> AbstractContextManager[Progress | None]:
        """See ``Screen``."""
        return nullcontext()

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """See ``Screen``."""
        return nullcontext()

    def ready(self, what: str, facts: Sequence[str], elapsed_s: float) -> None:
        """See ``Screen``."""

    def cast(self, providers: Sequence[DemoProvider]) -> None:
        """See ``Screen``."""

    def act(self, title: str, explanation: str) -> None:
        """See ``Screen``."""

    def question(self, text: str) -> None:
        """See ``Screen``."""

    def text(self, piece: str, provider: str) -> None:
        """See ``Screen``."""

    def aside(self, note: str) -> None:
        """See ``Screen``."""

    def answered(self, answer: DemoAnswer) -> None:
        """See ``Screen``."""

    def recovered(self, recovery: DemoRecovery) -> None:
        """See ``Screen``."""

    def settled(self, settlements: Sequence[DemoSettlement]) -> None:
        """See ``Screen``."""

    def audited(self, audits: Sequence[DemoAudit]) -> None:
        """See ``Screen``."""

    def closing(self, document: DemoDocument) -> None:
        """See ``Screen``."""
