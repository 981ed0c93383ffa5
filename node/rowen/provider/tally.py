"""What this node did since it started: jobs by outcome, refusals by reason, units by kind."""

from __future__ import annotations

from collections import Counter

from rowen.protocol.errors import Reason
from rowen.protocol.jobs import Finish
from rowen.protocol.statements import Receipt


class Tally:
    """Counted where it happens; read by metrics and status. Succeeded and failed stay apart.

    Attributes:
        jobs: Jobs that ended, by how.
        refusals: Orders and clients turned away, by why.
        units: Of the jobs that ended: ``input``, ``cached`` (a part of it) and ``output``.
    """

    def __init__(self) -> None:
        self.jobs: Counter[Finish] = Counter()
        self.refusals: Counter[Reason] = Counter()
        self.units: Counter[str] = Counter()

    def ended(self, last: Receipt, finish: Finish) -> None:
        """A job ended. Its last receipt is the reading of the whole job."""
        self.jobs[finish] += 1
        self.units["input"] += last.input_units
        self.units["cached"] += last.cached_units
        self.units["output"] += last.output_units

    def refused(self, reason: Reason) -> None:
        """A client heard no."""
        self.refusals[reason] += 1
