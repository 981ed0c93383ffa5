"""Logs: one line each whatever a peer says, one form whoever speaks, and a bounded memory."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from rowen import log
from rowen.log import RECENT_MAX, VALUE_CHARS_MAX, recent_lines, set_up_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    ours = logging.getLogger("rowen")
    before = (ours.level, ours.handlers, ours.propagate)
    log._recent.clear()
    yield
    ours.level, ours.handlers, ours.propagate = before
    structlog.reset_defaults()


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


HOSTILE = "bye\n2026-01-01 [error] your node is hacked\x1b[2J\x9b31m"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_peers_words_are_one_line_and_command_no_terminal(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Threat 57."""
    set_up_logs(as_json=as_json)
    structlog.get_logger("rowen.x").info("session ended", why=HOSTILE)
    logging.getLogger("rowen.p2p.x").warning("stream ended", extra={"error": HOSTILE})
    out = capsys.readouterr().err
    assert len(out.splitlines()) == 2
    assert not {"\x1b", "\x9b"} & set(out)


def test_adapters_speak_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(as_json=True)
    logging.getLogger("rowen.chain.sender").warning("fee raised", extra={"nonce": 7})
    (line,) = said(capsys)
    assert (line["event"], line["level"], line["nonce"]) == ("fee raised", "warning", 7)


def test_what_is_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("error", as_json=True)
    logging.getLogger("rowen.chain.sender").warning("fee raised")
    structlog.get_logger("rowen.x").warning("x")
    assert said(capsys) == []


def test_memory_is_bounded_in_lines_and_in_each_line() -> None:
    set_up_logs(as_json=True)
    for number in range(RECENT_MAX + 10):
        structlog.get_logger("rowen.x").info("x", number=number, why="y" * 10_000)
    lines = recent_lines()
    assert len(lines) == RECENT_MAX
    assert json.loads(lines[-1])["number"] == RECENT_MAX + 9
    assert all(len(line) <= 3 * VALUE_CHARS_MAX for line in lines)
