"""The demo's last word: it agrees only when everybody does."""

import io
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console
from tests.unit.cli.command_line import CommandLine

from rowen.cli.demo.play import _books, _is_paid_once, _Totals
from rowen.cli.demo.terminal import Terminal
from rowen.cli.demo_document import DemoAudit, DemoBooks, DemoDocument, DemoRecovery
from rowen.cli.documents import AuditFigures, VerdictDocument

ADDRESS = "0x" + "ab" * 20
SEEN = ("client_owes", "provider_was_promised", "escrow_claimed", "payout_received")


def books(status: str = "verified", audited: int = 31, swept: int = 31, **other: int) -> DemoBooks:
    """The books of one provider; every party saw 31 unless told otherwise."""
    player: Any = SimpleNamespace(shown=SimpleNamespace(address=ADDRESS))
    figures = dict.fromkeys(AuditFigures.__struct_fields__, "0")
    figures |= {"acknowledged_total": str(audited), "swept_total": str(swept)}
    counts = dict.fromkeys(("channels", "orders", "receipts", "vouchers", "claims"), 1)
    verdict = {"status": status, "exit_code": 0, "figures": figures | counts}
    audit = DemoAudit(
        provider=ADDRESS,
        path=None,
        command=[],
        verdict=msgspec.convert(verdict | {"checked_against": [], "findings": []}, VerdictDocument),
    )
    return _books(_Totals(player=player, **(dict.fromkeys(SEEN, 31) | other)), audit)


def test_five_equal_numbers_agree() -> None:
    assert books().agrees


@pytest.mark.parametrize("party", [*SEEN, "audited", "swept"])
def test_one_token_unit_of_difference_is_a_disagreement(party: str) -> None:
    for seen in (30, 32):
        odd: dict[str, Any] = {party: seen}
        assert not books(**odd).agrees


@pytest.mark.parametrize("status", ["failed", "undetermined", "malformed"])
def test_equal_numbers_without_a_verdict_do_not_agree(status: str) -> None:
    assert not books(status=status).agrees


@pytest.mark.parametrize(("late", "is_once"), [(0, True), (1, False), (-1, False)])
def test_what_the_answers_cost_is_in_the_books_once(late: int, is_once: bool) -> None:
    recovery: Any = SimpleNamespace(paid_before="10", paid_after=str(10 + late))
    played: Any = SimpleNamespace(
        answers=[SimpleNamespace(cost="20"), SimpleNamespace(cost="11")], recovery=recovery
    )
    assert _is_paid_once(played, [books()]) is is_once


def differing() -> DemoDocument:
    """A demo whose escrow lost a token unit."""
    recovery = DemoRecovery(
        provider=ADDRESS, delivered_units=0, billed_units=0, paid_before="0",
        unpaid_found=0, unpaid_left=0, paid_after="0", restart_ms=0,
    )  # fmt: skip
    return DemoDocument(
        is_consistent=False,
        chain_id=1,
        escrow=ADDRESS,
        model="m",
        precision="p",
        providers=[],
        answers=[],
        recovery=recovery,
        settlements=[],
        audits=[],
        books=[books(escrow_claimed=30)],
        elapsed_ms=1,
        kept=None,
    )


def test_a_disagreement_is_seen() -> None:
    """In words, not in colour alone."""
    out = io.StringIO()
    Terminal(Console(file=out, width=100)).closing(differing())
    assert "DIFFERENT" in out.getvalue()
    assert out.getvalue().splitlines()[-1].split()[0] == "FAILED"


def test_the_demo_ends_with_the_verdict() -> None:
    """Below all that is to be copied: the last line is what a person is left with."""
    for kept in (None, "/evidence"):
        out = io.StringIO()
        agreed = replace(differing(), is_consistent=True, books=[books()], kept=kept)
        Terminal(Console(file=out, width=100)).closing(agreed)
        assert out.getvalue().splitlines()[-1].split()[0] == "VERIFIED"


def test_a_disagreement_fails_the_command(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_arguments: object) -> None:
        return

    async def play(*_arguments: object) -> DemoDocument:
        return differing()

    monkeypatch.setattr("rowen.cli.demo.command.pull", nothing)
    monkeypatch.setattr("rowen.cli.demo.command.play", play)
    code, out, _ = line("demo", "--json")
    assert code == 1
    assert msgspec.json.decode(out, type=DemoDocument) == differing()
