"""Several bundles in one folder: one of each provider, judged together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import asdict, replace

from rowen.auditor.verdict import Anchor, Pins, Status, Verdict
from rowen.auditor.verify import verify
from rowen.protocol.audit_channel import Figures
from rowen.protocol.audit_findings import Finding, Kind, printable
from rowen.protocol.evidence import CHECKSUM, MANIFEST

BUNDLES_MAX: Final = 1_000

# The worst decides. A contradiction is certain knowledge; a folder that is no bundle is none.
_WORST_FIRST: Final = (Status.FAILED, Status.MALFORMED, Status.UNDETERMINED, Status.VERIFIED)
_SUBJECT: Final = ("chain_id", "escrow", "provider")


def verify_all(
    path: Path,
    pins: Pins | None = None,
    *,
    judge: Callable[[Path, Pins | None], Verdict] = verify,
) -> Verdict:
    """Judges the bundle in a folder, or every bundle in it when it holds nothing else.

    In a collection each entry must be a bundle, about a provider of its own: one that is not
    makes the whole malformed, so that a bundle whose manifest was taken away does not pass
    unnoticed, and no money counts twice.

    Args:
        path: A bundle, or a folder of bundles.
        pins: What the auditor knows from elsewhere; they hold for every bundle.
        judge: How one bundle is judged.
    """
    entries = _collection(path)
    if not entries:
        return judge(path, pins)
    judged = [(printable(entry.name), _judged(entry, pins, judge)) for entry in entries]
    judged = list(_without_repetition(judged))
    verdicts = [verdict for _, verdict in judged]
    return Verdict(
        status=min((v.status for v in verdicts), key=_WORST_FIRST.index),
        figures=_sum([v.figures for v in verdicts]),
        checked_against=tuple(
            Anchor(f"{name}/{anchor.name}", anchor.value, anchor.is_pinned)
            for name, verdict in judged
            for anchor in verdict.checked_against
        ),
        findings=tuple(
            _placed(name, finding) for name, verdict in judged for finding in verdict.findings
        ),
    )


def _judged(
    entry: Path, pins: Pins | None, judge: Callable[[Path, Pins | None], Verdict]
) -> Verdict:
    if entry.is_symlink():
        return _malformed(Verdict(status=Status.VERIFIED), "a link, which is not followed")
    return judge(entry, pins)


def _without_repetition(judged: Iterable[tuple[str, Verdict]]) -> Iterator[tuple[str, Verdict]]:
    """Two bundles about one provider would count its money twice."""
    subject_to_name: dict[tuple[str, ...], str] = {}
    for name, verdict in judged:
        subject = tuple(a.value for a in verdict.checked_against if a.name in _SUBJECT)
        is_sound = verdict.status in (Status.VERIFIED, Status.UNDETERMINED)
        if is_sound and (first := subject_to_name.setdefault(subject, name)) is not name:
            detail = f"about the same provider as {first}: verify them one by one"
            yield name, _malformed(verdict, detail)
        else:
            yield name, verdict


def _malformed(verdict: Verdict, detail: str) -> Verdict:
    finding = Finding(kind=Kind.MALFORMED, file="", detail=detail)
    return replace(
        verdict, status=Status.MALFORMED, figures=Figures(), findings=(finding, *verdict.findings)
    )


def _collection(path: Path) -> list[Path]:
    """The entries of a folder of bundles, by name; [] when it is none."""
    try:
        entries = sorted(islice(path.iterdir(), BUNDLES_MAX + 1))
    except OSError:
        # `verify` says what is wrong with it.
        return []
    names = {entry.name for entry in entries}
    if names & {MANIFEST, CHECKSUM} or len(entries) > BUNDLES_MAX:
        return []
    return entries if any(_is_bundle(entry) for entry in entries) else []


def _is_bundle(path: Path) -> bool:
    return any((path / name).is_file() for name in (MANIFEST, CHECKSUM))


def _placed(name: str, finding: Finding) -> Finding:
    return replace(finding, file=f"{name}/{finding.file}" if finding.file else name)


def _sum(figures: list[Figures]) -> Figures:
    keys = [field.name for field in msgspec.structs.fields(Figures)]
    rows = [asdict(each) for each in figures]
    return Figures(**{key: sum(row[key] for row in rows) for key in keys})
