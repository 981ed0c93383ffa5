"""Exit codes and error kinds: programs rely on them."""

import pytest
import trio
from tests.unit.cli.command_line import CommandLine

from rowen.chain.refusals import Reverted
from rowen.cli.exits import expected_error, kind_of
from rowen.cli.reporting import run_reporting
from rowen.protocol.errors import PeerError, Reason, Refused, Unavailable, UserError
from rowen.store.base import JournalFailed

ERRORS: list[tuple[BaseException, str, int]] = [
    (UserError("x"), "user_error", 2),
    (Reverted("claim", "Nope"), "user_error", 2),
    (Unavailable("x"), "unavailable", 4),
    (JournalFailed("x"), "unavailable", 4),
    (trio.TooSlowError(), "unavailable", 4),
    (Refused(Reason.BUSY, "x"), "refused", 5),
    (PeerError("x"), "peer_error", 1),
    (KeyError("x"), "internal", 1),
]


@pytest.mark.parametrize(("error", "kind", "code"), ERRORS)
def test_an_error_has_its_kind_and_code(error: BaseException, kind: str, code: int) -> None:
    assert kind_of(error) == (kind, code)


@pytest.mark.parametrize(("error", "kind", "code"), ERRORS)
def test_nurseries_do_not_hide_an_error(error: Exception, kind: str, code: int) -> None:
    wrapped = ExceptionGroup("a", [ExceptionGroup("b", [error])])
    found = expected_error(wrapped)
    assert found is (None if kind == "internal" else error)


def test_a_defect_beside_an_error_is_not_hidden() -> None:
    assert expected_error(ExceptionGroup("a", [UserError("x"), KeyError("y")])) is None


def test_a_refusal_has_a_reason_to_branch_on(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise Refused(Reason.CHANNEL_EMPTY, "nothing left")

    assert run_reporting(command, as_json=True) == 5
    assert '"reason":"channel_empty"' in capsys.readouterr().out


def test_a_defect_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise KeyError("x")

    assert run_reporting(command, as_json=True) == 1
    said = capsys.readouterr()
    assert "defect in Rowen" in said.out
    assert "Traceback" in said.err


def test_ctrl_c_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise KeyboardInterrupt

    assert run_reporting(command, as_json=True) == 130
    said = capsys.readouterr()
    assert said.out + said.err == ""


@pytest.mark.parametrize("words", [["nonsense"], ["run"], ["devnet", "--port", "high"]])
def test_a_wrong_line_is_a_usage_error(line: CommandLine, words: list[str]) -> None:
    code, error = line.error(*words)
    assert (code, error["kind"]) == (2, "usage")
    code, out, err = line(*words)
    assert (code, out) == (2, "")
    assert "--help" in err
