"""What an auditor found: each finding names its item, so that a person can look at it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

FINDINGS_MAX: Final = 1_000
"""An audit ends early after so many; what follows from them would fill pages."""

DETAIL_CHARS_MAX: Final = 500


class Kind(StrEnum):
    """How a finding weighs. Stable: programs branch on these words."""

    FAILED = "failed"
    """Something contradicts what was signed, computed or proven."""
    FRAUD = "fraud"
    """The same, and the provider's own signatures prove it to anyone."""
    MISSING = "missing"
    """Evidence is not there, so nothing can be said."""
    MALFORMED = "malformed"
    """This is not an evidence bundle."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it must be.

    Attributes:
        kind: See ``Kind``.
        file: Of the bundle, or "" when it is about the bundle as a whole.
        detail: The rule, in a sentence.
        record: Position in the file, from 0.
        channel: Its id, 0x and 64 digits, or "".
        sequence: Of the receipt.
        field: What differs, or "".
        expected: What the rule demands, or "".
        actual: What stands there, or "".
    """

    kind: Kind
    file: str
    detail: str
    record: int | None = None
    channel: str = ""
    sequence: int | None = None
    field: str = ""
    expected: str = ""
    actual: str = ""

    def __str__(self) -> str:
        where = [self.file] if self.file else []
        if self.record is not None:
            where.append(f"record {self.record}")
        if self.channel:
            where.append(f"channel {self.channel}")
        if self.sequence is not None:
            where.append(f"sequence {self.sequence}")
        if self.field:
            where.append(self.field)
        text = ": ".join(part for part in (self.kind.value, ", ".join(where), self.detail) if part)
        if self.expected or self.actual:
            text += f": expected {self.expected or 'none'}, found {self.actual or 'none'}"
        return text


class Enough(Exception):
    """``FINDINGS_MAX`` is reached."""


class Findings:
    """Collects findings, up to a limit."""

    def __init__(self, limit: int = FINDINGS_MAX) -> None:
        self.items: list[Finding] = []
        self._limit = limit

    def add(
        self,
        kind: Kind,
        file: str,
        detail: str,
        *,
        record: int | None = None,
        channel: bytes = b"",
        sequence: int | None = None,
        field: str = "",
        expected: object = "",
        actual: object = "",
    ) -> None:
        """Keeps one more.

        Raises:
            Enough: It was the last that fits.
        """
        self.items.append(
            Finding(
                kind=kind,
                file=file,
                detail=printable(detail),
                record=record,
                channel=shown(channel) if channel else "",
                sequence=sequence,
                field=field,
                expected=shown(expected),
                actual=shown(actual),
            )
        )
        if len(self.items) >= self._limit:
            raise Enough


def printable(text: str) -> str:
    """The text on one line and without control characters, cut at ``DETAIL_CHARS_MAX``.

    A decoder may quote what it could not read, and that is a stranger's; a terminal obeys it.
    """
    cut = text if len(text) <= DETAIL_CHARS_MAX else text[: DETAIL_CHARS_MAX - 1] + "…"
    return "".join(char if char.isprintable() else "�" for char in cut)


def shown(value: object) -> str:
    """A value as findings print it: hashes and addresses in hexadecimal."""
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
